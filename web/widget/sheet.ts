/** On small screens the panel is a sheet over all of the page: its size, and the page that waits behind it. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

const SMALL = "(max-width: 520px), (max-height: 460px)";

export function isSheetSized(): boolean {
  return matchMedia(SMALL).matches;
}

/** The same, as it changes. */
export function useSheetSized(): boolean {
  const isSheet = useSignal(isSheetSized());
  useEffect(() => {
    const media = matchMedia(SMALL);
    const follow = () => (isSheet.value = media.matches);
    media.addEventListener("change", follow);
    return () => media.removeEventListener("change", follow);
  }, []);
  return isSheet.value;
}

/** Keeps a sheet as large as what the on-screen keyboard leaves, and the page still; gives the function that ends it. */
export function holdSheet(sheet: HTMLElement): () => void {
  const viewport = visualViewport;
  const fit = () => {
    // Who has zoomed in looks at a piece of the sheet.
    if (!viewport || viewport.scale > 1.01) return;
    sheet.style.setProperty("top", `${viewport.offsetTop}px`);
    sheet.style.setProperty("height", `${viewport.height}px`);
  };
  const page = document.documentElement.style;
  const overflow = page.overflow;
  page.overflow = "hidden";
  fit();
  viewport?.addEventListener("resize", fit);
  viewport?.addEventListener("scroll", fit);
  return () => {
    page.overflow = overflow;
    viewport?.removeEventListener("resize", fit);
    viewport?.removeEventListener("scroll", fit);
    sheet.style.removeProperty("top");
    sheet.style.removeProperty("height");
  };
}

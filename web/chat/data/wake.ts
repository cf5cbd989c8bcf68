/** The moments at which a page should look whether anything has happened meanwhile. */

const MOMENTS = ["online", "pageshow", "focus"];

/** Calls back when the page is seen again, or the network is back; gives the function that ends it. */
export function onWake(callback: () => void): () => void {
  const target = globalThis as Partial<Pick<Window, "addEventListener" | "removeEventListener">>;
  if (!target.addEventListener) return () => {};
  const seen = () => {
    if (globalThis.document?.visibilityState !== "hidden") callback();
  };
  const page = globalThis.document as Document | undefined;
  for (const moment of MOMENTS) target.addEventListener(moment, seen);
  page?.addEventListener("visibilitychange", seen);
  return () => {
    for (const moment of MOMENTS) target.removeEventListener?.(moment, seen);
    page?.removeEventListener("visibilitychange", seen);
  };
}

/** Calls back with whether there is a network, now and at each change; gives the function that ends it. */
export function onNetwork(callback: (isOnline: boolean) => void): () => void {
  const target = globalThis as Partial<Pick<Window, "addEventListener" | "removeEventListener">>;
  const online = () => callback(true);
  const offline = () => callback(false);
  callback(globalThis.navigator?.onLine !== false);
  target.addEventListener?.("online", online);
  target.addEventListener?.("offline", offline);
  return () => {
    target.removeEventListener?.("online", online);
    target.removeEventListener?.("offline", offline);
  };
}

/** The first stop of the Tab key: past the conversations to where one writes. The address is left alone. */
export function SkipLink() {
  const skip = (event: MouseEvent) => {
    event.preventDefault();
    document.querySelector<HTMLElement>(".composer textarea")?.focus();
  };
  return (
    <a class="skip" href="#main" onClick={skip}>
      Skip to the message field
    </a>
  );
}

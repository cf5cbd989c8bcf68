/** Longer each time, never the same for two clients, and at once when the device is online again. */
export function retryWait(retries: number): Promise<void> {
  const longest = Math.min(15_000, 500 * 2 ** retries);
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      resolve();
    };
    const timer = setTimeout(end, longest * (0.5 + Math.random() / 2));
    addEventListener("online", end);
  });
}

/** Longer each time, never the same for two clients, and at once when the device is online again. */
export async function retryWait(retries: number): Promise<void> {
  const longest = Math.min(15_000, 500 * 2 ** retries);
  await new Promise((resolve) => {
    setTimeout(resolve, longest * (0.5 + Math.random() / 2));
    addEventListener("online", resolve, { once: true });
  });
}

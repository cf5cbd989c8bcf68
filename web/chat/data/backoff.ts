/** How long to wait before something that failed is tried again. */

/**
 * Milliseconds, doubled with each failure before it (`failures`: how many) up to `longest`, and spread by half either
 * way, so that not all clients of a server that was away come back at once.
 */
export function backoff(failures: number, first = 1_000, longest = 30_000): number {
  return Math.min(longest, first * 2 ** failures) * (0.5 + Math.random());
}

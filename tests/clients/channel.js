/**
 * Turns a subscription with callbacks into an async iterator; leaving the loop ends the subscription.
 * @template T
 * @param {(sink: { next(value: T): void, error(error: unknown): void, complete(): void }) => () => void} subscribe
 *   begins, and gives a function that ends
 * @returns {AsyncGenerator<T, void>}
 */
export async function* iterate(subscribe) {
  const values = [];
  let wake = () => {};
  let end = null;
  const finish = (failure) => {
    end ??= failure;
    wake();
  };
  const unsubscribe = subscribe({
    next(value) {
      values.push(value);
      wake();
    },
    error: (error) => finish({ error }),
    complete: () => finish({}),
  });
  try {
    while (true) {
      while (values.length > 0) yield values.shift();
      if (end?.error) throw end.error;
      if (end) return;
      await new Promise((resolve) => (wake = resolve));
    }
  } finally {
    unsubscribe();
  }
}

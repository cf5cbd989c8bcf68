interface Sink {
  next(result: { data?: object | null }): void;
  error(error: unknown): void;
  complete(): void;
}

interface Client {
  subscribe(request: { variables?: object | null }, sink: Sink): () => void;
}

/** A client of graphql-ws or graphql-sse that goes on behind the last `cursor` when it has connected anew. */
export function resuming<Given extends object>(client: Given): Given {
  const { subscribe } = client as Given & Client;
  return {
    ...client,
    subscribe(request: Parameters<Client["subscribe"]>[0], sink: Sink) {
      // The client sends this very object again: it must say where to go on at that moment.
      const variables: Record<string, unknown> = { ...request.variables };
      return subscribe(
        { ...request, variables },
        {
          next(result) {
            const [event] = Object.values(result.data ?? {});
            if (event?.cursor) variables.after = event.cursor;
            sink.next(result);
          },
          error: (error) => sink.error(error),
          complete: () => sink.complete(),
        },
      );
    },
  };
}

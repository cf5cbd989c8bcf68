let token: Promise<string> | null = null;

/** The part of your back end, which knows who is signed in. Here the development server answers: `vite.ts`. */
async function fetchToken(): Promise<string> {
  const response = await fetch("/token");
  if (!response.ok) throw new Error(await response.text());
  return response.text();
}

/** The token at hand, else a new one; who asks meanwhile waits for the same one. */
export function getToken(): Promise<string> {
  token ??= fetchToken().catch((error: unknown) => {
    dropToken();
    throw error;
  });
  return token;
}

/** The server has refused the token: the next `getToken` fetches another. */
export function dropToken(): void {
  token = null;
}

/** `fetch` with the token, and once more with a new one if it was refused. */
export async function fetchWithToken(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const send = async () => {
    const headers = new Headers(init?.headers);
    headers.set("Authorization", `Bearer ${await getToken()}`);
    return fetch(input, { ...init, headers });
  };
  const response = await send();
  if (response.status !== 401) return response;
  dropToken();
  return send();
}

/** By default this page's own address, from where `vite.ts` passes everything on to Loquent. */
export const endpoint = new URL("/graphql", import.meta.env.VITE_LOQUENT_URL ?? location.href).href;

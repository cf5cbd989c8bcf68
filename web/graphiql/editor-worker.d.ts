/** Monaco has no types for this one; the arguments of the function are those of GraphQLWorker. */
declare module "monaco-editor/esm/vs/editor/editor.worker.js" {
  type Create = (...data: ConstructorParameters<typeof import("monaco-graphql/esm/GraphQLWorker.js").GraphQLWorker>) => object;
  export function initialize(create: Create | null): void;
}

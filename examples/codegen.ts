import type { CodegenConfig } from "@graphql-codegen/cli";

const options = {
  useTypeImports: true,
  enumsAsTypes: true,
  scalars: { ID: "string", DateTime: "string", JSON: "unknown" },
};

/** The same operations in two forms: parsed documents for Apollo and urql, and strings, which need no parser. */
const config: CodegenConfig = {
  schema: "../schema.graphql",
  documents: "shared/chat.graphql",
  generates: {
    "generated/documents/": {
      preset: "client",
      presetConfig: { fragmentMasking: false },
      config: options,
    },
    // Which types an interface or a union stands for: Apollo's cache must be told, and urql's.
    "generated/possible-types.ts": {
      plugins: ["fragment-matcher"],
    },
    "generated/introspection.json": {
      plugins: ["introspection"],
      config: { minify: true, descriptions: false },
    },
    "generated/strings/": {
      preset: "client",
      presetConfig: {
        fragmentMasking: false,
        persistedDocuments: { mode: "embedHashInDocument", hashAlgorithm: "sha256" },
      },
      config: { ...options, documentMode: "string" },
    },
  },
};
export default config;

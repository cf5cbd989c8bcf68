import type { CodegenConfig } from "@graphql-codegen/cli";

/** The documents of the pages as typed strings: no parser goes to the browser. */
const config: CodegenConfig = {
  schema: "../schema.graphql",
  documents: "chat/data/*.graphql",
  generates: {
    "chat/data/generated/": {
      preset: "client",
      // The server trusts these documents, whatever others it is told to trust: each is sent with its hash.
      presetConfig: { fragmentMasking: false, persistedDocuments: { hashAlgorithm: "sha256" } },
      config: {
        documentMode: "string",
        useTypeImports: true,
        enumsAsTypes: true,
        scalars: { ID: "string", DateTime: "string", JSON: "unknown" },
      },
    },
  },
};
export default config;

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const packages = (name: string) => file(`../node_modules/${name}`);

/** Modules in the place of larger ones: what is imported, by which package, and what it gets. */
const SMALLER = [
  { source: /^monaco-graphql\/esm\/monaco-editor\.js$/, importer: /@graphiql\/react/, target: file("editor.ts") },
  { source: /^\.\/monaco-editor$/, importer: /\/monaco-graphql\//, target: file("editor.ts") },
  { source: /\/(diff|multiDiff)EditorWidget\.js$/, importer: /\/monaco-editor\//, target: file("no-comparison.ts") },
  { source: /\/jsonc\.js$/, importer: /@graphiql\/react/, target: file("jsonc.ts") },
  {
    // The same as `prettier/plugins/graphql`, which is imported too.
    source: /^prettier\/parser-graphql$/,
    importer: /@graphiql\/react/,
    target: packages("prettier/plugins/graphql.mjs"),
  },
];
const withSmallerModules: Plugin = {
  name: "with-smaller-modules",
  enforce: "pre",
  resolveId: (source, importer = "") =>
    SMALLER.find((module) => module.source.test(source) && module.importer.test(importer))?.target,
};

/** The worker could format GraphQL too, but nobody asks it to. */
const withoutFormatter: Plugin = {
  name: "without-formatter",
  enforce: "pre",
  resolveId: (source) => (source.startsWith("prettier/") ? "\0no-formatter" : null),
  load: (id) => (id === "\0no-formatter" ? "export {}" : null),
};

/** The licenses that `build.license` does not see: of what Monaco contains, and of a package in the worker. */
const withNotices: Plugin = {
  name: "with-notices",
  generateBundle() {
    const notices = ["monaco-editor/ThirdPartyNotices.txt", "picomatch-browser/LICENSE"];
    const source = notices.map((name) => `${name}\n\n${readFileSync(packages(name), "utf8")}`).join("\n\n");
    this.emitFile({ type: "asset", fileName: "NOTICES.txt", source });
  },
};

export default defineConfig({
  base: "./",
  plugins: [withSmallerModules, withNotices],
  worker: {
    format: "es",
    plugins: () => [withoutFormatter],
    rolldownOptions: { output: { entryFileNames: "[name].js", codeSplitting: false } },
  },
  build: {
    outDir: "../dist/graphiql",
    emptyOutDir: true,
    modulePreload: false,
    // The icons of the editor stay a file: `font-src 'self'`.
    assetsInlineLimit: 0,
    license: { fileName: "LICENSES.md" },
    chunkSizeWarningLimit: 4_500,
    rolldownOptions: {
      input: "main.tsx",
      checks: { moduleLevelDirective: false },
      output: {
        entryFileNames: "graphiql.js",
        assetFileNames: ({ names }) => (names[0]?.endsWith(".css") ? "graphiql.css" : "[name][extname]"),
        codeSplitting: false,
      },
    },
  },
});

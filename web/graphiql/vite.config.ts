import { defineConfig } from "vite";

/** GraphiQL's style sheet carries its fonts as data; the page uses the system's. */
const withoutEmbeddedFonts = {
  postcssPlugin: "without-embedded-fonts",
  AtRule: { "font-face": (rule: { remove(): void }) => rule.remove() },
};

export default defineConfig({
  css: { postcss: { plugins: [withoutEmbeddedFonts] } },
  build: {
    outDir: "../dist/graphiql",
    emptyOutDir: true,
    modulePreload: false,
    license: { fileName: "LICENSES.md" },
    chunkSizeWarningLimit: 2_000,
    rolldownOptions: {
      input: "main.tsx",
      checks: { moduleLevelDirective: false },
      output: { entryFileNames: "graphiql.js", assetFileNames: "graphiql[extname]", codeSplitting: false },
    },
  },
});

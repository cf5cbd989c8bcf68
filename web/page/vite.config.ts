import { defineConfig } from "vite";

/** One file with its styles, and lazy chunks whose names change with their content. */
export default defineConfig({
  root: import.meta.dirname,
  base: "./",
  build: {
    outDir: "../dist/page",
    emptyOutDir: true,
    modulePreload: false,
    target: "es2022",
    // Browsers that know `light-dark()`: it must not be replaced by what a shadow root cannot inherit.
    cssTarget: ["chrome125", "firefox128", "safari17.5"],
    license: { fileName: "LICENSES.md" },
    rolldownOptions: {
      input: "main.tsx",
      output: { entryFileNames: "page.js", chunkFileNames: "hashed/[name]-[hash].js" },
    },
  },
});

import { defineConfig } from "vite";

/** One file that works as a classic script and as a module, on any page. */
export default defineConfig({
  root: import.meta.dirname,
  build: {
    outDir: "../dist/widget",
    emptyOutDir: true,
    modulePreload: false,
    target: "es2022",
    // Browsers that know `light-dark()`: it must not be replaced by what a shadow root cannot inherit.
    cssTarget: ["chrome125", "firefox128", "safari17.5"],
    license: { fileName: "LICENSES.md" },
    rolldownOptions: {
      input: "main.ts",
      output: { format: "iife", entryFileNames: "widget.js" },
    },
  },
});

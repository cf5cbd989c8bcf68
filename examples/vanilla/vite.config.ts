import { defineConfig } from "vite";

import { loquent } from "../shared/vite.ts";

export default defineConfig({ plugins: [loquent()] });

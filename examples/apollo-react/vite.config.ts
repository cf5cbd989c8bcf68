import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

import { loquent } from "../shared/vite.ts";

export default defineConfig({ plugins: [react(), loquent()] });

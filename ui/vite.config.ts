// The three pages, built for the gateway to embed: every file has its own name, nothing is inlined (the gateway's content
// security policy allows no inline script or style), and addresses are relative.
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  publicDir: false,
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    target: ["chrome110", "firefox110", "safari16"],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { input: ["index.html", "sign-in.html", "welcome.html"] },
  },
});

import { defineConfig } from "vite";

// The server answers the page at /graphiql and its parts below it. Nothing is inlined, so that the page needs no
// source but its own address.
export default defineConfig({
  logLevel: "warn",
  base: "/graphiql/",
  build: {
    outDir: "../static/graphiql",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 8_000,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // libraries mark what renders on a server, which none of this does
    rolldownOptions: {
      onLog(level, log, say) {
        if (log.code !== "MODULE_LEVEL_DIRECTIVE") say(level, log);
      },
    },
  },
  worker: { format: "es" },
});

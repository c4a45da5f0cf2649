// The project's own config, its binding led to the server's remote proxy: CFAI_URL has the token in its query.

import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";

const remoteProxyConnectionString = new URL(process.env.CFAI_URL);

export default defineConfig({
  plugins: [
    cloudflareTest({
      wrangler: { configPath: "./wrangler.jsonc" },
      remoteBindings: false,
      miniflare: { ai: { binding: "AI", remoteProxyConnectionString } },
    }),
  ],
  test: { testTimeout: 60_000 },
});

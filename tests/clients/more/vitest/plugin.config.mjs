// The config that `cfai wrangler --init` wrote.

import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [cloudflareTest({ wrangler: { configPath: "./wrangler.cfai.jsonc" } })],
  test: { testTimeout: 60_000 },
});

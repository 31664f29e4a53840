// Test projects by what they need: nothing, one real part, several processes; scenarios are what may befall a gateway. One command runs them all.
import { defineConfig } from "vitest/config";

const project = (name: string, testTimeoutMs: number) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    setupFiles: ["test/support/seed.ts"],
    testTimeout: testTimeoutMs,
    hookTimeout: testTimeoutMs,
  },
});

export default defineConfig({
  test: {
    // Two cores, and the system tests start a dozen processes each.
    maxWorkers: 2,
    // Against what never ends; a slow machine passes.
    projects: [
      project("unit", 120_000),
      project("contract", 300_000),
      project("integration", 300_000),
      project("scenario", 900_000),
      project("system", 900_000),
    ],
  },
});

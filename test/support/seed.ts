// One seed for every property test, so that a run repeats; FLEAD_TEST_SEED looks for other counterexamples.
import fc from "fast-check";

fc.configureGlobal({ seed: Number(process.env.FLEAD_TEST_SEED ?? 20260101) });

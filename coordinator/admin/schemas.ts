// What several answers share; what was not measured is null.
import { z } from "zod";

/** The schemas that the OpenAPI document names. */
export const apiSchemas = z.registry<{ id: string }>();

const share = z.number().min(0).max(1).nullable();

export const scoresSchema = z
  .object({
    n: z.int().describe("Labelled windows"),
    tp: z.int(),
    fp: z.int(),
    tn: z.int(),
    fn: z.int(),
    precision: share,
    recall: share,
    f1: share,
    prAuc: share.describe("Average precision"),
    loss: z.number().nullable(),
    f1Interval: z.tuple([z.number(), z.number()]).readonly().nullable().describe("95 %, moving-block bootstrap"),
  })
  .register(apiSchemas, { id: "Scores" });

export const time = z.iso.datetime().describe("ISO 8601, UTC");

// What several answers share; what was not measured is null.
import { z } from "zod";

/** The schemas that the OpenAPI document names. */
export const apiSchemas = z.registry<{ id: string }>();

const share = z.number().min(0).max(1).nullable();

const eventScoresSchema = z
  .object({
    events: z.int().describe("Labelled runs of anomalous rows"),
    detectedEvents: z.int().describe("Those with an alarm that began in time"),
    luckyEvents: z.int().describe("Those that only an alarm from long before overlapped"),
    episodes: z.int().describe("Alarms, from raised to cleared"),
    trueEpisodes: z.int().describe("Those in time for an event, or just after one"),
    precision: share.describe("True episodes / episodes"),
    recall: share.describe("Detected events / events"),
    f1: share,
    delayMedianRows: z.number().nullable().describe("From an event's begin to its alarm, over detected events"),
    delayMedianS: z.number().nullable(),
  })
  .register(apiSchemas, { id: "EventScores" });

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
    events: eventScoresSchema.nullable(),
    vusPr: share.describe("Volume under the precision-recall surface"),
  })
  .register(apiSchemas, { id: "Scores" });

export const baselinesSchema = z.object({
  alwaysNormal: scoresSchema,
  alwaysAlarm: scoresSchema,
  zScore: scoresSchema,
});

export const fleetSchema = z
  .object({
    scales: z
      .array(z.number())
      .readonly()
      .nullable()
      .describe("Median over the gateways of each channel's scale, in the plan's order and the channels' units"),
    thresholdFactor: z.number().nullable().describe("The fleet's quantile of score / own median"),
  })
  .describe("As sent with the model; null: not known, or not asked for by the plan")
  .register(apiSchemas, { id: "FleetStatistics" });

export const pinSchema = z.object({ by: z.string(), reason: z.string() }).register(apiSchemas, { id: "Pin" });

export const time = z.iso.datetime().describe("ISO 8601, UTC");

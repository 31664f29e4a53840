// GET /analytics/windows and /analytics/days: what the agents told of their devices' rows, and the statistics of days
// made of it; POST /analytics/days/:date makes a day's anew.
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { isChannelName } from "../../../learning/channels.ts";
import type { AnalyticsQueries } from "../../ports/analytics-queries.ts";
import type { AnalyticsStore } from "../../ports/analytics-store.ts";
import { cursorOf, deviceName, pageAnswer, pageSchema, pageSize } from "../paging.ts";
import { problems, RequestError } from "../problem.ts";
import { apiSchemas, time } from "../schemas.ts";

const MAX_TIME_MS = 8.64e15;
const name = z.string().max(64);
const windowCursor = cursorOf(
  z.strictObject({ startMs: z.int().min(0).max(MAX_TIME_MS), metricName: name, gatewayId: name }),
);
const dayCursor = cursorOf(z.strictObject({ date: z.iso.date(), deviceId: name, metricName: name, gatewayId: name }));

const metric = z.string().refine(isChannelName, "must be a channel's name").describe("A channel's name");
const instant = z.iso
  .datetime({ offset: true })
  .transform((text) => Date.parse(text))
  .describe("ISO 8601 with a zone");
const value = z.number().nullable();

const about = { cohort: z.string(), gatewayId: z.string(), deviceId: z.string(), metricName: z.string() };

const windowSchema = z
  .object({
    ...about,
    windowStart: time,
    windowEnd: time,
    rawValue: value.describe("The last, in the channel's unit"),
    movingAvg30s: value.describe("Mean of the window's readings; null: the window is longer than 30 s"),
    movingAvg5m: value.describe("Mean of the readings of the windows that end within 5 min up to this one's end"),
    min: value,
    max: value,
    stddev: value.describe("Of the window's readings, population"),
    zScore: value.describe("Of the last reading, by the device's own detector; null: it was not judged"),
    isAnomaly: z.boolean().nullable().describe("An anomaly of the device was up in the window"),
    anomalyConfidence: value.describe("The highest; null: none was up"),
    sampleCount: z.int(),
    lateCount: z.int().describe("Rows of the device that came after their window had closed, told with this one"),
  })
  .register(apiSchemas, { id: "Window" });

const daySchema = z
  .object({
    ...about,
    analysisDate: z.iso.date().describe("In UTC"),
    avg: value,
    min: value,
    max: value,
    stddev: value.describe("Of the day's readings, population"),
    sampleCount: z.int(),
    anomalyCount: z.int().describe("Windows in which an anomaly of the device was up"),
    lateCount: z.int(),
    analysisTimestamp: time,
  })
  .register(apiSchemas, { id: "Day" });

const windowsQuery = z.strictObject({
  device_id: deviceName,
  metric_name: metric.optional(),
  from: instant.optional().describe("Windows that begin then or later; ISO 8601 with a zone"),
  to: instant.optional().describe("Windows that begin before"),
  limit: pageSize,
  cursor: windowCursor.optional(),
});

const daysQuery = z.strictObject({
  device_id: deviceName.optional(),
  metric_name: metric.optional(),
  from: z.iso.date().optional().describe("First day"),
  to: z.iso.date().optional().describe("Last day"),
  limit: pageSize,
  cursor: dayCursor.optional(),
});

export const analyticsRoute =
  (analytics: AnalyticsQueries & Pick<AnalyticsStore, "analyseDay">): FastifyPluginAsyncZod =>
  async (app) => {
    const windows = {
      summary: "A device's windows, the newest first",
      querystring: windowsQuery,
      response: { 200: pageSchema(windowSchema), ...problems(400, 503) },
    };
    app.get("/analytics/windows", { schema: windows }, async ({ query }) => {
      const request = {
        limit: query.limit,
        after: query.cursor ?? null,
        deviceId: query.device_id,
        metricName: query.metric_name ?? null,
        fromMs: query.from ?? null,
        toMs: query.to ?? null,
      };
      return pageAnswer(await analytics.windows(request), windowCursor);
    });

    const days = {
      summary: "Daily statistics of channels, the newest first",
      querystring: daysQuery,
      response: { 200: pageSchema(daySchema), ...problems(400, 503) },
    };
    app.get("/analytics/days", { schema: days }, async ({ query }) => {
      const request = {
        limit: query.limit,
        after: query.cursor ?? null,
        deviceId: query.device_id ?? null,
        metricName: query.metric_name ?? null,
        from: query.from ?? null,
        to: query.to ?? null,
      };
      return pageAnswer(await analytics.days(request), dayCursor);
    });

    const analysis = {
      summary: "Makes a day's statistics anew, of all its windows",
      params: z.strictObject({ date: z.iso.date().describe("In UTC") }),
      response: {
        200: z.object({ date: z.iso.date(), series: z.int().describe("Channels of devices with statistics") }),
        ...problems(400, 403, 404, 409, 503),
      },
    };
    app.post("/analytics/days/:date", { schema: analysis }, async ({ params: { date } }, reply) => {
      const gone = new AbortController();
      reply.raw.once("close", () => gone.abort(new Error("whoever asked does not wait for the answer")));
      const series = await analytics.analyseDay(date, gone.signal);
      if (series === 0) throw new RequestError(404, `there are no windows of ${date}, or not all of them any more`);
      return { date, series };
    });
  };

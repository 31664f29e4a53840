// A judged row steps its device's episode.
import type { Cohort } from "./cohort.ts";
import type { Episodes } from "./episodes.ts";
import type { JudgedRow } from "./judge-rows.ts";
import type { ReportTrouble } from "./trouble.ts";

/** Throws when a transition can't be saved. */
export function observeRow(
  episodes: Episodes,
  cohort: Cohort,
  { entered, observation }: JudgedRow,
  trouble: ReportTrouble,
): void {
  const { device, atMs, receivedAtMs, extraChannels } = entered;
  const row = { atMs, receivedAtMs, record: () => device.record() };
  if (extraChannels > 0)
    trouble("extra_channel", device.deviceId, `${extraChannels} channels are not the plan's; not used`);
  if (entered.steppedBack) episodes.endAll(device.deviceId, row);
  const slot = device.kind === "federated" ? (cohort.learner?.slot ?? null) : null;
  const subject = {
    deviceId: device.deviceId,
    cohort: cohort.cohort,
    kind: device.kind,
    globalVersion: slot?.globalVersion ?? 0,
    localSteps: slot?.localSteps ?? 0,
  };
  episodes.observe(subject, observation, row);
}

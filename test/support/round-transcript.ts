// Runs a transcript of rounds: commands at the margin, and below each, indented, what the coordinator did. The database is
// a model that outlives the leader; intake, machine, round, gate, factor and standings are the real ones.

import { SampleBudgets } from "../../coordinator/adapters/session/sample-budgets.ts";
import { pushUpdate } from "../../coordinator/adapters/session/update.ts";
import { type CohortState, championsSince } from "../../coordinator/core/cohort-state.ts";
import type { RoundUpdate } from "../../coordinator/core/combine-updates.ts";
import type { GatewayStanding } from "../../coordinator/core/gateway-standing.ts";
import type { Invitation, ReadyGateway } from "../../coordinator/core/invitation.ts";
import {
  beginRounds,
  type OpenRound,
  type RoundEffect,
  type RoundEvent,
  stepRound,
} from "../../coordinator/core/round-machine.ts";
import {
  type FederationStore,
  RoundConflictError,
  type RoundRecord,
} from "../../coordinator/ports/federation-store.ts";
import { type RoundDeps, runRound } from "../../coordinator/run-round.ts";
import { stalenessWeight } from "../../learning/aggregation/staleness.ts";
import { type GatewayId, gatewayId, type UpdateId } from "../../learning/ids.ts";
import type { RoundSettings } from "../../learning/plan.ts";
import { UpdateStatus } from "../../proto/gen/flead/v1/federation.ts";
import { encodeWeights } from "../../proto/weights.ts";
import { Problems } from "../../runtime/problems.ts";
import { cohortState } from "./cohort-state.ts";
import { anUpdate } from "./gateway-client.ts";

/** The transcript as it comes out: its commands with what they lead to now. */
export async function runTranscript(text: string): Promise<string> {
  const world = new World();
  const lines: string[] = [];
  for (const line of text.split("\n").filter((each) => !each.startsWith("  "))) {
    lines.push(line);
    const command = line.replace(/#.*/, "").trim();
    if (command !== "") await world.obey(command.split(/\s+/));
    lines.push(...world.said.splice(0).map((said) => `  ${said}`));
  }
  world.checkBooks();
  return lines.join("\n");
}

/** Of a round, in updates. */
const CAPACITY = 6;

class LeaderDied extends Error {}

interface StoredUpdate extends RoundUpdate {
  counted: boolean;
}

/** What outlives the leader. */
class Stored {
  cohort: CohortState = cohortState();
  readonly updates: StoredUpdate[] = [];
  readonly refused = new Set<string>();
  readonly standings = new Map<string, GatewayStanding>();
  readonly lastInvited = new Map<GatewayId, number>();
  readonly versions: number[] = [];
  rounds = 0;
  lastRoundAtMs: number | null = null;

  get waiting(): StoredUpdate[] {
    return this.updates.filter(({ counted }) => !counted);
  }

  open(): OpenRound {
    const { waiting } = this;
    return {
      updates: waiting.length,
      gateways: new Set(waiting.map((update) => update.gatewayId)).size,
      openedAtMs: waiting[0]?.receivedAtMs ?? null,
      lastRoundAtMs: this.lastRoundAtMs,
    };
  }
}

class World {
  readonly said: string[] = [];
  readonly #stored = new Stored();
  readonly #connected = new Set<GatewayId>();
  readonly #budgets = new SampleBudgets(() => this.#nowMs);
  #nowMs = 0;
  #updates = 0;
  #quality: { readonly candidate: number; readonly champion: number } | null = null;
  /** Null: there is no leader. */
  #leader: { timerMs: number | null } | null = null;
  /** Where the leader dies next: "before record", "after invite". */
  #death: string | null = null;

  async obey([command = "", ...words]: readonly string[]): Promise<void> {
    switch (command) {
      case "settings":
        this.#stored.cohort = withSettings(this.#stored.cohort, words);
        return;
      case "connect":
        for (const word of words) this.#connected.add(gatewayId(word));
        return;
      case "disconnect":
        for (const word of words) this.#connected.delete(gatewayId(word));
        return;
      case "quality":
        this.#quality = { champion: Number(words[0]), candidate: Number(words[1]) };
        return;
      case "update":
        return this.#push(words);
      case "at":
        return this.#advance(seconds(words[0]));
      case "start":
        return this.#start();
      case "dies":
        this.#death = words.join(" ") || null;
        if (this.#death === null) this.#leader = null;
        return;
      default:
        throw new Error(`a transcript has no command ${command}`);
    }
  }

  /** Nothing that was acknowledged is lost or counted twice, and versions have neither gap nor fork. */
  checkBooks(): void {
    const { updates, versions, cohort } = this.#stored;
    const ids = new Set(updates.map(({ updateId }) => updateId));
    if (ids.size !== updates.length) throw new Error("an update was stored twice");
    if (versions.some((version, n) => version !== n + 2)) throw new Error(`versions ${versions}`);
    if (cohort.lastVersion !== versions.length + 1) throw new Error(`last version ${cohort.lastVersion}`);
  }

  async #start(): Promise<void> {
    this.#leader = { timerMs: null };
    await this.#look();
  }

  /** What the leader does, until there is nothing to do but wait, or it dies. */
  async #look(): Promise<void> {
    const leader = this.#leader;
    if (leader === null) return;
    leader.timerMs = null;
    const { federation, champion, invitation } = this.#stored.cohort;
    const facts = { settings: federation.round, championVersion: champion.version, capacity: CAPACITY, invitation };
    let [machine, effect] = beginRounds({ ...facts, open: this.#stored.open() }, this.#nowMs);
    try {
      while (effect.do !== "wait") [machine, effect] = stepRound(machine, await this.#carryOut(effect));
      leader.timerMs = effect.untilMs;
      this.said.push(effect.untilMs === null ? "waits for updates" : `waits until ${effect.untilMs / 1000} s`);
    } catch (error) {
      if (!(error instanceof LeaderDied)) throw error;
      this.said.push(error.message);
      this.#leader = null;
    }
  }

  async #carryOut(effect: Exclude<RoundEffect, { do: "wait" }>): Promise<RoundEvent> {
    const nowMs = this.#nowMs;
    const { cohort } = this.#stored;
    switch (effect.do) {
      case "look":
        return { kind: "ready", nowMs, gateways: this.#ready(), seed: cohort.lastVersion };
      case "invite":
      case "giveUp": {
        this.#mayDie("before", effect.do);
        const invitation = effect.do === "invite" ? this.#invite(effect.gateways, effect.wanted) : null;
        if (invitation === null) this.said.push(`gives up round ${cohort.invitation?.roundId}`);
        this.#stored.cohort = { ...cohort, invitation };
        this.#mayDie("after", effect.do);
        return { kind: "invited", nowMs, invitation };
      }
      case "close": {
        await runRound(this.#roundDeps(), cohort, new AbortController().signal);
        const championVersion = this.#stored.cohort.champion.version;
        return { kind: "recorded", nowMs, championVersion, open: this.#stored.open() };
      }
    }
  }

  #invite(gateways: readonly GatewayId[], wanted: number): Invitation {
    const { cohort, lastInvited } = this.#stored;
    const roundId = ++this.#stored.rounds;
    const instead = cohort.invitation === null ? "" : `gives up round ${cohort.invitation.roundId}, `;
    const untilMs = this.#nowMs + cohort.federation.round.deadlineMs;
    for (const gateway of gateways) lastInvited.set(gateway, roundId);
    this.said.push(
      `${instead}invites ${gateways.join(" ")} to round ${roundId}, wants ${wanted} by ${untilMs / 1000} s`,
    );
    return { cohort: cohort.cohort, roundId, baseVersion: cohort.champion.version, gateways, wanted, untilMs };
  }

  #ready(): ReadyGateway[] {
    const waiting = new Set(this.#stored.waiting.map((update) => update.gatewayId));
    const ready = [...this.#connected].filter((gateway) => !waiting.has(gateway));
    return ready.map((gateway) => ({
      gatewayId: gateway,
      lastInvitedRound: this.#stored.lastInvited.get(gateway) ?? null,
    }));
  }

  #roundDeps(): RoundDeps {
    const stored = this.#stored;
    return {
      store: {
        roundUpdates: async () => stored.waiting,
        gatewayStatistics: async () => [],
        recordRound: async (record) => {
          this.#mayDie("before", "record");
          this.#record(record);
          this.#mayDie("after", "record");
        },
      },
      standings: { of: async () => stored.standings },
      evaluator: {
        evaluate: async (weights) => {
          if (this.#quality === null) return null;
          const { champion, candidate } = this.#quality;
          const value = weights === stored.cohort.champion.weights ? champion : candidate;
          return {
            scores: { f1: value, prAuc: value, loss: 1 - value },
            frozen: { f1: value, prAuc: value, loss: 1 - value },
            streams: [],
            set: "streams",
            rows: [],
          } as never;
        },
        baselines: null,
      },
    };
  }

  #record({ before, after, candidate, verdict, reason, updates, standings }: RoundRecord): void {
    const stored = this.#stored;
    if (before.revision !== stored.cohort.revision) throw new RoundConflictError(before.cohort, "it moved");
    const counted = new Set(updates.map(({ updateId }) => updateId));
    for (const update of stored.waiting) update.counted = counted.has(update.updateId);
    const roundId = before.invitation?.roundId ?? ++stored.rounds;
    const gateways = new Set(updates.map((update) => update.gatewayId)).size;
    const samples = updates.reduce((sum, update) => sum + update.samples, 0);
    stored.cohort = after;
    stored.versions.push(candidate.version);
    this.said.push(
      `records round ${roundId}: ${updates.length} updates of ${gateways} gateways, ${samples} samples → ` +
        `candidate ${candidate.version} ${verdict} (${reason}) → champion ${after.champion.version}, ` +
        `factor ${after.rate.factor.toFixed(2)}`,
    );
    stored.lastRoundAtMs = this.#nowMs;
    for (const { gatewayId: gateway, before: was, after: is } of standings) {
      stored.standings.set(gateway, is);
      if (was.value === is.value) continue;
      const why = is.value < was.value ? `, ${is.reason}` : "";
      this.said.push(`voice of ${gateway}: ${was.value.toFixed(2)} → ${is.value.toFixed(2)}${why}`);
    }
  }

  async #push([gateway = "", ...words]: readonly string[]): Promise<void> {
    const given = new Map(words.map((word) => word.split("=") as [string, string]));
    const stored = this.#stored;
    const { cohort } = stored;
    const number = given.get("again") ?? ++this.#updates;
    const id = gatewayId(gateway);
    const pull = Number(given.get("pull") ?? 1);
    const update = anUpdate(cohort.cohort, cohort.planId, cohort.champion.weights.length, {
      updateId: `01${String(number).padStart(24, "0")}`,
      baseVersion: BigInt(given.get("base") ?? cohort.champion.version),
      samples: BigInt(given.get("samples") ?? 50),
      roundId: BigInt(given.get("round") ?? 0),
      delta: Buffer.from(encodeWeights(cohort.champion.weights.map(() => pull / 1000))),
    });
    const { message } = await pushUpdate({
      store: this.#intake(pull) as FederationStore,
      invitations: { open: async () => stored.cohort.invitation },
      cohorts: { get: () => stored.cohort, updateStored: () => undefined },
      budgets: this.#budgets,
      problems: new Problems({ warn: () => undefined }, () => this.#nowMs),
    })({ gatewayId: id, cohorts: new Map([[cohort.cohort, cohort.planId]]) }, update);
    if (message?.$case !== "updateResult") throw new Error("an update was not answered");
    const { status, reason } = message.value;
    if (status !== UpdateStatus.ACCEPTED) {
      this.said.push(status === UpdateStatus.KNOWN ? "known" : `refused, ${reason}`);
      return;
    }
    const staleness = championsSince(cohort, Number(update.baseVersion));
    this.said.push(`accepted, staleness ${staleness}, weight ${stalenessWeight(staleness).toFixed(2)}`);
    await this.#look();
  }

  #intake(pull: number): Pick<FederationStore, "addUpdate" | "addRefusal"> {
    const stored = this.#stored;
    const isKnown = (update: UpdateId) => stored.updates.some(({ updateId }) => updateId === update);
    return {
      addUpdate: async ({ updateId, gatewayId: gateway, baseVersion, samples }) => {
        if (isKnown(updateId)) return "known";
        const delta = stored.cohort.champion.weights.map(() => pull / 1000);
        stored.updates.push({
          updateId,
          gatewayId: gateway,
          baseVersion,
          samples,
          receivedAtMs: this.#nowMs,
          delta,
          counted: false,
        });
        return "stored";
      },
      addRefusal: async ({ updateId }) => (isKnown(updateId) ? "known" : "refused"),
    };
  }

  async #advance(toMs: number): Promise<void> {
    while (this.#leader !== null && this.#leader.timerMs !== null && this.#leader.timerMs <= toMs) {
      this.#nowMs = Math.max(this.#nowMs, this.#leader.timerMs);
      await this.#look();
    }
    this.#nowMs = toMs;
  }

  #mayDie(when: "before" | "after", what: string): void {
    if (this.#death !== `${when} ${what}`) return;
    this.#death = null;
    throw new LeaderDied(`the leader dies ${when} ${what}`);
  }
}

const seconds = (word = "") => Number(word.replace(/s$/, "")) * 1000;

function withSettings(cohort: CohortState, words: readonly string[]): CohortState {
  const given = Object.fromEntries(words.map((word) => word.split("=") as [string, string]));
  const { deadline = "60s", interval = "0s", mode = "buffered", rowsPerSecond, burst, ...numbers } = given;
  const round = {
    mode,
    deadlineMs: seconds(deadline),
    ...(mode === "buffered" && { intervalMs: seconds(interval) }),
    minGateways: 2,
    maxStaleness: 3,
    ...Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, Number(value)])),
  } as unknown as RoundSettings;
  const { samples } = cohort.federation;
  const bound = {
    rowsPerSecond: Number(rowsPerSecond ?? samples.rowsPerSecond),
    burstMs: burst === undefined ? samples.burstMs : seconds(burst),
  };
  const rule = { kind: "trimmed_mean", share: 0.2 } as const;
  return { ...cohort, federation: { ...cohort.federation, round, rule, samples: bound } };
}

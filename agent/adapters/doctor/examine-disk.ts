// The agent's folder and database, looked at without changing them; an agent may be running on them.
import { accessSync, constants, existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { dirname, join, resolve } from "node:path";
import { deserialize } from "node:v8";
import Database from "better-sqlite3";
import { type CohortId, type PlanId, planId } from "../../../learning/ids.ts";
import { decodeBundle } from "../../../proto/plan-bundle.ts";
import { type Finding, fail, ok, roomFinding, warn } from "../../core/finding.ts";
import { freeBytes } from "../ballast.ts";

export interface DiskExamination {
  readonly findings: readonly Finding[];
  /** Of the plans that are held and whole. */
  readonly plans: ReadonlyMap<CohortId, PlanId>;
  readonly lastWrittenMs: number | null;
}

export function examineDisk(folder: string, cohorts: readonly CohortId[]): DiskExamination {
  const room = examineFolder(folder);
  if (room.verdict === "fail" && !isFolder(folder)) return { findings: [room], plans: new Map(), lastWrittenMs: null };
  const path = join(folder, "agent.sqlite");
  const found = existsSync(path) ? examineDatabase(path, cohorts) : none(cohorts);
  const files = [path, `${path}-wal`].flatMap((each) => statSync(each, { throwIfNoEntry: false })?.mtimeMs ?? []);
  return {
    findings: [room, ...found.findings, ...quarantined(folder)],
    plans: found.plans,
    lastWrittenMs: files.length === 0 ? null : Math.max(...files),
  };
}

function isFolder(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory();
}

function examineFolder(folder: string): Finding {
  try {
    if (!existsSync(folder)) return folderToMake(resolve(folder));
    const probe = join(folder, `.doctor-${process.pid}`);
    writeFileSync(probe, "");
    rmSync(probe);
    return roomFinding(freeBytes(folder), folder);
  } catch (error) {
    const advice = `${userInfo().username} must be able to write to it, or set --data-dir`;
    return fail("disk", `${folder} can't be written: ${(error as Error).message}`, advice);
  }
}

/** Where the name is wrong, a folder that was made would be left behind. `folder` is absolute. */
function folderToMake(folder: string): Finding {
  let highest = folder;
  while (!existsSync(dirname(highest))) highest = dirname(highest);
  const parent = dirname(highest);
  if (!isFolder(parent)) throw new Error(`${parent} is a file`);
  accessSync(parent, constants.W_OK | constants.X_OK);
  const room = roomFinding(freeBytes(parent), parent);
  if (highest === folder) return { ...room, detail: `${folder} is not there yet; the agent makes it. ${room.detail}` };
  const detail = `${folder} is not there yet, nor is ${highest}; the agent makes them. ${room.detail}`;
  return room.verdict === "ok" ? warn("disk", detail, "is the path right?") : { ...room, detail };
}

type Examined = Pick<DiskExamination, "findings" | "plans">;

const noPlan = (cohort: CohortId): Finding =>
  warn("plan", `cohort ${cohort}: none held yet`, "it comes with the first session; the cold start detects until then");

const none = (cohorts: readonly CohortId[]): Examined => ({
  findings: [ok("database", "none yet; the agent makes it"), ...cohorts.map(noPlan)],
  plans: new Map(),
});

function examineDatabase(path: string, cohorts: readonly CohortId[]): Examined {
  const advice = "start the agent: it sets a damaged file aside and begins a new one";
  try {
    const database = new Database(path, { readonly: true });
    try {
      const found = database.pragma("quick_check(1)", { simple: true });
      if (found !== "ok") return { findings: [fail("database", `damaged: ${found}`, advice)], plans: new Map() };
      const bytes = `${Math.ceil(statSync(path).size / 1024)} KiB, whole`;
      return examinePlans(database, cohorts, ok("database", bytes));
    } finally {
      database.close();
    }
  } catch (error) {
    return { findings: [fail("database", (error as Error).message, advice)], plans: new Map() };
  }
}

function examinePlans(database: Database.Database, cohorts: readonly CohortId[], whole: Finding): Examined {
  const held = database.prepare<[string], { plan_id: string; bundle: Buffer; slot: Buffer | null }>(
    "SELECT plan_id, bundle, slot FROM cohorts JOIN plans USING (plan_id) WHERE cohort = ?",
  );
  const plans = new Map<CohortId, PlanId>();
  const findings = cohorts.map((cohort) => {
    const row = held.get(cohort);
    if (row === undefined) return noPlan(cohort);
    try {
      const id = planId(row.plan_id);
      decodeBundle(row.bundle, id);
      plans.set(cohort, id);
      const version = row.slot === null ? "no model yet" : `version ${deserialize(row.slot).globalVersion}`;
      return ok("plan", `cohort ${cohort}: ${id.slice(0, 12)}, ${version}`);
    } catch (error) {
      const advice = "it is fetched again with the next session";
      return fail("plan", `cohort ${cohort}: what is kept is not the plan: ${(error as Error).message}`, advice);
    }
  });
  return { findings: [whole, ...findings], plans };
}

function quarantined(folder: string): Finding[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter((name) => /^agent\.sqlite\.damaged-\d+$/.test(name));
  if (files.length === 0) return [];
  return [
    warn("database", `set aside as damaged: ${files.join(", ")}`, "check the card; delete them when you are done"),
  ];
}

// Wires the coordinator: database, cohorts with their rounds, sessions for gateways, the admin endpoint for people.

import { stat } from "node:fs/promises";
import { ulid } from "ulid";
import { cohortId } from "../learning/ids.ts";
import { decodeBundle, type PlanBundle } from "../proto/plan-bundle.ts";
import { ConfigError, type HostAndPort } from "../runtime/config.ts";
import type { Logger } from "../runtime/log.ts";
import { packageVersion } from "../runtime/package-root.ts";
import { Problems } from "../runtime/problems.ts";
import { readCohortFile } from "./adapters/cohort-file.ts";
import { type Database, openDatabase } from "./adapters/database.ts";
import { followFrozenStreams } from "./adapters/frozen-streams.ts";
import { startGrpcServer } from "./adapters/grpc-server.ts";
import { openEvaluators as openHeldOutEvaluators } from "./adapters/held-out-evaluator.ts";
import { importFolder } from "./adapters/held-out-folder.ts";
import { campaign } from "./adapters/leadership.ts";
import { type BrokerAccess, MqttLiveBroker, readBrokerAccess } from "./adapters/live-broker.ts";
import { followLiveStreams, together } from "./adapters/live-held-out.ts";
import { openLiveMeter } from "./adapters/live-meter.ts";
import { planService } from "./adapters/plan-service.ts";
import { postgresAnalytics } from "./adapters/postgres-analytics.ts";
import { postgresAnalyticsQueries } from "./adapters/postgres-analytics-queries.ts";
import { postgresAuditLog } from "./adapters/postgres-audit.ts";
import { postgresDryRuns } from "./adapters/postgres-dry-runs.ts";
import { postgresFederationStore } from "./adapters/postgres-federation-store.ts";
import { postgresGatewayStandings } from "./adapters/postgres-gateway-standings.ts";
import { postgresGatewayStore } from "./adapters/postgres-gateway-store.ts";
import { postgresHeldOutStreams } from "./adapters/postgres-held-out-streams.ts";
import { postgresInvitations } from "./adapters/postgres-invitations.ts";
import { postgresLiveDrift } from "./adapters/postgres-live-drift.ts";
import { postgresLiveWindows } from "./adapters/postgres-live-windows.ts";
import { postgresModelActions } from "./adapters/postgres-model-actions.ts";
import { postgresModelArchive } from "./adapters/postgres-model-archive.ts";
import { postgresModelHistory } from "./adapters/postgres-model-history.ts";
import { postgresNotices } from "./adapters/postgres-notices.ts";
import { definePlan, postgresPlans } from "./adapters/postgres-plans.ts";
import { postgresQueries } from "./adapters/postgres-queries.ts";
import { postgresServedDevices } from "./adapters/postgres-served-devices.ts";
import { useSigningKey } from "./adapters/postgres-signing-key.ts";
import { postgresTableKeeper } from "./adapters/postgres-tables.ts";
import { openReportIntake } from "./adapters/report-intake.ts";
import type { ProblemKind } from "./adapters/session/deps.ts";
import { SampleBudgets } from "./adapters/session/sample-budgets.ts";
import { openSessions } from "./adapters/session/service.ts";
import { openPlanSigner, type PlanSigner } from "./adapters/signing-key.ts";
import { type IntakeLimits, openIntake, type UpdateIntake } from "./adapters/update-intake.ts";
import { startAdmin } from "./admin/server.ts";
import { CohortDirectory } from "./cohort-directory.ts";
import { type CoordinatorConfig, heldOutLimits, tableLimits } from "./config.ts";
import type { CohortState } from "./core/cohort-state.ts";
import { dailyAnalyticsDuty } from "./daily-analytics.ts";
import { DriftWatch } from "./drift-watch.ts";
import { type Duty, Leader } from "./leader.ts";
import { liveStreamsDuty, noLiveStreamsDuty } from "./live-streams.ts";
import { maintenanceDuty } from "./maintenance.ts";
import { defineAtStart, tryAtStart } from "./plans-at-start.ts";
import type { FederationStore } from "./ports/federation-store.ts";
import type { ServedDevices } from "./ports/served-devices.ts";
import { runReplica } from "./replica.ts";

const SESSION_GRACE_MS = 3_000;
/** Of one dry run; whoever asks waits for it. */
const DRY_RUN_MAX_MS = 240_000;
const LEAVE_EVERY_MS = 5_000;
const MS_AN_HOUR = 3_600_000;
const ARCHIVE_EVERY_MS = 60_000;
const GUARD_EVERY_MS = 30_000;
/** Updates come by the thousand a second; the leader needs to hear of them now and then. */
const UPDATES_NOTICE_MS = 100;

export interface Coordinator {
  readonly grpcAddress: HostAndPort;
  readonly url: string;
  /** Rejects when it can't go on, and only another start helps. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

export async function openCoordinator(config: CoordinatorConfig, log: Logger): Promise<Coordinator> {
  const heldOut = config.FLEAD_HELD_OUT;
  if (heldOut !== undefined && !(await isFolder(heldOut))) {
    throw new ConfigError([`FLEAD_HELD_OUT: there is no folder ${JSON.stringify(heldOut)} (--held-out)`]);
  }
  const files = await Promise.all(config.FLEAD_PLANS.map(readCohortFile));
  const definitions = files.map(({ cohort, plan, federation }) => ({
    cohort: cohortId(cohort),
    plan: definePlan(plan),
    federation,
  }));
  const broker = await openBrokerAccess(config);
  const signer = await openPlanSigner(config.FLEAD_SIGNING_KEY_FILE, config.FLEAD_DATA_DIR);
  const database = await openDatabase({ url: config.DATABASE_URL, dataDir: config.FLEAD_DATA_DIR, log });
  try {
    await useSigningKey(database.kysely, signer.planKey, config.FLEAD_PLAN_KEY_BEFORE);
    const intake = openIntake(database, intakeLimits(config));
    const store = postgresFederationStore(database.kysely, intake);
    const moved = await defineAtStart(store, definitions, log);
    return await serve(config, log, { database, store, intake, signer, moved, broker });
  } catch (error) {
    await database.close();
    throw error;
  }
}

const isFolder = (path: string) =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

interface Opened {
  readonly database: Database;
  readonly store: FederationStore;
  readonly intake: UpdateIntake;
  readonly signer: PlanSigner;
  readonly moved: Parameters<typeof tryAtStart>[1];
  readonly broker: BrokerAccess | null;
}

async function serve(
  config: CoordinatorConfig,
  log: Logger,
  { database, store, intake, signer, moved, broker }: Opened,
): Promise<Coordinator> {
  const problems = new Problems<ProblemKind>(log, Date.now);
  const directory = await openDirectory(store, log);
  const replicaId = ulid();
  const gateways = postgresGatewayStore(database.kysely, {
    replicaId,
    version: packageVersion,
    alone: database.exclusive,
  });
  await gateways.showReplica();
  await gateways.forgetGoneReplicas();

  const notices = postgresNotices(database, log);
  const limits = heldOutLimits(config);
  const heldOut = postgresHeldOutStreams(database.kysely, {
    limits,
    manifestOf: (cohort) => directory.get(cohort)?.manifest,
  });
  // A cohort that is leaving a plan is there under both.
  const names = new Set(Array.from(directory.cohorts, ({ cohort }) => cohort));
  if (config.FLEAD_HELD_OUT !== undefined) {
    for (const cohort of names) {
      await importFolder({ streams: heldOut, limits, log }, config.FLEAD_HELD_OUT, cohort);
    }
  }
  const dryRuns = postgresDryRuns(database.kysely, heldOut, DRY_RUN_MAX_MS);
  const liveWindows = postgresLiveWindows(database.kysely);
  const served = postgresServedDevices(database.kysely);
  const keeper = postgresTableKeeper(database.kysely);
  const analytics = postgresAnalytics(database.kysely);
  const actions = postgresModelActions(database.kysely);
  const drifts = postgresLiveDrift(database.kysely);
  const liveOf = ({ cohort, planId, manifest }: CohortState) => {
    const settings = () => directory.get(cohort, planId)?.federation.live ?? [];
    return followLiveStreams({ windows: liveWindows, served, settings }, cohort, manifest);
  };
  const drift = new DriftWatch({
    directory,
    drifts,
    openMeter: async (state) => openLiveMeter(await planOf(state, store), liveOf(state)),
    actions,
    closeEarly: (cohort) => leader.closeEarly(cohort),
    report: (where, what) => problems.report("live_drift", where, what),
    log,
  });
  const liveDuty =
    broker === null
      ? noLiveStreamsDuty({ directory, drifts, log })
      : liveStreamsDuty({
          directory,
          windows: liveWindows,
          openBroker: (handlers) => {
            const clientId = `flead-coordinator-${replicaId}`;
            return new MqttLiveBroker({ ...broker, clientId, nowMs: Date.now }, handlers);
          },
          report: (...problem) => problems.report(...problem),
          measure: (...window) => drift.measure(...window),
          log,
        });
  const duties = [
    leavePlansDuty(store, config, log),
    archiveDuty(database, config, log),
    maintenanceDuty({ keeper, limits: tableLimits(config), log }),
    dailyAnalyticsDuty({ analytics, nowMs: Date.now, log }),
    heldOutGuard(served, problems),
    liveDuty,
    drift.duty(),
  ];
  const invitations = postgresInvitations(database.kysely);
  const standings = postgresGatewayStandings(database.kysely);
  const openEvaluators = async (state: CohortState) => {
    const plan = await planOf(state, store);
    const { cohort } = state;
    const frozen = followFrozenStreams(heldOut, cohort, plan.manifest, log);
    return openHeldOutEvaluators(plan, broker === null ? frozen : together(frozen, liveOf(state)));
  };
  const leader = new Leader({ directory, store, invitations, standings, gateways, openEvaluators, duties, log });
  const updatesStored = tellAtMostEvery(UPDATES_NOTICE_MS, (cohort) => notices.tell({ kind: "updates", cohort }));
  const cohorts = {
    get: (cohort: string, plan?: string) => directory.get(cohort, plan),
    updateStored: (cohort: string) => {
      if (!leader.check(cohort)) updatesStored(cohort);
    },
  };
  const reports = openReportIntake(gateways, analytics);
  const sessions = openSessions({
    store,
    gateways,
    invitations,
    reports,
    windowsKeptMs: windowsKeptMs(config),
    cohorts,
    budgets: new SampleBudgets(Date.now),
    notices,
    intake,
    limits: { maxSessions: config.FLEAD_MAX_SESSIONS, newSessionsPerSecond: config.FLEAD_NEW_SESSIONS_PER_SECOND },
    problems,
    log,
    replicaId,
    version: packageVersion,
  });
  const services = [sessions.service, planService({ store, problems, signer })];
  const grpc = await startGrpcServer(config.FLEAD_GRPC_ADDRESS, services, 2 * config.FLEAD_MAX_SESSIONS);
  const admin = await startAdmin({
    queries: postgresQueries(database.kysely),
    history: postgresModelHistory(database.kysely),
    actions,
    plans: postgresPlans(database.kysely, store, dryRuns),
    dryRuns,
    standings,
    analytics: { ...analytics, ...postgresAnalyticsQueries(database.kysely) },
    drifts,
    heldOut,
    heldOutLimits: limits,
    audit: postgresAuditLog(database.kysely),
    notices,
    address: config.FLEAD_HTTP_ADDRESS,
    version: packageVersion,
    log,
  }).catch(async (error) => {
    await grpc.close(0);
    throw error;
  });
  const stop = new AbortController();
  const checkRound = (cohort: string) => void leader.check(cohort);
  const running = Promise.all([
    runReplica({ replicaId, notices, directory, gateways, fleet: sessions, checkRound, log }, stop.signal),
    tryAtStart(dryRuns, moved, log, stop.signal),
    campaign({ database, replicaId, lead: (signal) => leader.lead(signal), log }, stop.signal),
  ]);
  log.info(
    { grpc: grpc.address, url: admin.url, replicaId, planKey: signer.planKey, cohorts: [...names] },
    "coordinator is ready",
  );

  return {
    grpcAddress: grpc.address,
    url: admin.url,
    failed: database.lost,
    close: async () => {
      sessions.drain();
      stop.abort(new Error("the coordinator is closed"));
      await running;
      await Promise.all([grpc.close(SESSION_GRACE_MS), admin.close()]);
      await sessions.close();
      await Promise.all([intake.close(), reports.close(), drift.close()]);
      await gateways.leaveReplicas().catch((error: Error) => log.warn({ err: error }, "this replica leaves unsaid"));
      await database.close();
    },
  };
}

/** As long as the leader keeps them. */
function windowsKeptMs(config: CoordinatorConfig): number {
  const { retentionDays } = tableLimits(config).stream_analysis_results;
  return (retentionDays ?? Number.POSITIVE_INFINITY) * 86_400_000;
}

const BYTES_A_MB = 1024 * 1024;

function intakeLimits(config: CoordinatorConfig): IntakeLimits {
  return {
    maxWaitingUpdates: config.FLEAD_MAX_WAITING_UPDATES,
    maxWaitingBytes: config.FLEAD_MAX_WAITING_MB * BYTES_A_MB,
    maxOpenUpdates: config.FLEAD_MAX_OPEN_UPDATES,
    maxOpenBytes: config.FLEAD_MAX_OPEN_MB * BYTES_A_MB,
    maxOpenUpdatesOfAGateway: config.FLEAD_MAX_OPEN_UPDATES_OF_A_GATEWAY,
  };
}

async function openDirectory(store: FederationStore, log: Logger): Promise<CohortDirectory> {
  const directory = new CohortDirectory(store);
  await directory.refreshAll();
  let leftOut = 0;
  await store.loadCohorts((cohort, planId, why) => {
    leftOut++;
    const advice = "start with --plan and its file again";
    log.error({ cohort, why }, `cohort ${cohort}: its plan ${planId} is of another version of FLEAD: ${advice}`);
  });
  if ([...directory.cohorts].length + leftOut === 0)
    throw new Error("there is no cohort: name a plan file, for example --plan plans/pumps.yaml");
  return directory;
}

function leavePlansDuty(store: FederationStore, config: CoordinatorConfig, log: Logger): Duty {
  return {
    name: "leave plans that no gateway holds",
    everyMs: LEAVE_EVERY_MS,
    run: async () => {
      const plans = await store.leavePlans(config.FLEAD_PLAN_ABSENCE_HOURS * MS_AN_HOUR);
      if (plans > 0) log.info({ plans }, "plans were left");
    },
  };
}

function archiveDuty(database: Database, config: CoordinatorConfig, log: Logger): Duty {
  const archive = postgresModelArchive(database.kysely);
  return {
    name: "archive older weights",
    everyMs: ARCHIVE_EVERY_MS,
    run: async (signal) => {
      const versions = await archive.archiveOlder(config.FLEAD_MODELS_AT_HAND, signal);
      if (versions > 0) log.info({ versions }, "weights of older versions were archived");
    },
  };
}

/** Warns of each gateway that serves a device of a held-out stream: it may train on what it is measured on. */
function heldOutGuard(served: ServedDevices, problems: Problems<ProblemKind>): Duty {
  return {
    name: "guard held-out streams",
    everyMs: GUARD_EVERY_MS,
    run: async () => {
      for (const { cohort, device, gatewayId } of await served.newlyServed()) {
        const what =
          "it serves a device that is named as a held-out stream: what it trains on may be what it is measured on";
        problems.report("held_out_served", `gateway ${gatewayId}, cohort ${cohort}, device ${device}`, what);
      }
    },
  };
}

async function openBrokerAccess(config: CoordinatorConfig): Promise<BrokerAccess | null> {
  const { FLEAD_MQTT_URL: url, FLEAD_MQTT_USER_FILE: user, FLEAD_MQTT_PASSWORD_FILE: password } = config;
  if (url === undefined) return null;
  return readBrokerAccess({ url, user, password, ca: config.FLEAD_MQTT_CA_FILE }).catch((error: Error) => {
    throw new ConfigError([`FLEAD_MQTT_USER_FILE, …_PASSWORD_FILE, …_CA_FILE: ${error.message}`]);
  });
}

/** Calls `tell` for a cohort at once, and again after `ms` if it was asked for meanwhile. What fails is told later. */
function tellAtMostEvery(ms: number, tell: (cohort: string) => Promise<void>): (cohort: string) => void {
  const quiet = new Map<string, { again: boolean }>();
  const say = (cohort: string) => {
    const waiting = { again: false };
    quiet.set(cohort, waiting);
    void tell(cohort).catch(() => undefined); // the leader looks by itself, too
    setTimeout(() => {
      quiet.delete(cohort);
      if (waiting.again) say(cohort);
    }, ms).unref();
  };
  return (cohort) => {
    const waiting = quiet.get(cohort);
    if (waiting === undefined) say(cohort);
    else waiting.again = true;
  };
}

async function planOf({ planId }: CohortState, store: FederationStore): Promise<PlanBundle> {
  const bundle = await store.planBundle(planId);
  if (bundle === null) throw new Error(`the database has no bundle of plan ${planId}`);
  return decodeBundle(bundle, planId);
}

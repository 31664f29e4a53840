// Wires the coordinator: database, cohorts with their rounds, sessions for gateways, the admin endpoint for people.

import { stat } from "node:fs/promises";
import { compilePlan } from "../learning/compile-plan.ts";
import { cohortId } from "../learning/ids.ts";
import { decodeBundle, encodeBundle } from "../proto/plan-bundle.ts";
import { ConfigError, type HostAndPort } from "../runtime/config.ts";
import type { Logger } from "../runtime/log.ts";
import { packageVersion } from "../runtime/package-root.ts";
import { Problems } from "../runtime/problems.ts";
import { readCohortFile } from "./adapters/cohort-file.ts";
import { type Database, openDatabase } from "./adapters/database.ts";
import { startGrpcServer } from "./adapters/grpc-server.ts";
import { readHeldOutStreams } from "./adapters/held-out-csv.ts";
import { openEvaluator } from "./adapters/held-out-evaluator.ts";
import { planService } from "./adapters/plan-service.ts";
import { postgresFederationStore } from "./adapters/postgres-federation-store.ts";
import { postgresGatewayStore } from "./adapters/postgres-gateway-store.ts";
import { postgresInvitations } from "./adapters/postgres-invitations.ts";
import { postgresQueries } from "./adapters/postgres-queries.ts";
import { postgresStandings } from "./adapters/postgres-standings.ts";
import type { ProblemKind } from "./adapters/session/deps.ts";
import { SampleBudgets } from "./adapters/session/sample-budgets.ts";
import { openSessions } from "./adapters/session/service.ts";
import { startAdmin } from "./admin/server.ts";
import type { CoordinatorConfig } from "./config.ts";
import type { CohortState } from "./core/cohort-state.ts";
import type { Evaluator } from "./ports/evaluator.ts";
import type { FederationStore } from "./ports/federation-store.ts";
import { RoundLoop } from "./round-loop.ts";

const SESSION_GRACE_MS = 3_000;

export interface Coordinator {
  readonly grpcAddress: HostAndPort;
  readonly url: string;
  close(): Promise<void>;
}

export async function openCoordinator(config: CoordinatorConfig, log: Logger): Promise<Coordinator> {
  const heldOut = config.FLEAD_HELD_OUT;
  if (heldOut !== undefined && !(await isFolder(heldOut))) {
    throw new ConfigError([`FLEAD_HELD_OUT: there is no folder ${JSON.stringify(heldOut)} (--held-out)`]);
  }
  const definitions = await Promise.all(config.FLEAD_PLANS.map(readCohortFile));
  const database = await openDatabase({ url: config.DATABASE_URL, dataDir: config.FLEAD_DATA_DIR, log });
  try {
    const store = postgresFederationStore(database.kysely);
    for (const { cohort, plan, federation } of definitions) {
      const compiled = compilePlan(plan);
      const { planId, bytes } = encodeBundle(compiled);
      const definition = {
        planId,
        manifest: compiled.manifest,
        bundle: bytes,
        initialWeights: compiled.initialWeights,
      };
      await store.defineCohort(cohortId(cohort), definition, federation);
    }
    return await serve(config, log, database, store);
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

async function serve(
  config: CoordinatorConfig,
  log: Logger,
  database: Database,
  store: FederationStore,
): Promise<Coordinator> {
  const problems = new Problems<ProblemKind>(log, Date.now);
  let leftOut = 0;
  const states = await store.loadCohorts((cohort, planId, why) => {
    leftOut++;
    const advice = "start with --plan and its file again";
    log.error({ cohort, why }, `cohort ${cohort}: its plan ${planId} is of another version of FLEAD: ${advice}`);
  });
  if (states.length + leftOut === 0)
    throw new Error("there is no cohort: name a plan file, for example --plan plans/pumps.yaml");

  const rounds = new Map<string, RoundLoop>();
  const cohorts = {
    get: (cohort: string) => rounds.get(cohort)?.state,
    updateStored: (cohort: string) => rounds.get(cohort)?.check(),
  };
  const gateways = postgresGatewayStore(database.kysely);
  const invitations = postgresInvitations(database.kysely);
  const standings = postgresStandings(database.kysely);
  const budgets = new SampleBudgets(Date.now);
  const sessions = openSessions({
    store,
    gateways,
    invitations,
    cohorts,
    budgets,
    problems,
    log,
    version: packageVersion,
  });
  const evaluators: Evaluator[] = [];
  for (const state of states) {
    const evaluator = await evaluatorOf(state, config, store, log);
    evaluators.push(evaluator);
    rounds.set(state.cohort, new RoundLoop({ store, standings, invitations, evaluator, fleet: sessions }, state, log));
  }
  await gateways.forgetPresence();
  const services = [sessions.service, planService({ store, problems })];
  const grpc = await startGrpcServer(config.FLEAD_GRPC_ADDRESS, services);
  const queries = postgresQueries(database.kysely);
  const admin = await startAdmin({
    queries,
    standings,
    address: config.FLEAD_HTTP_ADDRESS,
    version: packageVersion,
    log,
  }).catch(async (error) => {
    await grpc.close(0);
    throw error;
  });
  for (const round of rounds.values()) round.check(); // what an earlier process left open
  log.info({ grpc: grpc.address, url: admin.url, cohorts: [...rounds.keys()] }, "coordinator is ready");

  return {
    grpcAddress: grpc.address,
    url: admin.url,
    close: async () => {
      sessions.drain();
      await Promise.all([...rounds.values()].map((round) => round.stop()));
      await Promise.all([grpc.close(SESSION_GRACE_MS), admin.close()]);
      for (const evaluator of evaluators) await evaluator.close();
      await database.close();
    },
  };
}

async function evaluatorOf(
  state: CohortState,
  config: CoordinatorConfig,
  store: FederationStore,
  log: Logger,
): Promise<Evaluator> {
  const bundle = await store.planBundle(state.planId);
  if (bundle === null) throw new Error(`the database has no bundle of plan ${state.planId}`);
  const folder = config.FLEAD_HELD_OUT;
  const refused: { file: string; why: string }[] = [];
  const streams =
    folder === undefined
      ? []
      : await readHeldOutStreams(folder, state.cohort, state.manifest, (file, why) => refused.push({ file, why }));
  if (refused.length > 0) log.warn({ cohort: state.cohort, refused }, "held-out streams that are left out");
  const rows = streams.reduce((sum, stream) => sum + stream.rows.length, 0);
  log.info({ cohort: state.cohort, streams: streams.length, rows }, "held-out streams");
  for (const { stream, sha256, rows, labels } of streams) {
    const anomalies = labels.reduce((sum, label) => sum + label, 0);
    await store.recordHeldOutStream(state.cohort, { name: stream, sha256, rows: rows.length, anomalies });
  }
  return openEvaluator(decodeBundle(bundle, state.planId), streams);
}

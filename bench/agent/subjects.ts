// Who is flooded: the agent under a model, the agent without one, and a bare subscriber as the floor.
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { packageRoot } from "../../runtime/package-root.ts";
import { type AgentUnderTest, startAgentUnderTest } from "./subject.ts";

export interface Subject {
  readonly name: string;
  readonly pid: number;
  /** Messages that it is done with, since it began. */
  count(): Promise<number>;
  /** Resolves, while messages come, once it is at work. */
  ready(): Promise<void>;
  stop(): Promise<void>;
}

export async function agentSubject(folder: string, broker: string, withModel: boolean): Promise<Subject> {
  const agent: AgentUnderTest = await startAgentUnderTest(folder, broker, withModel);
  return {
    name: withModel ? "agent, cohort's model" : "agent, its own detectors",
    pid: agent.pid,
    count: async () => (await agent.figure("rows_judged_total")) ?? 0,
    ready: async () => undefined,
    stop: () => agent.stop(),
  };
}

export async function bareSubject(broker: string): Promise<Subject> {
  const child = fork(join(packageRoot, "dist/bench/agent/subscriber.js"), [broker]);
  await once(child, "message");
  return {
    name: "mqtt.js that only counts",
    pid: child.pid as number,
    count: async () => {
      child.send("count");
      const [{ heard }] = (await once(child, "message")) as [{ heard: number }];
      return heard;
    },
    ready: async () => undefined,
    stop: async () => {
      const ended = once(child, "exit");
      child.disconnect();
      await ended;
    },
  };
}

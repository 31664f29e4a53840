// What comes by MQTT: readings for the queue, labels and operators' words for the lane, Home Assistant's birth.
import { isRefusal, type Refusal } from "../learning/telemetry/refusal.ts";
import { readRowLabels } from "../learning/telemetry/row-labels.ts";
import { saysOnline } from "./core/home-assistant.ts";
import { readAlertWord } from "./core/labels.ts";
import type { Heard, SensorReader, SiteMessage } from "./core/mapping/sensor-reader.ts";
import type { Judging } from "./judging.ts";
import type { Labels } from "./labels.ts";
import type { Lane } from "./lane.ts";
import type { Broker } from "./ports/broker.ts";
import type { ReportTrouble } from "./trouble.ts";

const MAX_WAITING_WORDS = 1_000;

export interface HearingDeps {
  readonly site: string;
  /** Null: Home Assistant is told of nothing. */
  readonly birthTopic: string | null;
  readonly sensors: SensorReader;
  readonly judging: Judging;
  readonly labels: Labels;
  readonly lane: Lane;
  readonly refuse: (where: string, refusal: Refusal) => void;
  /** Of labels and words on alerts: no row is lost with them. */
  readonly refuseWord: (where: string, refusal: Refusal) => void;
  readonly trouble: ReportTrouble;
  readonly command: Broker["command"];
  /** What `work` writes; whatever becomes of it, nothing is thrown. */
  readonly stored: (work: () => void) => void;
  readonly onBirth: () => void;
  /** A word on an alert was applied. */
  readonly onWord: () => void;
}

export class Hearing {
  readonly #deps: HearingDeps;
  readonly #siteTopics: string;
  #waitingWords = 0;

  constructor(deps: HearingDeps) {
    this.#deps = deps;
    this.#siteTopics = `flead/v1/${deps.site}/`;
  }

  /** Never throws, whatever the message is. */
  receive(message: SiteMessage): void {
    const { birthTopic, judging, labels, sensors, onBirth, onWord } = this.#deps;
    const { topic } = message;
    judging.watch.arrived();
    if (topic === birthTopic) {
      if (saysOnline(message.payload)) onBirth();
    } else if (topic.startsWith(this.#siteTopics) && topic.endsWith("/label")) {
      this.#hear(topic, readRowLabels(message), (said) => labels.labelRows(said));
    } else if (topic.startsWith(this.#siteTopics) && topic.endsWith("/ack")) {
      this.#hear(topic, readAlertWord(message), (said) => {
        labels.acknowledge(said);
        onWord();
      });
    } else this.#take(topic, sensors.read(message));
  }

  /** What time has brought, without a message. */
  due(wallMs: number): void {
    this.#take("sensors", this.#deps.sensors.due(wallMs));
  }

  #take(where: string, { readings, refusals, commands, notices }: Heard): void {
    const { refuse, refuseWord, trouble, command, judging } = this.#deps;
    for (const refusal of refusals) refuse(where, refusal);
    for (const { kind, deviceId, detail } of notices) trouble(kind, deviceId, detail);
    for (const each of commands) command(each);
    for (const reading of readings) {
      if (reading.labelRefusal !== undefined) refuseWord(where, reading.labelRefusal);
      judging.add(reading);
    }
  }

  /** A word on rows is heard after the rows that came before it. */
  #hear<Said extends object>(topic: string, said: Said | Refusal, apply: (said: Said) => void): void {
    const { lane, judging, refuseWord, stored } = this.#deps;
    if (isRefusal(said)) {
      refuseWord(topic, said);
      return;
    }
    if (this.#waitingWords >= MAX_WAITING_WORDS) {
      refuseWord(topic, { refused: "queue_full", detail: `more than ${MAX_WAITING_WORDS} labels wait` });
      return;
    }
    this.#waitingWords++;
    void lane.run(async () => {
      this.#waitingWords--;
      await judging.judgeWaiting();
      stored(() => apply(said));
    });
  }
}

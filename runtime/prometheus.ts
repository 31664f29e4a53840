// Figures in the Prometheus text format 0.0.4.

export interface Metric {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  /** One figure, or one a value of `label`, a closed set. Null: not measured, and left out. */
  readonly value: number | null | { readonly label: string; readonly of: Iterable<readonly [string, number | null]> };
}

export const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export const prometheusText = (metrics: readonly Metric[]): string => metrics.map(metricText).join("");

function metricText({ name, type, help, value }: Metric): string {
  const labelled = value === null || typeof value === "number" ? [["", value] as const] : labels(value.label, value.of);
  const lines = labelled.flatMap(([label, figure]) => (figure === null ? [] : [`${name}${label} ${figure}\n`]));
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
}

const labels = (name: string, figures: Iterable<readonly [string, number | null]>) =>
  Array.from(figures, ([label, figure]) => [`{${name}=${JSON.stringify(label)}}`, figure] as const);

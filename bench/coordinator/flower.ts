// Flower's servers under the same load, measured elsewhere and not by this benchmark: two cores, plain text, 1,000 clients.

export interface MeasuredElsewhere {
  readonly server: string;
  /** Updates a second, of 5 KB and of 100 KB. */
  readonly small: string;
  readonly large: string;
  readonly cpuMs: string;
  readonly rssMb: string;
}

export const MEASURED_ELSEWHERE: readonly MeasuredElsewhere[] = [
  {
    server: "Flower's former gRPC server (nothing stored)",
    small: "1,600–2,373",
    large: "1,270–1,835",
    cpuMs: "0.46–0.74",
    rssMb: "226–996",
  },
  { server: "Flower SuperLink, in memory", small: "19–33", large: "20–31", cpuMs: "23–36", rssMb: "298–677" },
  { server: "Flower SuperLink, SQLite state", small: "5–8", large: "–", cpuMs: "162–272", rssMb: "–" },
  { server: "bare grpcio unary, no federation", small: "7,371", large: "5,185", cpuMs: "0.14–0.18", rssMb: "–" },
];

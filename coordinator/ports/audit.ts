// Who changed what: a log that is only ever added to.

export interface AuditEntry {
  /** "coordinator", or who asked it to. */
  readonly actor: string;
  /** What was done: `<thing>.<verb>`. */
  readonly action: string;
  /** What it was done to. */
  readonly subject: string;
  readonly detail: object;
}

export interface Audit {
  /** Durable before it resolves; within a transaction, with it. */
  record(entry: AuditEntry): Promise<void>;
}

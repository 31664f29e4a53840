// What was done, by whom and to what: append only.

export interface AuditEntry {
  /** A user, a gateway, or "coordinator". */
  readonly actor: string;
  /** What was done, in words of the API: "model.pin". */
  readonly action: string;
  /** To what: "cohort/pumps/version/12". */
  readonly subject: string;
  readonly detail?: object;
}

export interface AuditLog {
  /**
   * Durable before it resolves, or with the transaction that it is written in. Names longer than 256 characters are cut;
   * of a detail of more than 16 KiB only its size is kept.
   */
  record(entry: AuditEntry): Promise<void>;
}

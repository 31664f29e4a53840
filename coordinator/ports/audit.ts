// Who did what: append only.

export interface AuditEntry {
  /** A user, a gateway, or the coordinator itself. */
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  /** At most 16 KiB of JSON. */
  readonly detail: object;
}

export interface Audit {
  record(entry: AuditEntry): Promise<void>;
}

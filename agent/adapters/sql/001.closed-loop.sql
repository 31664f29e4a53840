-- What a gateway keeps. Bodies are node:v8 serialisations, weights and bundles as they are.

CREATE TABLE plans (
  plan_id TEXT PRIMARY KEY,
  bundle  BLOB NOT NULL
) STRICT;

CREATE TABLE cohorts (
  cohort               TEXT PRIMARY KEY,
  plan_id              TEXT NOT NULL REFERENCES plans,
  learning_rate_factor REAL NOT NULL DEFAULT 1,
  slot                 BLOB                            -- null: no model held yet; else weights and residual
) STRICT;

CREATE TABLE feedback (
  cohort               TEXT NOT NULL,
  global_version       INTEGER NOT NULL,
  learning_rate_factor REAL NOT NULL,
  PRIMARY KEY (cohort, global_version)
) STRICT;

CREATE TABLE devices (
  device_id TEXT PRIMARY KEY,
  cohort    TEXT NOT NULL,
  record    BLOB NOT NULL
) STRICT;
CREATE INDEX devices_cohort ON devices (cohort);

CREATE TABLE outbox (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  kind     TEXT NOT NULL,                              -- update, alert
  key      TEXT,                                       -- the update's id
  bytes    INTEGER NOT NULL,
  body     BLOB NOT NULL,
  UNIQUE (kind, key)
) STRICT;
CREATE INDEX outbox_kind ON outbox (kind, sequence, bytes);

CREATE TABLE episodes (
  sequence          INTEGER PRIMARY KEY AUTOINCREMENT,
  alert_id          TEXT NOT NULL UNIQUE,
  state             TEXT NOT NULL,
  revision          INTEGER NOT NULL DEFAULT 1,
  reported_revision INTEGER NOT NULL DEFAULT 0,
  body              BLOB NOT NULL
) STRICT;

CREATE TABLE retained (
  topic    TEXT PRIMARY KEY,
  empty_at INTEGER NOT NULL                            -- epoch ms
) STRICT;

CREATE TABLE counters (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT;

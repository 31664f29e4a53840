CREATE TABLE ledger (
  day                  TEXT PRIMARY KEY,               -- UTC, as 2026-01-31
  flash_written        INTEGER,                        -- bytes; null: this machine does not say
  coordinator_sent     INTEGER NOT NULL,
  coordinator_received INTEGER NOT NULL,
  broker_sent          INTEGER NOT NULL,
  broker_received      INTEGER NOT NULL
) STRICT;

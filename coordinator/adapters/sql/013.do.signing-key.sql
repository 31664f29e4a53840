-- Whose signature gateways know: coordinators of one database sign plans with one key.

CREATE TABLE signing_keys (
  plan_key text PRIMARY KEY,                          -- the public one
  since    timestamptz NOT NULL DEFAULT now(),
  until    timestamptz                                -- null: it is the one in force
);
CREATE UNIQUE INDEX signing_keys_in_force ON signing_keys ((until IS NULL)) WHERE until IS NULL;

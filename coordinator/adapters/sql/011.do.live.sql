-- Live labelled streams: their closed windows, and what they say of the champion.

-- The last windows of each stream; older ones go as others come.
CREATE TABLE live_windows (
  cohort         text NOT NULL REFERENCES cohorts,
  device_id      text NOT NULL,
  window_start   timestamptz NOT NULL,
  window_end     timestamptz NOT NULL,
  channels       text[] NOT NULL,
  content        bytea NOT NULL,            -- gzip of float64 little-endian, row by row: epoch ms, channels, label (0, 1; NaN: none)
  sha256         text NOT NULL,             -- of the content before gzip
  rows           integer NOT NULL,
  labelled       integer NOT NULL,
  anomalies      integer NOT NULL,
  late_rows      integer NOT NULL,          -- not used, since the window before closed
  late_labels    integer NOT NULL,
  dropped_rows   integer NOT NULL,
  dropped_labels integer NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (cohort, device_id, window_start)
);
ALTER TABLE live_windows ALTER COLUMN content SET STORAGE EXTERNAL;

-- One row a live stream.
CREATE TABLE live_drift (
  cohort           text NOT NULL REFERENCES cohorts,
  device_id        text NOT NULL,
  champion_version bigint,                  -- that the figures are of; null: none was measured yet
  evaluated_rows   integer NOT NULL DEFAULT 0,
  quality          double precision,        -- null: never measured
  reference        double precision,
  windows_below    integer NOT NULL DEFAULT 0,
  why              text,                    -- it is not evaluated right now; null: it is
  drifted_at       timestamptz,             -- null: it has not
  due_action       text CHECK (due_action IN ('round', 'rollback')),  -- to be done for the drift; null: nothing is
  due_version      bigint,                  -- the cohort's last version when it fell due
  updated_at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (cohort, device_id)
);

-- Cohorts of an earlier version: what went without saying is said.
UPDATE cohort_plans SET federation =
  '{"live": [], "drift": {"drop": 0.1, "windows": 3, "rows": 2000, "action": "event"}}'::jsonb || federation;

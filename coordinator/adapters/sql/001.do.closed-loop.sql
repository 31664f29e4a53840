-- The tables of the closed loop. Times are UTC; [t] columns carry a BRIN index.

CREATE TABLE plans (
  plan_id    text PRIMARY KEY,
  manifest   jsonb NOT NULL,
  bundle     bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE cohorts (
  cohort               text PRIMARY KEY,
  plan_id              text NOT NULL REFERENCES plans,
  federation           jsonb NOT NULL,
  champion_version     bigint NOT NULL,
  last_version         bigint NOT NULL,               -- the highest number ever given, promoted or not
  learning_rate_factor double precision NOT NULL DEFAULT 1,
  smoothed_quality     double precision,              -- null: nothing was evaluated yet
  server_m             bytea,                         -- moments of the server optimiser, float32; null before its first step
  server_v             bytea,
  server_steps         integer NOT NULL DEFAULT 0,
  created_at           timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE gateways (
  gateway_id    text PRIMARY KEY,
  site          text NOT NULL,
  agent_version text NOT NULL,
  cohorts       jsonb NOT NULL DEFAULT '[]',          -- [{cohort, planId, globalVersion, devices}] as last said
  health        jsonb,                                -- null: nothing reported yet
  connected     boolean NOT NULL DEFAULT false,
  last_seen_at  timestamptz NOT NULL DEFAULT now(),
  created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE rounds (
  round_id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  cohort               text NOT NULL REFERENCES cohorts,
  base_version         bigint NOT NULL,               -- the champion the candidate was made from
  global_version       bigint NOT NULL,               -- the candidate
  rule                 text NOT NULL,
  verdict              text NOT NULL CHECK (verdict IN ('promoted', 'rejected')),
  reason               text NOT NULL,
  updates              integer NOT NULL,
  gateways             integer NOT NULL,
  samples              bigint NOT NULL,
  held_out             jsonb,                         -- the candidate's scores; null: not evaluated
  champion_held_out    jsonb,                         -- the champion's, on the same windows
  baselines            jsonb,                         -- {alwaysNormal, alwaysAlarm, zScore}
  learning_rate_factor double precision NOT NULL,     -- in force after the round
  opened_at            timestamptz NOT NULL,          -- its first update
  closed_at            timestamptz NOT NULL DEFAULT now(),
  UNIQUE (cohort, global_version)
);

CREATE TABLE local_models (
  id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  update_id         text NOT NULL UNIQUE,
  cohort            text NOT NULL,
  plan_id           text NOT NULL,
  gateway_id        text NOT NULL,
  device_id         text,                             -- null: the update pools the gateway's devices
  model_version     bigint NOT NULL,                  -- the agent's local step count
  global_version    bigint NOT NULL,                  -- the base
  samples_processed bigint NOT NULL,
  accuracy          double precision,                 -- on labelled local rows only, else null
  loss              double precision,
  status            text NOT NULL CHECK (status IN ('accepted', 'refused', 'clipped', 'aggregated')),
  reason            text,
  encoding          text NOT NULL,                    -- the kind of the plan's codec
  delta             bytea,                            -- null once it was refused or aggregated
  round_id          bigint REFERENCES rounds,
  weight            double precision,                 -- share it had in its round
  created_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX local_models_gateway ON local_models (gateway_id, created_at DESC);
CREATE INDEX local_models_open ON local_models (cohort, id) WHERE status IN ('accepted', 'clipped');
CREATE INDEX local_models_refused ON local_models (cohort) WHERE status = 'refused';
CREATE INDEX local_models_time ON local_models USING brin (created_at);

CREATE TABLE federated_models (
  cohort            text NOT NULL REFERENCES cohorts,
  global_version    bigint NOT NULL,
  aggregation_round bigint REFERENCES rounds (round_id),  -- null: the plan's initial weights
  plan_id           text NOT NULL REFERENCES plans,
  num_devices       integer NOT NULL,
  num_gateways      integer NOT NULL,
  total_samples     bigint NOT NULL,
  rule              text NOT NULL,
  weights           bytea NOT NULL,
  status            text NOT NULL CHECK (status IN ('candidate', 'champion', 'rejected', 'rolled_back', 'pinned')),
  accuracy          double precision,                 -- held-out; null: not evaluated
  loss              double precision,
  parent_version    bigint,
  created_at        timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (cohort, global_version)
);
CREATE INDEX federated_models_time ON federated_models USING brin (created_at);

CREATE TABLE held_out_streams (
  cohort     text NOT NULL,
  stream     text NOT NULL,
  sha256     text NOT NULL,
  rows       integer NOT NULL,
  anomalies  integer NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (cohort, stream, sha256)
);

CREATE TABLE model_evaluations (
  cohort               text NOT NULL,
  global_version       bigint NOT NULL,
  stream               text NOT NULL,
  device_id            text NOT NULL,
  row_index            integer NOT NULL,              -- of the stream's data rows, from 0
  prediction_result    smallint NOT NULL CHECK (prediction_result IN (0, 1)),
  actual_result        smallint NOT NULL CHECK (actual_result IN (0, 1)),
  is_correct           boolean NOT NULL,
  confidence           double precision NOT NULL,
  score                double precision NOT NULL,
  threshold            double precision NOT NULL,
  evaluation_timestamp timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (cohort, global_version, stream, row_index)
);
CREATE INDEX model_evaluations_time ON model_evaluations USING brin (evaluation_timestamp);

CREATE VIEW model_evaluation_summaries AS
SELECT e.cohort, e.global_version, count(*) AS n,
       count(*) FILTER (WHERE prediction_result = 1 AND actual_result = 1) AS true_positives,
       count(*) FILTER (WHERE prediction_result = 1 AND actual_result = 0) AS false_positives,
       count(*) FILTER (WHERE prediction_result = 0 AND actual_result = 1) AS false_negatives,
       count(*) FILTER (WHERE prediction_result = 0 AND actual_result = 0) AS true_negatives,
       (r.held_out ->> 'precision')::float8 AS precision, (r.held_out ->> 'recall')::float8 AS recall,
       (r.held_out ->> 'f1')::float8 AS f1, (r.held_out ->> 'prAuc')::float8 AS pr_auc,
       (r.held_out -> 'f1Interval' ->> 0)::float8 AS f1_low, (r.held_out -> 'f1Interval' ->> 1)::float8 AS f1_high,
       r.baselines
FROM model_evaluations e LEFT JOIN rounds r USING (cohort, global_version)
GROUP BY e.cohort, e.global_version, r.held_out, r.baselines;

CREATE TABLE model_feedback (
  id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  cohort               text NOT NULL,
  global_version       bigint NOT NULL,
  gateway_id           text NOT NULL,
  device_id            text,
  prediction           double precision,              -- these five: operators' labels, null for learning-rate feedback
  actual_value         double precision,
  error                double precision,
  absolute_error       double precision,
  outcome              text CHECK (outcome IN ('TP', 'FP', 'TN', 'FN')),
  error_band           text CHECK (error_band IN ('small', 'middle', 'large')),
  promoted             boolean,
  learning_rate_factor double precision,
  loss                 double precision,              -- the candidate's held-out loss
  loss_before          double precision,              -- the champion's
  trend                text CHECK (trend IN ('falling', 'flat', 'rising')),
  agreement            double precision,              -- cosine with the round's delta
  reason               text NOT NULL,
  acknowledged_at      timestamptz,
  created_at           timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX model_feedback_once ON model_feedback (cohort, global_version, gateway_id) WHERE learning_rate_factor IS NOT NULL;
CREATE INDEX model_feedback_open ON model_feedback (gateway_id) WHERE acknowledged_at IS NULL;
CREATE INDEX model_feedback_time ON model_feedback USING brin (created_at);

CREATE TABLE episodes (
  alert_id       text PRIMARY KEY,
  gateway_id     text NOT NULL,
  device_id      text NOT NULL,
  cohort         text NOT NULL,
  model_kind     text NOT NULL,
  global_version bigint NOT NULL,
  state          text NOT NULL CHECK (state IN ('active', 'cleared')),
  severity       text NOT NULL CHECK (severity IN ('minor', 'major', 'critical')),
  score          double precision NOT NULL,
  threshold      double precision NOT NULL,
  confidence     double precision NOT NULL,
  contributors   jsonb NOT NULL,                      -- [{channel, share, value, expected: [low, high], unit}]
  count          bigint NOT NULL,
  started_at     timestamptz NOT NULL,
  updated_at     timestamptz NOT NULL,
  received_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX episodes_recent ON episodes (received_at DESC, alert_id);

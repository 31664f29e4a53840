-- Every table that others rely on, and its home in time: hypertables where TimescaleDB serves this database, else range
-- partitions with BRIN indexes, made and dropped by the maintenance job. No foreign key leaves a partitioned table: a
-- new partition would have to lock what it points to.

-- 1. Tables in time.

-- The extension is made only where its loader is preloaded (which is what defines this setting): elsewhere CREATE
-- EXTENSION would end the connection. Who may not make extensions lets an administrator do it before the first start.
DO $$
BEGIN
  IF current_setting('timescaledb.disable_load', true) IS NOT NULL
     AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb') THEN
    CREATE EXTENSION IF NOT EXISTS timescaledb;
  END IF;
EXCEPTION WHEN insufficient_privilege THEN
  RAISE NOTICE 'no right to create the timescaledb extension: tables are partitioned instead';
END $$;

-- Which tables are in time, and how.
CREATE TABLE time_tables (
  table_name     text PRIMARY KEY,
  time_column    text NOT NULL,
  partition_days integer NOT NULL CHECK (partition_days > 0),
  hypertable     boolean NOT NULL,
  parent         text NOT NULL,                       -- whose partitions are ranges of time
  open_column    text,                                -- rows in which it has one of these values are never dropped
  open_values    text[],
  segment_by     text                                 -- what a compressed chunk is sorted by; null: never compressed
);

-- The beginning of the partition that a time belongs to.
CREATE FUNCTION partition_start(at timestamptz, days integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE
  RETURN date_bin(make_interval(days => days), at, timestamptz '2001-01-01 00:00:00Z');  -- a Monday

-- Makes the partition that a time belongs to, with the rows that are there already; a hypertable makes its own.
CREATE FUNCTION ensure_partition(of_table text, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  t time_tables;
  since timestamptz;
  until timestamptz;
  partition text;
BEGIN
  SELECT * INTO STRICT t FROM time_tables WHERE table_name = of_table;
  since := partition_start(at, t.partition_days);
  until := since + make_interval(days => t.partition_days);
  partition := of_table || to_char(since AT TIME ZONE 'UTC', '"_p"YYYYMMDD');
  IF t.hypertable OR to_regclass(quote_ident(partition)) IS NOT NULL THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING IDENTITY EXCLUDING INDEXES)', partition, t.parent);
  EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %I >= $1 AND %2$I < $2 RETURNING *) INSERT INTO %3$I TABLE moved',
                 t.parent || '_rest', t.time_column, partition) USING since, until;
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', t.parent, partition, since, until);
END $$;

-- What a table in time consists of; `since` and `until` are null for the rest that fits into no partition.
CREATE FUNCTION time_partitions(of_table text)
  RETURNS TABLE (partition text, since timestamptz, until timestamptz, bytes bigint) LANGUAGE plpgsql STABLE AS $$
DECLARE
  t time_tables;
BEGIN
  SELECT * INTO STRICT t FROM time_tables WHERE table_name = of_table;
  IF t.hypertable THEN
    RETURN QUERY SELECT c.chunk_name::text, c.range_start, c.range_end, s.total_bytes
      FROM timescaledb_information.chunks c JOIN chunks_detailed_size(of_table::regclass) s USING (chunk_schema, chunk_name)
      WHERE c.hypertable_name = of_table;
  ELSE
    RETURN QUERY SELECT c.relname::text, bounds[1]::timestamptz, bounds[2]::timestamptz, pg_total_relation_size(c.oid)
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
           regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(.*)''\) TO \(''(.*)''\)') AS bounds
      WHERE i.inhparent = t.parent::regclass;
  END IF;
END $$;

-- Drops a partition with its rows; false: it holds rows that are never dropped, or there is none that begins then.
CREATE FUNCTION drop_partition(of_table text, starting timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  t time_tables;
  p record;
  open boolean;
BEGIN
  SELECT * INTO STRICT t FROM time_tables WHERE table_name = of_table;
  SELECT * INTO p FROM time_partitions(of_table) WHERE since = starting;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF NOT t.hypertable THEN  -- open rows are in a partition of their own
    EXECUTE format('DROP TABLE %I', p.partition);
    RETURN true;
  END IF;
  IF t.open_column IS NOT NULL THEN
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I = ANY ($1) AND %I >= $2 AND %3$I < $3)',
                   of_table, t.open_column, t.time_column) INTO open USING t.open_values, p.since, p.until;
    IF open THEN
      RETURN false;
    END IF;
  END IF;
  PERFORM drop_chunks(of_table::regclass, older_than => p.until, newer_than => p.since);
  RETURN true;
END $$;

-- Where partitions would begin for rows that fit into none, a hundred of them at most.
CREATE FUNCTION missing_partitions(of_table text) RETURNS SETOF timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
  t time_tables;
BEGIN
  SELECT * INTO STRICT t FROM time_tables WHERE table_name = of_table;
  IF NOT t.hypertable THEN
    RETURN QUERY EXECUTE format('SELECT DISTINCT partition_start(%I, $1) FROM %I LIMIT 100', t.time_column,
                                t.parent || '_rest') USING t.partition_days;
  END IF;
END $$;

-- Lets TimescaleDB expire and compress a table's chunks, null: never; true: it does expire them. It does neither for
-- what is no hypertable or by its Apache licence, and never expires a table that has open rows.
CREATE FUNCTION set_time_policies(of_table text, retention interval, compress_after interval)
  RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  t time_tables;
  expires boolean;
BEGIN
  SELECT * INTO STRICT t FROM time_tables WHERE table_name = of_table;
  IF NOT t.hypertable OR current_setting('timescaledb.license', true) IS DISTINCT FROM 'timescale' THEN
    RETURN false;
  END IF;
  expires := retention IS NOT NULL AND t.open_column IS NULL;
  IF NOT expires OR retention IS DISTINCT FROM (SELECT (config ->> 'drop_after')::interval FROM timescaledb_information.jobs
       WHERE hypertable_name = of_table AND proc_name = 'policy_retention') THEN
    PERFORM remove_retention_policy(of_table::regclass, if_exists => true);
  END IF;
  IF expires THEN
    PERFORM add_retention_policy(of_table::regclass, drop_after => retention, if_not_exists => true);
  END IF;
  IF t.segment_by IS NULL THEN
    RETURN expires;
  END IF;
  IF NOT (SELECT compression_enabled FROM timescaledb_information.hypertables WHERE hypertable_name = of_table) THEN
    EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L,
                    timescaledb.compress_orderby = %L)', of_table, t.segment_by, quote_ident(t.time_column) || ' DESC');
  END IF;
  IF compress_after IS DISTINCT FROM (SELECT (config ->> 'compress_after')::interval FROM timescaledb_information.jobs
       WHERE hypertable_name = of_table AND proc_name = 'policy_compression') THEN
    PERFORM remove_compression_policy(of_table::regclass, if_exists => true);
  END IF;
  IF compress_after IS NOT NULL THEN
    PERFORM add_compression_policy(of_table::regclass, compress_after => compress_after, if_not_exists => true);
  END IF;
  RETURN expires;
END $$;

-- Gives a table its home in time, with all it holds. Its unique keys must hold the time column, it has no foreign keys,
-- and no view reads it. With `open_column`, rows that are open stay apart, small and hot, until an update closes them.
CREATE FUNCTION partition_by_time(of_table text, time_column text, partition_days integer, segment_by text DEFAULT NULL,
                                  open_column text DEFAULT NULL, open_values text[] DEFAULT NULL)
  RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  is_hypertable boolean := EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb');
  parent text := CASE WHEN is_hypertable OR open_column IS NULL THEN of_table ELSE of_table || '_history' END;
  old text := of_table || '_before';
  at timestamptz;
  identity text;
BEGIN
  INSERT INTO time_tables
    VALUES (of_table, time_column, partition_days, is_hypertable, parent, open_column, open_values, segment_by);
  IF is_hypertable THEN
    PERFORM create_hypertable(of_table::regclass, by_range(time_column::name, make_interval(days => partition_days)),
                              migrate_data => true, create_default_indexes => false);
    RETURN;
  END IF;
  EXECUTE format('ALTER TABLE %I RENAME TO %I', of_table, old);
  IF open_column IS NULL THEN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY RANGE (%I)', of_table, old, time_column);
  ELSE
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY LIST (%I)', of_table, old, open_column);
    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES IN (%s)', of_table || '_open', of_table,
                   (SELECT string_agg(quote_literal(v), ', ') FROM unnest(open_values) v));
    EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT PARTITION BY RANGE (%I)', parent, of_table, time_column);
  END IF;
  EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', parent || '_rest', parent);
  FOR at IN EXECUTE format('SELECT DISTINCT partition_start(%I, $1) FROM %I UNION SELECT now()', time_column, old)
            USING partition_days LOOP
    PERFORM ensure_partition(of_table, at);
  END LOOP;
  EXECUTE format('INSERT INTO %I OVERRIDING SYSTEM VALUE TABLE %I', of_table, old);
  FOR identity IN SELECT attname FROM pg_attribute WHERE attrelid = of_table::regclass AND attidentity <> '' LOOP
    EXECUTE format('SELECT setval(pg_get_serial_sequence(%L, %L), greatest(max(%I), 1), max(%3$I) IS NOT NULL) FROM %I',
                   quote_ident(of_table), identity, identity, of_table);
  END LOOP;
  EXECUTE format('DROP TABLE %I', old);
END $$;

-- 2. What the closed loop has, in time.

-- Every update's id that can still come again, so that it counts once: a key of local_models would need its time.
CREATE TABLE update_ids (
  update_id  text PRIMARY KEY,
  cohort     text NOT NULL,
  refused    boolean NOT NULL,                        -- when it came first
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX update_ids_time ON update_ids USING brin (created_at);
INSERT INTO update_ids (update_id, cohort, refused, created_at)
  SELECT update_id, cohort, status = 'refused', created_at FROM local_models ORDER BY id;

-- Thousands of rows a second come in: few indexes, and no time spent on compressing what is noise already.
ALTER TABLE local_models
  DROP CONSTRAINT local_models_pkey,                  -- ids come from one sequence
  DROP CONSTRAINT local_models_update_id_key,
  DROP CONSTRAINT local_models_round_id_fkey,
  ALTER COLUMN delta SET STORAGE EXTERNAL;
DROP INDEX local_models_open;
CREATE INDEX local_models_round ON local_models (round_id) WHERE round_id IS NOT NULL;
SELECT partition_by_time('local_models', 'created_at', 7, segment_by => 'cohort',
                         open_column => 'status', open_values => ARRAY['accepted', 'clipped']);
DO $$
BEGIN
  IF (SELECT hypertable FROM time_tables WHERE table_name = 'local_models') THEN
    CREATE INDEX local_models_waiting ON local_models (cohort, id) WHERE status IN ('accepted', 'clipped');
  ELSE
    CREATE INDEX local_models_waiting ON local_models_open (cohort, id);
    ALTER TABLE local_models_open SET (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05);
  END IF;
END $$;

-- (cohort, global_version) is unique by the unique key of rounds, and by the cohort's row where a plan begins.
ALTER TABLE federated_models
  DROP CONSTRAINT federated_models_pkey,
  DROP CONSTRAINT federated_models_cohort_fkey,
  DROP CONSTRAINT federated_models_plan_id_fkey,
  DROP CONSTRAINT federated_models_aggregation_round_fkey,
  ADD PRIMARY KEY (cohort, global_version, created_at),
  ALTER COLUMN weights SET STORAGE EXTERNAL;
SELECT partition_by_time('federated_models', 'created_at', 91);

-- Updates that came before are staler than their cohort allows, whenever they come again; null: all may still count.
CREATE VIEW countable_updates AS
WITH cohort_of AS MATERIALIZED (
  SELECT c.cohort, (SELECT m.created_at FROM federated_models m
                    WHERE m.cohort = c.cohort AND m.plan_id = c.plan_id
                      AND m.status IN ('champion', 'pinned', 'rolled_back')
                    ORDER BY m.global_version DESC
                    OFFSET (c.federation -> 'round' ->> 'maxStaleness')::integer LIMIT 1) AS since
  FROM cohorts c
)
SELECT * FROM cohort_of;

-- The summary is the round's own: it outlives the rows.
DROP VIEW model_evaluation_summaries;
ALTER TABLE model_evaluations DROP CONSTRAINT model_evaluations_pkey;  -- a version is evaluated once, in its round
CREATE INDEX model_evaluations_version ON model_evaluations (cohort, global_version);
SELECT partition_by_time('model_evaluations', 'evaluation_timestamp', 7, segment_by => 'cohort, stream');
CREATE VIEW model_evaluation_summaries AS
SELECT cohort, global_version, (held_out ->> 'n')::bigint AS n,
       (held_out ->> 'tp')::bigint AS true_positives, (held_out ->> 'fp')::bigint AS false_positives,
       (held_out ->> 'fn')::bigint AS false_negatives, (held_out ->> 'tn')::bigint AS true_negatives,
       (held_out ->> 'precision')::float8 AS precision, (held_out ->> 'recall')::float8 AS recall,
       (held_out ->> 'f1')::float8 AS f1, (held_out ->> 'prAuc')::float8 AS pr_auc,
       (held_out -> 'f1Interval' ->> 0)::float8 AS f1_low, (held_out -> 'f1Interval' ->> 1)::float8 AS f1_high,
       baselines
FROM rounds WHERE held_out IS NOT NULL;

ALTER TABLE model_feedback DROP CONSTRAINT model_feedback_pkey;
DROP INDEX model_feedback_once;
CREATE UNIQUE INDEX model_feedback_once ON model_feedback (cohort, global_version, gateway_id, created_at)
  WHERE learning_rate_factor IS NOT NULL;             -- all feedback of a version has its round's time
SELECT partition_by_time('model_feedback', 'created_at', 28);

CREATE INDEX episodes_updated ON episodes USING brin (updated_at);

-- 3. What agents report, summarised.

CREATE TABLE stream_analysis_results (
  cohort             text NOT NULL,
  gateway_id         text NOT NULL,
  device_id          text NOT NULL,
  metric_name        text NOT NULL,                   -- the channel
  window_start       timestamptz NOT NULL,
  window_end         timestamptz NOT NULL,
  raw_value          double precision,                -- the last; these are null where a window had no reading
  moving_avg_30s     double precision,
  moving_avg_5m      double precision,
  stddev             double precision,
  z_score            double precision,
  is_anomaly         boolean,
  anomaly_confidence double precision,
  sample_count       integer NOT NULL,
  created_at         timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (gateway_id, device_id, metric_name, window_start)
);
CREATE INDEX stream_analysis_results_time ON stream_analysis_results USING brin (window_start);
SELECT partition_by_time('stream_analysis_results', 'window_start', 1, segment_by => 'gateway_id, device_id, metric_name');

CREATE TABLE batch_analysis_results (
  cohort             text NOT NULL,
  gateway_id         text NOT NULL,
  device_id          text NOT NULL,
  metric_name        text NOT NULL,
  analysis_date      date NOT NULL,                   -- the day in UTC
  avg                double precision,
  min                double precision,
  max                double precision,
  stddev             double precision,
  sample_count       bigint NOT NULL,
  anomaly_count      bigint NOT NULL,
  analysis_timestamp timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (analysis_date, gateway_id, device_id, metric_name)  -- a day that is analysed again is replaced
);

CREATE TABLE dashboard_metrics (
  metric_name  text NOT NULL,
  metric_value double precision NOT NULL,
  metric_unit  text NOT NULL,
  cohort       text,                                  -- null: of the whole fleet
  recorded_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dashboard_metrics_name ON dashboard_metrics (metric_name, recorded_at DESC);
CREATE INDEX dashboard_metrics_time ON dashboard_metrics USING brin (recorded_at);
SELECT partition_by_time('dashboard_metrics', 'recorded_at', 7, segment_by => 'metric_name');

-- 4. Detectors of single channels, and what they flagged.

CREATE TABLE ml_models (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  device_id     text NOT NULL,
  metric_name   text NOT NULL,
  model_type    text NOT NULL CHECK (model_type IN ('isolation_forest')),
  status        text NOT NULL CHECK (status IN ('active', 'retired')),
  settings      jsonb NOT NULL,                       -- trees, subsample, contamination, seed
  model         bytea NOT NULL,                       -- JSON or ONNX, by model_type
  model_sha256  text NOT NULL,
  threshold     double precision NOT NULL,
  sample_count  integer NOT NULL,
  trained_at    timestamptz NOT NULL DEFAULT now(),
  retired_at    timestamptz,
  last_used_at  timestamptz,
  created_at    timestamptz NOT NULL DEFAULT now(),
  CHECK ((status = 'retired') = (retired_at IS NOT NULL))
);
CREATE UNIQUE INDEX ml_models_active ON ml_models (device_id, metric_name) WHERE status = 'active';

CREATE TABLE anomaly_detections (
  id            bigint GENERATED ALWAYS AS IDENTITY,
  model_id      bigint NOT NULL,                      -- of ml_models, which may be deleted since
  device_id     text NOT NULL,
  metric_name   text NOT NULL,
  value         double precision NOT NULL,
  anomaly_score double precision NOT NULL,            -- negative: an anomaly
  is_anomaly    boolean NOT NULL,
  confidence    double precision NOT NULL,
  "timestamp"   timestamptz NOT NULL DEFAULT now(),
  metadata      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX anomaly_detections_device ON anomaly_detections (device_id, "timestamp" DESC);
CREATE INDEX anomaly_detections_time ON anomaly_detections USING brin ("timestamp");
SELECT partition_by_time('anomaly_detections', 'timestamp', 7, segment_by => 'device_id, metric_name');

-- What people and sites say of a device in a stretch of time; `alert_id` when it was said of an episode.
CREATE TABLE labels (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  gateway_id text NOT NULL,
  device_id  text NOT NULL,
  alert_id   text,
  from_at    timestamptz NOT NULL,
  to_at      timestamptz NOT NULL CHECK (to_at >= from_at),
  label      smallint NOT NULL CHECK (label IN (0, 1)),
  author     text NOT NULL,
  note       text CHECK (octet_length(note) <= 4096),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX labels_device ON labels (gateway_id, device_id, from_at);

-- 5. Who hears of alerts.

CREATE TABLE rules (
  rule_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text NOT NULL UNIQUE,
  enabled    boolean NOT NULL DEFAULT true,
  matches    jsonb NOT NULL,                          -- which episodes: cohort, device, severity, …
  target     jsonb NOT NULL,                          -- where to, and how
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE deliveries (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rule_id         bigint NOT NULL REFERENCES rules ON DELETE CASCADE,
  alert_id        text NOT NULL,
  transition      text NOT NULL CHECK (transition IN ('raised', 'updated', 'cleared', 'acked')),
  status          text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'delivered', 'failed')),
  attempts        integer NOT NULL DEFAULT 0,
  last_error      text CHECK (octet_length(last_error) <= 4096),
  next_attempt_at timestamptz NOT NULL DEFAULT now(),
  delivered_at    timestamptz,
  created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX deliveries_waiting ON deliveries (next_attempt_at) WHERE status = 'waiting';
CREATE INDEX deliveries_time ON deliveries USING brin (created_at);

-- 6. Who may do what, and who did. Of a secret only its SHA-256 is here.

CREATE TABLE join_tokens (
  token_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  token_sha256 bytea NOT NULL UNIQUE,
  note         text NOT NULL DEFAULT '',
  max_uses     integer NOT NULL DEFAULT 1 CHECK (max_uses > 0),
  uses         integer NOT NULL DEFAULT 0 CHECK (uses <= max_uses),
  created_by   text NOT NULL,
  expires_at   timestamptz NOT NULL,
  revoked_at   timestamptz,
  created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE certificates (
  serial         text PRIMARY KEY,                    -- hexadecimal
  gateway_id     text NOT NULL,
  sha256         text NOT NULL UNIQUE,                -- of the DER form, hexadecimal
  pem            text NOT NULL,
  token_id       bigint REFERENCES join_tokens ON DELETE SET NULL,  -- null: a renewal
  not_before     timestamptz NOT NULL,
  not_after      timestamptz NOT NULL,
  revoked_at     timestamptz,
  revoked_reason text,
  created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX certificates_gateway ON certificates (gateway_id, not_after DESC);

CREATE TABLE users (
  user_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name          text NOT NULL UNIQUE,
  role          text NOT NULL CHECK (role IN ('admin', 'operator', 'developer', 'viewer')),
  password_hash text,                                 -- null: has not set one yet
  disabled_at   timestamptz,
  last_login_at timestamptz,
  created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_tokens (
  token_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id      bigint NOT NULL REFERENCES users ON DELETE CASCADE,
  name         text NOT NULL,
  token_sha256 bytea NOT NULL UNIQUE,
  scopes       text[] NOT NULL,
  expires_at   timestamptz,                           -- null: never
  revoked_at   timestamptz,
  last_used_at timestamptz,
  created_at   timestamptz NOT NULL DEFAULT now(),
  UNIQUE (user_id, name)
);

CREATE TABLE audit_log (
  id      bigint GENERATED ALWAYS AS IDENTITY,
  at      timestamptz NOT NULL DEFAULT now(),
  actor   text NOT NULL,                              -- a user, a gateway, or the coordinator itself
  action  text NOT NULL,
  subject text NOT NULL,
  detail  jsonb NOT NULL DEFAULT '{}' CHECK (octet_length(detail::text) <= 16384)
);
CREATE INDEX audit_log_subject ON audit_log (subject, at DESC);
CREATE INDEX audit_log_time ON audit_log USING brin (at);
SELECT partition_by_time('audit_log', 'at', 28, segment_by => 'action');

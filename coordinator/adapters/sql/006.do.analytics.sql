-- Windows as the agents tell them, and what SQL makes of them: averages over five minutes and statistics of a day.

-- 1. Windows.

ALTER TABLE stream_analysis_results
  ADD COLUMN sum        double precision,             -- of its readings
  ADD COLUMN min        double precision,
  ADD COLUMN max        double precision,
  ADD COLUMN late_count integer NOT NULL DEFAULT 0;   -- rows of the device that came too late for an earlier window

-- A device is asked for more often than a gateway. The key's name depends on the table's home.
DO $$
BEGIN
  EXECUTE format('ALTER TABLE stream_analysis_results DROP CONSTRAINT %I', (
    SELECT conname FROM pg_constraint WHERE conrelid = 'stream_analysis_results'::regclass AND contype = 'p'));
END $$;
ALTER TABLE stream_analysis_results ADD PRIMARY KEY (device_id, metric_name, window_start, gateway_id);

-- Days that have windows.
CREATE TABLE analytics_days (
  day         date PRIMARY KEY,                       -- in UTC
  changed     boolean NOT NULL DEFAULT true,          -- windows came since its last analysis began
  analysed_at timestamptz                             -- null: never, or the last analysis did not end
);

-- Keeps the windows of one gateway; of two tellings of a window the one with more samples stands, so that telling again
-- changes nothing. The averages over five minutes are right afterwards, also of windows that follow a late one. Tellings
-- of one gateway wait for each other. `told`: [{cohort, device_id, metric_name, window_start, …}].
CREATE FUNCTION record_windows(of_gateway text, told json) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  days date[] := ARRAY(SELECT DISTINCT (window_start AT TIME ZONE 'UTC')::date
                       FROM json_to_recordset(told) AS t (window_start timestamptz) ORDER BY 1);
BEGIN
  PERFORM pg_advisory_xact_lock(4021991, hashtext(of_gateway));
  -- With the exclusive lock that an analysis takes as it begins: a window is in it, or marks its day after it.
  PERFORM pg_advisory_xact_lock_shared(4021992, d - DATE '2001-01-01') FROM unnest(days) d;

  WITH told_windows AS MATERIALIZED (
    SELECT * FROM json_to_recordset(told) AS t (
      cohort text, device_id text, metric_name text, window_start timestamptz, window_end timestamptz, raw_value float8,
      sum float8, min float8, max float8, stddev float8, z_score float8, is_anomaly boolean, anomaly_confidence float8,
      sample_count integer, late_count integer)
  ), reach AS (
    SELECT device_id, metric_name, min(window_start) AS first, max(window_start) AS last
    FROM told_windows GROUP BY device_id, metric_name
  ), all_windows AS (
    SELECT true AS is_told, *, NULL::float8 AS average FROM told_windows
    UNION ALL
    SELECT false, s.cohort, device_id, metric_name, s.window_start, s.window_end, s.raw_value, s.sum, s.min, s.max,
           s.stddev, s.z_score, s.is_anomaly, s.anomaly_confidence, s.sample_count, s.late_count, s.moving_avg_5m
    FROM reach JOIN stream_analysis_results s USING (device_id, metric_name)
    WHERE s.gateway_id = of_gateway
      AND s.window_start > reach.first - interval '5 minutes' AND s.window_start < reach.last + interval '5 minutes'
  ), standing AS (
    SELECT DISTINCT ON (device_id, metric_name, window_start) * FROM all_windows
    ORDER BY device_id, metric_name, window_start, sample_count DESC, is_told
  ), averaged AS (  -- over the windows that end in the five minutes before this one's end
    SELECT *, sum(sum) OVER five_minutes / sum(sample_count) OVER five_minutes AS moving_avg_5m
    FROM standing
    WINDOW five_minutes AS (PARTITION BY device_id, metric_name ORDER BY window_end
                            RANGE BETWEEN interval '4 minutes 30 seconds' PRECEDING AND CURRENT ROW)
  )
  INSERT INTO stream_analysis_results (
    cohort, gateway_id, device_id, metric_name, window_start, window_end, raw_value, moving_avg_30s, moving_avg_5m,
    stddev, z_score, is_anomaly, anomaly_confidence, sample_count, sum, min, max, late_count)
  SELECT a.cohort, of_gateway, device_id, metric_name, a.window_start, a.window_end, a.raw_value,
         CASE WHEN a.window_end - a.window_start = interval '30 seconds' THEN a.sum / a.sample_count END,
         a.moving_avg_5m, a.stddev, a.z_score, a.is_anomaly, a.anomaly_confidence, a.sample_count, a.sum, a.min, a.max,
         a.late_count
  FROM averaged a JOIN reach USING (device_id, metric_name)
  WHERE a.is_told OR (a.window_start >= reach.first AND a.moving_avg_5m IS DISTINCT FROM a.average)
  ON CONFLICT (device_id, metric_name, window_start, gateway_id) DO UPDATE SET
    cohort = excluded.cohort, window_end = excluded.window_end, raw_value = excluded.raw_value,
    moving_avg_30s = excluded.moving_avg_30s, moving_avg_5m = excluded.moving_avg_5m, stddev = excluded.stddev,
    z_score = excluded.z_score, is_anomaly = excluded.is_anomaly, anomaly_confidence = excluded.anomaly_confidence,
    sample_count = excluded.sample_count, sum = excluded.sum, min = excluded.min, max = excluded.max,
    late_count = excluded.late_count;

  IF FOUND THEN  -- most often the day is marked: asking first keeps gateways from waiting for its row
    INSERT INTO analytics_days (day)
      SELECT d FROM unnest(days) d WHERE NOT EXISTS (SELECT FROM analytics_days WHERE day = d AND changed)
      ON CONFLICT (day) DO UPDATE SET changed = true;
  END IF;
END $$;

-- Windows of five minutes, of agents that tell windows of 30 seconds and of those that tell longer ones. TimescaleDB
-- keeps them as they come, where its licence has that, and for longer than the windows they are of.
DO $$
DECLARE
  columns text := $q$
    cohort, gateway_id, device_id, metric_name, sum(sum) / sum(sample_count) AS avg, min(min) AS min, max(max) AS max,
    sum(sample_count) AS sample_count, bool_or(is_anomaly) AS is_anomaly, max(anomaly_confidence) AS anomaly_confidence,
    sum(late_count) AS late_count FROM stream_analysis_results
    GROUP BY 1, cohort, gateway_id, device_id, metric_name $q$;
BEGIN
  IF (SELECT hypertable FROM time_tables WHERE table_name = 'stream_analysis_results')
     AND current_setting('timescaledb.license', true) = 'timescale' THEN
    EXECUTE 'CREATE MATERIALIZED VIEW stream_analysis_5m WITH (timescaledb.continuous, timescaledb.materialized_only = false)
             AS SELECT time_bucket(interval ''5 minutes'', window_start) AS window_start,' || columns || 'WITH NO DATA';
    PERFORM add_continuous_aggregate_policy('stream_analysis_5m', start_offset => interval '13 days',
                                            end_offset => interval '10 minutes', schedule_interval => interval '5 minutes');
    PERFORM add_retention_policy('stream_analysis_5m', interval '90 days');
  ELSE
    EXECUTE 'CREATE VIEW stream_analysis_5m
             AS SELECT date_bin(interval ''5 minutes'', window_start, timestamptz ''epoch'') AS window_start,' || columns;
  END IF;
END $$;

-- 2. Days.

ALTER TABLE batch_analysis_results ADD COLUMN late_count bigint NOT NULL DEFAULT 0;
CREATE INDEX batch_analysis_results_device ON batch_analysis_results (device_id, metric_name, analysis_date);

-- First half of an analysis, in a transaction of its own: what comes from here on marks the day anew.
CREATE FUNCTION begin_day_analysis(of_day date) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(4021992, of_day - DATE '2001-01-01');
  UPDATE analytics_days SET changed = false, analysed_at = NULL WHERE day = of_day;
END $$;

-- Second half: all of the day's statistics in place of those there are; how many there are. Windows never lose samples:
-- a day that has fewer than it was analysed from has lost windows to retention, and keeps what it has: 0. The spread is
-- taken about the day's mean, in a second pass over the windows: sums of squares of a large level would lose it.
CREATE FUNCTION analyse_day(of_day date) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  begins timestamptz := of_day::timestamp AT TIME ZONE 'UTC';
  ends timestamptz := (of_day + 1)::timestamp AT TIME ZONE 'UTC';
  series bigint;
BEGIN
  UPDATE analytics_days SET analysed_at = now() WHERE day = of_day;
  IF (SELECT coalesce(sum(sample_count), 0) FROM stream_analysis_results
      WHERE window_start >= begins AND window_start < ends)
     < (SELECT coalesce(sum(sample_count), 0) FROM batch_analysis_results WHERE analysis_date = of_day) THEN
    RETURN 0;
  END IF;
  DELETE FROM batch_analysis_results WHERE analysis_date = of_day;
  WITH told AS NOT MATERIALIZED (
    SELECT * FROM stream_analysis_results
    WHERE window_start >= begins AND window_start < ends AND sample_count > 0
  ), centres AS (
    SELECT gateway_id, device_id, metric_name, sum(sum) / sum(sample_count) AS avg
    FROM told GROUP BY gateway_id, device_id, metric_name
  ), parts AS (  -- a device that changed its cohort has two
    SELECT gateway_id, device_id, metric_name, told.cohort, c.avg, max(told.window_start) AS latest, min(told.min) AS min,
           max(told.max) AS max, sum(told.sample_count) AS samples, count(*) FILTER (WHERE told.is_anomaly) AS anomalies,
           sum(told.late_count) AS late,
           sum(told.sample_count * (power(told.stddev, 2) + power(told.sum / told.sample_count - c.avg, 2))) AS squares
    FROM told JOIN centres c USING (gateway_id, device_id, metric_name)
    GROUP BY gateway_id, device_id, metric_name, told.cohort, c.avg
  )
  INSERT INTO batch_analysis_results (cohort, gateway_id, device_id, metric_name, analysis_date, avg, min, max, stddev,
                                      sample_count, anomaly_count, late_count)
  SELECT (array_agg(cohort ORDER BY latest DESC))[1], gateway_id, device_id, metric_name, of_day, avg, min(min), max(max),
         sqrt(sum(squares) / sum(samples)), sum(samples), sum(anomalies), sum(late)
  FROM parts GROUP BY gateway_id, device_id, metric_name, avg;
  GET DIAGNOSTICS series = ROW_COUNT;
  RETURN series;
END $$;

-- Held-out streams live in the database, so that whoever leads has them; what was measured on which.

ALTER TABLE held_out_streams
  ADD COLUMN state      text NOT NULL DEFAULT 'retired' CHECK (state IN ('draft', 'frozen', 'retired')),
  ADD COLUMN source     text NOT NULL DEFAULT 'folder' CHECK (source IN ('folder', 'upload')),
  ADD COLUMN content    bytea,                        -- gzip of the CSV as it was given; null once it is retired
  ADD COLUMN bytes      bigint NOT NULL DEFAULT 0,    -- of the CSV as it was given
  ADD COLUMN frozen_at  timestamptz,
  ADD COLUMN retired_at timestamptz,
  ADD COLUMN retired_by text;                         -- null: another revision took its place
ALTER TABLE held_out_streams
  ALTER COLUMN state DROP DEFAULT,
  ALTER COLUMN source DROP DEFAULT,
  ALTER COLUMN bytes DROP DEFAULT,
  ALTER COLUMN content SET STORAGE EXTERNAL,
  ADD CONSTRAINT held_out_streams_content CHECK ((content IS NULL) = (state = 'retired'));
CREATE UNIQUE INDEX held_out_streams_current ON held_out_streams (cohort, stream) WHERE state <> 'retired';

-- The frozen streams that the smoothed quality was measured on; null: not known.
ALTER TABLE cohort_plans ADD COLUMN smoothed_on text;

-- One row a stream that a round measured candidate and champion on.
CREATE TABLE evaluation_scores (
  cohort          text NOT NULL,
  global_version  bigint NOT NULL,                    -- the candidate
  stream          text NOT NULL,
  sha256          text NOT NULL,
  scores          jsonb NOT NULL,
  champion_scores jsonb,
  baselines       jsonb,                              -- {alwaysNormal, alwaysAlarm, zScore}
  created_at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (cohort, global_version, stream)
);
CREATE INDEX evaluation_scores_time ON evaluation_scores USING brin (created_at);

-- A cohort learns by one plan and may be leaving another: what belongs to a plan of a cohort has a row of its own.

CREATE TABLE cohort_plans (
  cohort               text NOT NULL REFERENCES cohorts,
  plan_id              text NOT NULL REFERENCES plans,
  state                text NOT NULL CHECK (state IN ('active', 'leaving', 'left')),
  federation           jsonb NOT NULL,
  champion_version     bigint NOT NULL,
  learning_rate_factor double precision NOT NULL DEFAULT 1,
  smoothed_quality     double precision,              -- null: nothing was evaluated yet
  server_m             bytea,                         -- moments of the server optimiser, float32; null before its first step
  server_v             bytea,
  server_steps         integer NOT NULL DEFAULT 0,
  pinned_by            text,                          -- the champion stays while it is pinned; null: it is not
  pin_reason           text,
  pinned_at            timestamptz,
  activated_at         timestamptz NOT NULL DEFAULT now(),
  leave_by             timestamptz,                   -- of one that is being left: then it is, whoever still holds it
  PRIMARY KEY (cohort, plan_id)
);
CREATE UNIQUE INDEX cohort_plans_active ON cohort_plans (cohort) WHERE state = 'active';
CREATE UNIQUE INDEX cohort_plans_leaving ON cohort_plans (cohort) WHERE state = 'leaving';

INSERT INTO cohort_plans (cohort, plan_id, state, federation, champion_version, learning_rate_factor, smoothed_quality,
                          server_m, server_v, server_steps, pinned_by, pin_reason, pinned_at, activated_at)
SELECT cohort, plan_id, 'active', federation, champion_version, learning_rate_factor, smoothed_quality,
       server_m, server_v, server_steps, pinned_by, pin_reason, pinned_at, created_at FROM cohorts;

-- Updates that came before are staler than their cohort allows under any plan that it learns by or leaves; null: all may
-- still count.
CREATE OR REPLACE VIEW countable_updates AS
WITH plan_of AS MATERIALIZED (
  SELECT c.cohort, (SELECT m.created_at FROM federated_models m
                    WHERE m.cohort = c.cohort AND m.plan_id = c.plan_id
                      AND m.status IN ('champion', 'pinned', 'rolled_back')
                    ORDER BY m.global_version DESC
                    OFFSET (c.federation -> 'round' ->> 'maxStaleness')::integer LIMIT 1) AS since
  FROM cohort_plans c WHERE c.state <> 'left'
)
SELECT cohort, CASE WHEN bool_and(since IS NOT NULL) THEN min(since) END AS since FROM plan_of GROUP BY cohort;

-- The row of the cohort is what all of its plans share: the last version, and the revision that fences and tells changes.
ALTER TABLE cohorts
  DROP COLUMN plan_id, DROP COLUMN federation, DROP COLUMN champion_version, DROP COLUMN learning_rate_factor,
  DROP COLUMN smoothed_quality, DROP COLUMN server_m, DROP COLUMN server_v, DROP COLUMN server_steps,
  DROP COLUMN pinned_by, DROP COLUMN pin_reason, DROP COLUMN pinned_at;

-- Each of the two plans can have a synchronous round open.
ALTER TABLE invitations ADD COLUMN plan_id text REFERENCES plans;
UPDATE invitations i SET plan_id = p.plan_id FROM cohort_plans p WHERE p.cohort = i.cohort;
ALTER TABLE invitations DROP CONSTRAINT invitations_pkey, ADD PRIMARY KEY (cohort, plan_id);

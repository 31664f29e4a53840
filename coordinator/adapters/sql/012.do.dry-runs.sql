-- Dry runs of plans on the held-out streams of a cohort: activation asks for a passed one.

CREATE TABLE plan_dry_runs (
  dry_run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  plan_id    text NOT NULL REFERENCES plans,
  cohort     text NOT NULL,                           -- may be one that the plan would begin
  set        text,                                    -- the frozen streams; null: there were none
  passed     boolean NOT NULL,
  report     jsonb NOT NULL,
  actor      text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX plan_dry_runs_of ON plan_dry_runs (plan_id, cohort, dry_run_id DESC);

-- Cohorts that were defined before rounds had an interval get the one that a plan file has by default.
UPDATE cohort_plans SET federation = jsonb_set(federation, '{round,intervalMs}', '10000')
WHERE federation -> 'round' ->> 'mode' = 'buffered' AND NOT federation -> 'round' ? 'intervalMs';

CREATE INDEX rounds_last ON rounds (cohort, closed_at DESC);

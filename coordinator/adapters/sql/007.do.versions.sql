-- What operators do with versions, what every version was made of, and where the weights of older ones go.

-- The champion stays while it is pinned; null: it is not.
ALTER TABLE cohorts
  ADD COLUMN pinned_by  text,
  ADD COLUMN pin_reason text,
  ADD COLUMN pinned_at  timestamptz;

ALTER TABLE federated_models
  ALTER COLUMN weights DROP NOT NULL,                 -- null: in model_archive, or dropped from there
  ADD COLUMN origin_version bigint,                   -- whose weights these are; null: a round's, or the plan's initial ones
  ADD COLUMN actor          text,                     -- of a version that an operator made, as is the reason
  ADD COLUMN reason         text;
CREATE INDEX federated_models_at_hand ON federated_models (cohort, global_version) WHERE weights IS NOT NULL;

-- A candidate that the gate let pass while the champion was pinned stays one.
ALTER TABLE rounds
  DROP CONSTRAINT rounds_verdict_check,
  ADD CONSTRAINT rounds_verdict_check CHECK (verdict IN ('promoted', 'rejected', 'candidate')),
  -- [{updateId, gatewayId, baseVersion, samples, stalenessWeight, share, part}], kept whatever becomes of local_models;
  -- null: not known
  ADD COLUMN contributions jsonb;

-- Of rounds until now; how much staleness took, and what the rule did with a gateway, was not kept.
UPDATE rounds r SET contributions = u.contributions
FROM (
  SELECT round_id, jsonb_agg(jsonb_build_object(
           'updateId', update_id, 'gatewayId', gateway_id, 'baseVersion', global_version, 'samples', samples_processed,
           'stalenessWeight', NULL, 'share', weight, 'part', NULL) ORDER BY id) AS contributions
  FROM local_models WHERE round_id IS NOT NULL GROUP BY round_id
) u
WHERE u.round_id = r.round_id;

CREATE TABLE model_archive (
  cohort         text NOT NULL REFERENCES cohorts,
  global_version bigint NOT NULL,
  weights        bytea NOT NULL,                      -- zlib of the float32 vector
  sha256         text NOT NULL,                       -- of the vector
  archived_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (cohort, global_version)
);
ALTER TABLE model_archive ALTER COLUMN weights SET STORAGE EXTERNAL;
CREATE INDEX model_archive_age ON model_archive (archived_at);

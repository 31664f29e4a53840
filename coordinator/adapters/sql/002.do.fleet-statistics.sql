-- What gateways tell of their devices' scales and scores, and what the fleet knows of it with each model.

CREATE TABLE gateway_statistics (
  cohort         text NOT NULL REFERENCES cohorts,
  gateway_id     text NOT NULL REFERENCES gateways,
  plan_id        text NOT NULL REFERENCES plans,
  global_version bigint NOT NULL,                     -- the champion that gave the scores
  devices        integer NOT NULL,
  scales         double precision[],                  -- a channel each, in its unit; null: not told
  ratios         bytea,                               -- quantile sketch of score / own median; null: not told
  reported_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (cohort, gateway_id)                    -- its latest word
);

ALTER TABLE federated_models
  ADD COLUMN scales           double precision[],     -- pooled over the gateways when it was made; null: not known
  ADD COLUMN threshold_factor double precision;

-- Several coordinators over one database: who they are, who has which gateway, and how each hears that a cohort moved.

CREATE TABLE replicas (
  replica_id   text PRIMARY KEY,
  version      text NOT NULL,
  started_at   timestamptz NOT NULL DEFAULT now(),
  last_seen_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE gateways ADD COLUMN replica_id text;      -- that has its session; null: it has none

-- Rises with every change of the row: what was computed from an older one is refused.
ALTER TABLE cohorts ADD COLUMN revision bigint NOT NULL DEFAULT 1;

-- A replica keeps cohorts in memory: the row itself says that it moved, whoever changed it, once that is committed.
CREATE FUNCTION cohort_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    NEW.revision := OLD.revision + 1;
  END IF;
  PERFORM pg_notify('flead', json_build_object('kind', 'cohort', 'cohort', NEW.cohort)::text);
  RETURN NEW;
END $$;

CREATE TRIGGER cohort_moved BEFORE INSERT OR UPDATE ON cohorts FOR EACH ROW EXECUTE FUNCTION cohort_moved();

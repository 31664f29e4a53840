-- What is held of each kind, kept by the database itself: it is asked with every message, and to sum it up took longer
-- the more waited.
CREATE TABLE outbox_bytes (
  kind TEXT PRIMARY KEY,
  bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO outbox_bytes SELECT kind, sum(bytes) FROM outbox GROUP BY kind;
CREATE TRIGGER outbox_added AFTER INSERT ON outbox BEGIN
  INSERT INTO outbox_bytes VALUES (new.kind, new.bytes)
  ON CONFLICT (kind) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER outbox_removed AFTER DELETE ON outbox BEGIN
  UPDATE outbox_bytes SET bytes = bytes - old.bytes WHERE kind = old.kind;
END;

CREATE TABLE snoozes (
  device_id TEXT NOT NULL,
  kind      TEXT NOT NULL,
  until_at  INTEGER NOT NULL,                          -- epoch ms
  PRIMARY KEY (device_id, kind)
) STRICT;

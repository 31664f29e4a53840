CREATE TABLE open_windows (
  device_id TEXT PRIMARY KEY,
  body      BLOB NOT NULL                               -- node:v8 serialisation
) STRICT;

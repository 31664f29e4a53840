CREATE TABLE storm (
  one  INTEGER PRIMARY KEY CHECK (one = 1),
  body BLOB NOT NULL                                   -- the active one, node:v8 serialisation
) STRICT;

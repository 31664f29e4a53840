CREATE TABLE plan_key (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  key TEXT NOT NULL                                    -- that signed the last plan in use, base64url
) STRICT;

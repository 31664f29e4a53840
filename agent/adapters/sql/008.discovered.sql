CREATE TABLE discovered (
  topic TEXT PRIMARY KEY                               -- Home Assistant was told of it
) STRICT;

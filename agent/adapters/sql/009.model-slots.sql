-- Models beside the active one, node:v8 serialisations; null: there is none.
ALTER TABLE cohorts ADD COLUMN candidate BLOB;
ALTER TABLE cohorts ADD COLUMN previous BLOB;

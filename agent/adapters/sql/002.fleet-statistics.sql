ALTER TABLE cohorts ADD COLUMN fleet BLOB;             -- the champion's fleet statistics; null: nothing is known

-- Run by psql in one transaction. The lock makes a second run wait for the first, and then see its tables.
SELECT pg_advisory_xact_lock(hashtext('powerdns schema'));
SELECT to_regclass('domains') IS NULL AS missing \gset
\if :missing
  \ir schema.sql
  \echo The tables are made.
\else
  \echo The tables are there.
\endif

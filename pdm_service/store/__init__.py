"""PostgreSQL: all SQL, a module a table (migrations/schema.sql has them).

`rows` says which columns make a value, `database` keeps the deadline of a statement, `batching` asks together what is
asked at the same time, `follower` keeps the taken names in memory, `signals` wakes who waits, `migrate` brings the
schema up to date, `condition` is for `pdm doctor`.
"""

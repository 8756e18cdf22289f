"""PostgreSQL: all SQL, a module a table (migrations/schema.sql has them).

`rows` says which columns make a value, `database` has connections that read and others that write (`sessions` keeps the
deadline of a statement, `writing` what PostgreSQL has not answered), `writable` tells whether anything can be written,
`batching` asks together what is asked at the same time, `follower` keeps the taken names in memory, `signals` wakes who
waits, `migrate` brings the schema up to date, `condition` and `pooler` are for `pdm doctor`.
"""

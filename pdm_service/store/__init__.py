"""PostgreSQL: all SQL, a module a table."""

"""The database schema, step by step (alembic); `pdm migrate` and `pdm serve` run what is pending."""

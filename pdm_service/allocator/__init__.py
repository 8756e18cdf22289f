"""The verbs: what callers may do with names."""

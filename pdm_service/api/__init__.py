"""HTTP: parse, call the allocator, answer. Nothing is decided here."""

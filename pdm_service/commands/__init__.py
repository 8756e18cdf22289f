"""The commands of `pdm` that talk to a running service, and those that operators prepare or examine one with."""

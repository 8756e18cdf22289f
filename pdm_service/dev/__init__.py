"""Real PostgreSQL, PowerDNS and Unbound on loopback, for the tests, `pdm dev` and `pdm demo`."""

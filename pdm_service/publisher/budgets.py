"""How long each step of an attempt may take, in seconds. An attempt as a whole ends before its lease (`PDM_LEASE`)."""

SEEN = 2.0
"""Until the nameservers answer as wanted."""
PROBE = 1.0
"""How often PowerDNS is asked whether it is back."""
WRITER = 8.0
"""One turn as the writer of a parent zone."""
QUERY = 1.0
"""One question to a nameserver of the platform, by UDP or by TCP."""
RESOLVE = 2.0
"""To resolve a nameserver's name."""
ASK_AGAIN = 1.0
"""How often a request that waits for an outcome reads the row: a ring may get lost."""

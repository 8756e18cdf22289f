"""DNS is made equal to what the store wants.

`publisher` leases a due row, observes, plans, applies and records; `parent_zones` gathers changes of one parent zone;
`nameservers` asks the platform's own; `comparison` finds what differs from what was published, `leftovers` what no
allocation stands behind; `reach` knows whether changes get to PowerDNS; `outcome` is the one way to wait for what comes
of it.
"""

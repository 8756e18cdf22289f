"""Values and rules, pure: no I/O, and no clock but what is handed in.

`allocation` what a name handed out is; `event` what may happen to it; `standing` which names are taken; `zone` what
a name should look like in DNS; `records` RRsets and nameservers; `observation` what was collected about a delegation;
`tokens` secrets as digests.
"""

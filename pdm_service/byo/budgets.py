"""How long each step of a customer's commit, rollback or release may take, in seconds.

A commit takes its steps one after the other: ask the registrar (LOOK), survey the domain (SURVEY), publish (PUBLISH),
see what is served (PROBE), read the registrar's record (READ), write it (WRITE). They rarely take their most; together
they end by COMMIT, and what runs over is cut off at ANSWER, before the request's own deadline: the next call goes on.
"""

ANSWER = 13.5
COMMIT = 12.0
SURVEY = 6.0
"""Of a customer's commit, and of a pre-flight."""
MANUAL_SURVEY = 5.0
"""Of a commit whose customer changes the nameservers: an observation of the delegation follows it."""
PUBLISH = 3.0
SERVE = 5.0
"""How long a manual commit, or a forced release, waits for DNS."""
PROBE = 1.5
OBSERVE = 6.0
"""One observation of a delegation."""
LOOK = 4.0
"""One question to the registrar, or to the nameservers of before."""
READ = (1.0, 2.0)
"""The last check at the registrar before a change: at least, and at most."""
WRITE = (1.0, 4.0)
"""A change at the registrar: at least, even if COMMIT has passed, and at most."""
TRANSFER = 3.0
"""To try a transfer of the old zone."""
SCAN = 40.0
"""To ask an old zone's nameservers, in the background beyond the survey that began it."""
SCAN_QUERIES = 800
SCAN_TRY = 1.5
"""One question to one of them."""
REGISTRY = 3.0
"""To ask a registry when a domain was registered."""
OBSERVE_SHARE = 0.6
"""Of a survey: the old zone is asked in what is left."""

SET = 9.0
"""A change of nameservers alone, from its first question to its answer: existing callers give up after 10."""
DS_LOOK = 2.5
"""To find out whether the domain has a DS, of SET."""

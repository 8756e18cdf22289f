"""How long the verbs wait, in seconds. A statement has its own deadline (`store.database`), as has the request."""

OUTCOME = 8.0
"""How long a commit, a release or a PUT waits for DNS before it answers 202."""

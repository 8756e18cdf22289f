"""How long it may take to observe a delegation, in seconds. One round fits into a request (`deadline`)."""

ROUND = 10.0
"""All questions about one domain."""
TRY = (3.0, 1.5)
"""The tries of one question: longer than the slowest server that still serves its users."""
HEDGE = 0.4
"""After this long the next server of a zone is asked as well as the one that has not answered."""
ASK_AGAIN = 0.5
"""How often it is asked whether another replica has finished its round."""
LEASE_AGAIN = 0.2
"""How often a domain that another one observes is asked for."""

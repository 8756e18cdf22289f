"""pool-domain-manager: hands out DNS names to new platforms and makes them real in DNS.

Reading order: `model` (what an allocation is), `allocator` (the verbs), `store` (each
transition is one SQL statement), `publisher` (makes DNS equal to what is stored),
`zone` (what DNS should look like), `api` (HTTP); for customers' domains `byo`, `flip`,
`watch`, `preflight`.
"""

__version__ = "0.1.0"

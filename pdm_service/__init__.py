"""pool-domain-manager: hands out DNS names to new platforms and makes them real in DNS.

The house, from the roof down; a room knows the rooms below it, and siblings don't know each other (`make lint`):

    cli, commands           `pdm`, a command is loaded when it is called
    server | client | dev   sockets and drain | what a caller installs | servers for development
    app | connections       routes and lifespan | what one HTTP connection may cost
    api | chores            HTTP: parse, call a verb, answer | what is done in the background
    parts                   every part, built in reading order
    allocator               THE VERBS; `Allocator` is the one door to them
    byo | pools             a customer's domain moves here and back | the pool domains
    publisher | delegations DNS is made equal to the store | delegations are observed from the root down
    store | registrars | glue | settings   all SQL | others' registrars | addresses of nameservers | the environment
    powerdns | dns_client | callers | names   clients of servers | who calls | which names there can be
    model                   values and rules, pure
    errors | wire           what callers meet
    findings | telemetry | deadline | shares | dns_wire | tls   the ground

To read it: `model.allocation` (what a name handed out is), `model.event` (what may happen to it),
`migrations/schema.sql`, `allocator.allocator` (the verbs), `store.allocations` (each transition is one SQL
statement), `publisher.publisher` (makes DNS equal to what is stored), `model.zone` (what DNS should look like).
docs/architecture.md walks five requests through the rooms.
"""

__version__ = "0.1.0"

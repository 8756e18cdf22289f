"""The servers that the tests, `pdm dev` and `pdm demo` start, under one name to import from.

Each is real, listens on 127.0.0.1 alone, keeps all it has in the directory that its caller gives, and
dies with the process that started it. The parent of that directory must be traversable for `account()`
(a pytest `tmp_path` or a mode-0700 directory of root's is not).
"""

from pdm_service.dev.ports import free_port
from pdm_service.dev.postgres import Postgres, machine_programs, wheel_programs
from pdm_service.dev.powerdns import PowerDNS, load_schema
from pdm_service.dev.process import Account, Process, ServerFailed, account, wait_until
from pdm_service.dev.resolver import Resolver

__all__ = [
    "Account",
    "Postgres",
    "PowerDNS",
    "Process",
    "Resolver",
    "ServerFailed",
    "account",
    "free_port",
    "load_schema",
    "machine_programs",
    "wait_until",
    "wheel_programs",
]

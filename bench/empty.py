"""A bare Litestar application with one small handler, served by the service's own `serve`.

`python -m bench.empty`, as a process of its own: what the service's server can do at most.
"""

import os
from typing import Any

import uvloop
from litestar import Litestar, get

from pdm_service import server
from pdm_service.settings import read
from pdm_service.telemetry import logs


@get("/v1/check")
async def empty() -> dict[str, Any]:
    """Answer about what a check answers."""
    return {"available": True, "fqdn": "n000000000000.bench.test"}


@get("/readyz")
async def ready() -> None:
    """Answer at once."""


class _Empty:
    """Stands where the service's parts are built."""

    contexts = None
    """It speaks plain HTTP."""
    at_once = None
    """All goes through the framework."""

    def __init__(self, *_: object) -> None:
        pass

    def app(self) -> Litestar:
        """Return the application."""
        return Litestar([empty, ready])


if __name__ == "__main__":
    settings = read(os.environ)
    logs.configure(settings.log_level)
    setattr(server, "Service", _Empty)  # noqa: B010 - plain assignment is what a type checker forbids
    uvloop.run(server.serve(settings))

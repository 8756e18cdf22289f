"""The commands that are the service itself, and its stack for development."""

import asyncio
import os
import sys
from pathlib import Path
from typing import NoReturn

import click
import uvloop

from pdm_service import server
from pdm_service.settings import Settings, SettingsError, read
from pdm_service.store import migrate
from pdm_service.telemetry import logs

_DATABASE_WAIT_SECONDS = 60
_DATABASE_PAUSE_SECONDS = 1.0


@click.command()
def serve() -> None:
    """Run pending migrations under a lock, then serve."""
    settings = _settings()
    try:
        uvloop.run(_migrate_and_serve(settings))
    except KeyboardInterrupt:
        sys.exit(130)


@click.command("migrate")
def run_migrations() -> None:
    """Run pending migrations under a lock."""
    uvloop.run(_migrate(_settings()))


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory to keep the data in; by default one of yours for state.",
)
def dev(data: Path | None) -> None:
    """Run everything on this machine until Ctrl-C; the data is kept between starts."""
    # Only here and below: the image of the service does not carry what the development servers need.
    from pdm_service.dev import run  # noqa: PLC0415

    sys.exit(run.run(data))


@click.command("demo")
def run_demo() -> None:
    """Start everything, tell the story of one name step by step, and leave nothing behind."""
    from pdm_service.dev import demo  # noqa: PLC0415

    sys.exit(demo.run())


def _settings() -> Settings:
    try:
        settings = read(os.environ)
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    logs.configure(settings.log_level)
    return settings


async def _migrate_and_serve(settings: Settings) -> None:
    await _migrate(settings)
    await server.serve(settings)


async def _migrate(settings: Settings) -> None:
    """Migrate as soon as the database can be reached; give up after a while."""
    end = asyncio.get_running_loop().time() + _DATABASE_WAIT_SECONDS
    while True:
        try:
            before, after = await migrate.migrate(settings.database_url)
        except migrate.DatabaseAway as error:
            if asyncio.get_running_loop().time() > end:
                _fail(f"the database cannot be reached: {error}")
            logs.announce("waiting for the database", {"error": str(error)})
            await asyncio.sleep(_DATABASE_PAUSE_SECONDS)
        except migrate.DsnUnusable:
            _fail("PDM_DATABASE_URL: the driver cannot make sense of it", 2)
        except migrate.SessionsShared as error:
            _fail(str(error))
        except migrate.DatabaseRefuses as error:
            _fail(f"the database refuses: {error}")
        else:
            logs.announce("schema", {"before": before, "now": after})
            return


def _fail(message: str, code: int = 1) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)

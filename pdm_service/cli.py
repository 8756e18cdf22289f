"""The command `pdm`. Each command is loaded when it is called: a provisioner's machine has no server's libraries."""

import importlib

import click

from pdm_service import __version__

_COMMANDS = {
    "serve": "serve:serve",
    "migrate": "serve:run_migrations",
    "dev": "serve:dev",
    "demo": "serve:run_demo",
    "doctor": "doctor:doctor",
    "registrars": "registrars:registrars",
    "adopt": "lost:adopt",
    "discard": "lost:discard",
    "keys": "keys:keys",
    "provision": "provision:provision",
    "check": "ask:check",
    "reserve": "ask:reserve",
    "commit": "ask:commit",
    "release": "ask:release",
    "list": "ask:list_allocations",
    "show": "ask:show",
    "events": "ask:events",
    "delegation": "ask:delegation",
    "validate": "ask:validate",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, its module loaded now."""
        del ctx
        if (place := _COMMANDS.get(cmd_name)) is None:
            return None
        module, _, name = place.partition(":")
        try:
            found: click.Command = getattr(importlib.import_module(f"pdm_service.commands.{module}"), name)
        except ModuleNotFoundError as error:
            return _missing(cmd_name, str(error.name))
        return found


def _missing(command: str, library: str) -> click.Command:
    """Return a command that says what it needs."""

    @click.command(command, help=f"(needs {library}: install pool-domain-manager[server])")
    def tell() -> None:
        raise click.ClickException(f"pdm {command} needs {library}: install pool-domain-manager[server]")

    return tell


@click.group(cls=_Commands)
@click.version_option(__version__)
def main() -> None:
    """Hand out DNS names to new platforms and make them real in DNS."""

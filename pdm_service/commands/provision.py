"""`pdm provision`: hold a name while a command builds its cluster, then publish the address that came of it.

What has been reached is saved before and after each step, so that after a crash the same command line goes on:
before the reserve its Idempotency-Key, after it the token, after the command the addresses.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import msgspec

from pdm_service.client import Client, Unreachable
from pdm_service.commands.connection import Connection, connected, say
from pdm_service.errors import (
    AlreadyActive,
    NotFound,
    PdmError,
    ReservationExpired,
    StoreUnavailable,
    TokenMismatch,
)
from pdm_service.wire import AllocationReply

NOT_YET, LOST = 3, 4
"""Exit codes: committed, but DNS does not have it yet; somebody else has the name."""

_TOOLS = ("tofu", "terraform")
_OUTPUTS = ("load_balancer_ip", "load_balancer_ips")
_POLL_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


class Saved(msgspec.Struct, omit_defaults=True):
    """What is known after a crash. The file has the reservation's token: it is the owner's alone to read."""

    fqdn: str
    key: str
    """The Idempotency-Key of the reserve."""
    token: str | None = None
    addresses: list[str] = []
    """Once the command is done."""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Saved({self.fqdn})"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to provision, and how."""

    pool: str
    name: str
    command: tuple[str, ...]
    ttl: int
    wait: float
    ip: tuple[str, ...]
    ip_file: Path | None
    output: str | None
    sovereign_fqdn: str | None
    created_by: str | None
    tenant: str | None
    state: Path

    @property
    def fqdn(self) -> str:
        """The name."""
        return f"{self.name}.{self.pool}"


class Provisioning:
    """One run."""

    def __init__(self, plan: Plan, pdm: Client, say: Callable[[str], None]) -> None:
        self._plan, self._pdm, self._say = plan, pdm, say
        self._saved = _load(plan)
        self._signals: asyncio.Queue[int] = asyncio.Queue()

    async def run(self) -> tuple[int, AllocationReply | None]:
        """Return the exit code, and the allocation where there is one; raises PdmError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        await self._hold()
        if not self._saved.addresses:
            code = await self._build()
            if code != 0:
                return code, None
        held = await self._commit()
        return await self._published(held)

    # --- hold ----------------------------------------------------------------------------------------

    async def _hold(self) -> None:
        """Have the name: as an earlier run left it, or by a reserve."""
        if self._saved.token is not None:
            try:
                await self._pdm.renew(self._plan.fqdn, self._saved.token, ttl_seconds=self._plan.ttl)
            except AlreadyActive:
                self._say(f"{self._plan.fqdn} was committed before")
                return
            except (ReservationExpired, NotFound, TokenMismatch):
                self._say("the reservation of the earlier run has expired")
            else:
                self._say(f"{self._plan.fqdn} is still held; going on")
                return
        await self._reserve()

    async def _reserve(self) -> None:
        plan = self._plan
        if self._saved.token is not None:
            self._saved.key, self._saved.token = str(uuid.uuid4()), None
        self._save()
        try:
            held = await self._pdm.reserve(
                plan.pool, plan.name, created_by=plan.created_by, ttl_seconds=plan.ttl, tenant=plan.tenant,
                idempotency_key=self._saved.key,
            )  # fmt: skip
        except (Unreachable, StoreUnavailable):
            raise  # it may be held: the saved key finds out
        except PdmError:
            self._forget()
            raise
        self._saved.token = held.reservation_token
        self._save()
        self._say(f"{held.fqdn} is reserved until {held.expires_at:%H:%M:%S} UTC, and renewed while the command runs")

    async def _keep(self) -> None:
        """Renew the reservation until cancelled; raises Conflict once the name is somebody else's."""
        pause = self._plan.ttl / 3
        while True:
            await asyncio.sleep(pause)
            try:
                await self._pdm.renew(self._plan.fqdn, self._saved.token or "", ttl_seconds=self._plan.ttl)
            except (ReservationExpired, NotFound, TokenMismatch):
                self._say("the reservation ended while the service could not be reached; reserving again")
                with contextlib.suppress(Unreachable, StoreUnavailable):
                    await self._reserve()
            except (Unreachable, StoreUnavailable) as error:
                self._say(f"not renewed yet: {error.detail}")

    # --- the command -----------------------------------------------------------------------------------

    async def _build(self) -> int:
        """Run the command while the name is kept, and save the addresses; return its exit code, unless 0 released."""
        if self._plan.command:
            try:
                code = await self._run_command()
            except OSError as error:
                self._say(f"{self._plan.command[0]}: {error.strerror}")
                await self._release()
                return 127
            if code != 0:
                return code
        try:
            self._saved.addresses = await self._addresses()
        except click.ClickException as error:
            self._say(error.message)
            await self._release()
            return 1
        self._save()
        return 0

    async def _run_command(self) -> int:
        environment = {name: value for name, value in os.environ.items() if name != "PDM_KEY"}
        process = await asyncio.create_subprocess_exec(
            *self._plan.command,
            stdin=asyncio.subprocess.DEVNULL,
            # Of a group of its own: Ctrl-C in a terminal reaches it once, by us.
            process_group=0,
            preexec_fn=_end_with_parent,
            env={**environment, "PDM_FQDN": self._plan.fqdn},
        )
        self._say(f"running {self._plan.command[0]}")
        running = asyncio.create_task(process.wait())
        keeping = asyncio.create_task(self._keep())
        stopped: int | None = None
        try:
            while not running.done():
                asked = asyncio.create_task(self._signals.get())
                await asyncio.wait({running, keeping, asked}, return_when=asyncio.FIRST_COMPLETED)
                if asked.done():
                    _tell(process.pid, signal.SIGKILL if stopped else signal.SIGINT)
                    stopped = stopped or asked.result()
                    self._say("stopping the command; once more to kill it")
                asked.cancel()
                if keeping.done() and not running.done():
                    _tell(process.pid, signal.SIGINT)
                    await running
        finally:
            keeping.cancel()
        if keeping.done() and not keeping.cancelled() and (error := keeping.exception()):
            self._forget()
            self._say(f"the name is lost: {error}")
            return LOST
        code = await running
        if stopped is None and code == 0:
            return 0
        self._say(f"{self._plan.command[0]} ended with {code}" if stopped is None else "stopped")
        await self._release()
        return 128 + stopped if stopped is not None else code if code > 0 else 128 - code

    async def _release(self) -> None:
        try:
            await self._pdm.release(self._plan.fqdn, self._saved.token)
        except (NotFound, TokenMismatch):
            pass
        except (Unreachable, StoreUnavailable) as error:
            self._say(f"not released ({error.detail}); the reservation ends by itself")
        else:
            self._say(f"{self._plan.fqdn} is released")
        self._forget()

    async def _addresses(self) -> list[str]:
        """Return the load balancer's addresses; raises ClickException."""
        plan = self._plan
        if plan.ip:
            return list(plan.ip)
        if plan.ip_file is not None:
            try:
                found = plan.ip_file.read_text("utf-8").split()
            except OSError as error:
                raise click.ClickException(f"{plan.ip_file}: {error.strerror}") from error
            if not found:
                raise click.ClickException(f"{plan.ip_file} is empty")
            return found
        return _of_outputs(await _outputs(plan.command), plan.output)

    # --- publish ---------------------------------------------------------------------------------------

    async def _commit(self) -> AllocationReply:
        try:
            return await self._pdm.commit(
                self._plan.fqdn,
                self._saved.token or "",
                self._saved.addresses,
                sovereign_fqdn=self._plan.sovereign_fqdn,
            )
        except (Unreachable, StoreUnavailable):
            self._say(
                "it is not known whether the name was committed; run the same command again to find out and go on"
            )
            raise
        except PdmError:
            await self._release()
            raise

    async def _published(self, held: AllocationReply) -> tuple[int, AllocationReply]:
        """Wait until DNS has the name."""
        end = time.monotonic() + self._plan.wait
        self._say(f"committed {', '.join(self._saved.addresses)}; waiting for DNS")
        while held.dns.state != "published":
            if time.monotonic() > end:
                self._say(
                    f"DNS does not have it yet ({held.dns.last_error or 'no error'}); the service goes on by itself"
                )
                return NOT_YET, held
            with contextlib.suppress(TimeoutError):
                number = await asyncio.wait_for(self._signals.get(), _POLL_SECONDS)
                self._say("the name is committed, and the service goes on by itself")
                return 128 + number, held
            with contextlib.suppress(Unreachable, StoreUnavailable):
                held = await self._pdm.find(self._plan.fqdn)
        self._say(f"{held.fqdn} is published")
        self._forget()
        return 0, held

    # --- what is saved -----------------------------------------------------------------------------------

    def _save(self) -> None:
        part = self._plan.state.with_name(self._plan.state.name + ".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(self._saved))
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._plan.state)

    def _forget(self) -> None:
        self._plan.state.unlink(missing_ok=True)


def _load(plan: Plan) -> Saved:
    try:
        saved = msgspec.json.decode(plan.state.read_bytes(), type=Saved)
    except FileNotFoundError:
        return Saved(plan.fqdn, str(uuid.uuid4()))
    except msgspec.DecodeError as error:
        raise click.ClickException(f"{plan.state} is not a saved state: {error}") from error
    if saved.fqdn != plan.fqdn:
        raise click.ClickException(f"{plan.state} is of {saved.fqdn}; name another file with --state")
    return saved


def _tell(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _end_with_parent() -> None:
    """Have the command interrupted when this process is killed, so that a resumed run does not meet it (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)


async def _outputs(command: Sequence[str]) -> dict[str, object]:
    """Return what `tofu output -json` says, in the directory that the command worked in; raises ClickException."""
    tool = command[0] if command else ""
    if Path(tool).name not in _TOOLS:
        raise click.ClickException("say where the address is: --ip, --ip-file, or a command that is tofu or terraform")
    where = [word for word in command[1:] if word.startswith("-chdir=")]
    process = await asyncio.create_subprocess_exec(
        tool, *where, "output", "-json", "-no-color", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, failed = await process.communicate()
    try:
        found = json.loads(output) if process.returncode == 0 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.ClickException(f"{tool} output -json failed: {failed.decode(errors='replace').strip()[-300:]}")
    return {name: one.get("value") for name, one in found.items() if isinstance(one, dict)}


def _of_outputs(outputs: dict[str, object], wanted: str | None) -> list[str]:
    """Return the addresses in an output that has one, or a list of them; raises ClickException."""
    names = (wanted,) if wanted else _OUTPUTS
    for name in names:
        value = outputs.get(name)
        found = [value] if isinstance(value, str) else value
        if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
            return found
    raise click.ClickException(f"there is no output {' or '.join(names)} with an address; name it with --output")


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--pool", required=True, help="The pool domain.")
@click.option("--name", required=True, help="The label below it.")
@click.option(
    "--ttl", default=600, show_default=True, help="Seconds that a reservation holds; it is renewed in thirds."
)
@click.option("--wait", default=600.0, show_default=True, help="Seconds to wait for DNS at the end.")
@click.option("--ip", multiple=True, help="The load balancer's address, if it is known; may be repeated.")
@click.option("--ip-file", type=click.Path(path_type=Path), help="A file that has it when the command is done.")
@click.option("--output", help=f"The output that has it; by default {' or '.join(_OUTPUTS)}.")
@click.option("--sovereign-fqdn", help="The platform's own name, kept with the allocation.")
@click.option("--created-by", default="pdm-provision", show_default=True)
@click.option("--tenant", help="For whom.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="The file to resume from; .pdm-NAME.POOL.json by default."
)
@click.option("--json", "as_json", is_flag=True, help="Print the allocation as JSON at the end.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@connected
async def provision(connection: Connection, *, as_json: bool, state: Path | None, **more: object) -> int:
    """Hold a name while COMMAND builds what it is for, then publish the load balancer's address.

    On failure or Ctrl-C the name is released; after a crash the same command line goes on. The command should be
    one that may be run again, such as `tofu apply -auto-approve -lock-timeout=5m`; it gets PDM_FQDN.
    """
    fqdn = f"{more['name']}.{more['pool']}"
    plan = msgspec.convert({**more, "state": state or Path(f".pdm-{fqdn}.json")}, Plan)
    start = time.monotonic()

    def tell(text: str) -> None:
        say(f"[{time.monotonic() - start:6.1f}s] {text}", err=True)

    async with connection.client(retry_seconds=min(30.0, plan.ttl / 3)) as pdm:
        code, held = await Provisioning(plan, pdm, tell).run()
    if held is not None:
        say(msgspec.json.encode(held).decode() if as_json else held.fqdn)
    return code

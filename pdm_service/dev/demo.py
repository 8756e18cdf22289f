"""`pdm demo`: the life of one name, told step by step with what was called and what DNS answered.

Every answer is checked; where one is not as the story says, the demo says so and fails.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx

from pdm_service.dev.run import Interrupted, Interruption
from pdm_service.dev.servers import ServerFailed, free_port, wait_until
from pdm_service.dev.stack import POOL_DOMAINS, Databases, Ports, Stack, given_database

POOL = POOL_DOMAINS[0]
LABEL = "omantel"
FQDN = f"{LABEL}.{POOL}"
CONSOLE = f"console.{FQDN}"
ADDRESS = "192.0.2.10"

_TOKEN = "reservationToken"  # noqa: S105 - a field's name
_TOKEN_SHOWN = 8
_CALL_SECONDS = 20.0
_PROGRAM_SECONDS = 20.0
_SETTLE_SECONDS = 15.0
_WIDTH = 110
# Long, and not what the story is about.
_UNTOLD = {"mode", "poolDomain", "subdomain", "reservedAt", "committedAt", "createdBy", "nameservers", "updatedAt"}
_UNTOLD |= {"type", "title", "status", "loadBalancerIP", "sovereignFQDN"}


class NotAsTold(Exception):
    """An answer is not what the story says."""


class Answer(NamedTuple):
    """What `dig` said."""

    status: str
    flags: list[str]
    records: list[str]
    """The data of each record of the type that was asked for, without blanks and in lower case."""


def run() -> int:
    """Tell the story and leave nothing behind; return the exit code."""
    interruption = Interruption().listen()
    began = monotonic()
    try:
        with _temporary_directory() as directory:
            _tell(directory, interruption)
    except (Interrupted, NotAsTold, ServerFailed) as error:
        # An interruption at the terminal also ends the `dig` of the moment, which then looks like a failure.
        told = "interrupted" if interruption.asked else str(error)
        print(f"\npdm demo: {told}\nNothing is left running or lying around.", file=sys.stderr)
        return 130 if interruption.asked else 1
    print(f"\nAll as expected, in {monotonic() - began:.0f} s. Nothing is left running or lying around.")
    return 0


@contextmanager
def _temporary_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="pdm-demo-"))
    try:
        # Servers that run as another account have to pass through.
        directory.chmod(0o711)
        yield directory
    finally:
        shutil.rmtree(directory)


def _tell(directory: Path, interruption: Interruption) -> None:
    terminal = Terminal()

    def before(what: str) -> None:
        interruption.check()
        terminal.remark(f"starting {what}")

    terminal.title(f"Everything starts on free ports of 127.0.0.1, in {directory}")
    with Stack(directory, _ports(), _databases(), api_key=secrets.token_hex(16), durable=False, before=before) as stack:
        story = Story(stack, terminal)
        try:
            for number, (title, step) in enumerate(story.steps(), 1):
                interruption.check()
                terminal.title(f"{number}. {title}")
                step()
        except httpx.HTTPError as error:
            raise NotAsTold(f"the service did not answer: {error}") from error
        except (KeyError, ValueError) as error:
            raise NotAsTold(
                f"not as expected: an answer is not of the shape that the contract says ({error!r})"
            ) from error
        finally:
            story.client.close()
            terminal.remark("\nstopping everything")


def _ports() -> Ports:
    return Ports(**{name: free_port() for name in Ports.__struct_fields__})


def _databases() -> Databases:
    # Databases of its own, also on a given server: the demo must neither leave anything in one that is
    # in use, nor work on the allocations there.
    own = secrets.token_hex(4)
    return Databases(server=given_database(), service=f"pdm_demo_{own}", powerdns=f"pdns_demo_{own}", kept=False)


class Terminal:
    """Prints, in colour where that is wanted."""

    def __init__(self) -> None:
        self._coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def title(self, text: str) -> None:
        """Begin a step."""
        self._print("1", f"\n{text}")

    def command(self, text: str) -> None:
        """Show what is called."""
        self._print("36", f"   $ {text}")

    def answer(self, text: str) -> None:
        """Show what came back."""
        self._print("", "\n".join(f"     {_shortened(line)}" for line in text.splitlines()))

    def remark(self, text: str) -> None:
        """Say what happens meanwhile."""
        self._print("2", text)

    def _print(self, colour: str, text: str) -> None:
        print(f"\033[{colour}m{text}\033[0m" if self._coloured and colour else text, flush=True)


class Story:
    """The life of the name against a running stack."""

    def __init__(self, stack: Stack, terminal: Terminal) -> None:
        self._stack = stack
        self._terminal = terminal
        self._token = ""
        self._ds: list[str] = []
        self.client = httpx.Client(base_url=stack.program.url, timeout=_CALL_SECONDS, trust_env=False)

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """Return what the reader sees of each step, and the step."""
        return [
            ("Is the name free?", self._find_free),
            ("Hold it for half an hour; DNS is not touched.", self._hold),
            ("Publish it: zone, records, and the delegation with its DS.", self._publish),
            ("The nameserver answers for the apex, the console, and any other name below.", self._resolve),
            (
                "The parent zone vouches for the child's key: only the parent answers a question for DS.",
                self._look_at_parent,
            ),
            ("A resolver that trusts only the pool zone's key finds the answer secure (flag ad).", self._validate),
            ("A second caller who wants the same name is refused.", self._refuse),
            ("Give it back: the delegation goes first, then the zone.", self._give_back),
            ("All gone: in DNS, in the parent, for the resolver; and the name is free again.", self._look_again),
        ]

    def _find_free(self) -> None:
        expect(self._check().get("available") is True, f"{FQDN} should be free")

    def _hold(self) -> None:
        status, body = self._reserve("wizard")
        expect(status == 201 and body["state"] == "reserved", "the reservation should be granted")
        self._token = body[_TOKEN]
        expect(self._authoritative(FQDN, "A").status == "NXDOMAIN", "a reserved name should not be in DNS yet")

    def _publish(self) -> None:
        body = {"fqdn": FQDN, _TOKEN: self._token, "loadBalancerIP": ADDRESS}
        status, _ = self._call("POST", "/v1/commit", body)
        expect(status in {200, 202}, "the commit should be accepted")
        found = self._settled("published") if status == 202 else self._allocation()
        expect(found["dns"]["state"] == "published", "the name should be published")
        self._ds = [_plain(ds) for ds in found["dnssec"]["ds"]]

    def _resolve(self) -> None:
        for name in (FQDN, CONSOLE, f"gitea.{FQDN}", f"shop.{FQDN}"):
            expect(self._authoritative(name, "A").records == [ADDRESS], f"{name} should be at {ADDRESS}")

    def _look_at_parent(self) -> None:
        found = self._authoritative(FQDN, "DS").records
        expect(sorted(found) == sorted(self._ds) != [], "the parent should hold the DS that the service told")

    def _validate(self) -> None:
        answer = self._dig(self._stack.ports.resolver, CONSOLE, "A")
        expect("ad" in answer.flags and answer.records == [ADDRESS], f"{CONSOLE} should be secure")
        if shutil.which("delv"):
            self._delv()

    def _refuse(self) -> None:
        status, body = self._reserve("somebody-else")
        expect(status == 409 and body["error"] == "conflict", "the second caller should be refused")

    def _give_back(self) -> None:
        status, _ = self._call("POST", "/v1/release", {"fqdn": FQDN})
        expect(status in {200, 202}, "the release should be accepted")
        wait_until(lambda: self.client.get(f"/v1/allocations/{FQDN}").status_code == 404, _SETTLE_SECONDS)
        status, _ = self._call("GET", f"/v1/allocations/{FQDN}")
        expect(status == 404, f"{FQDN} should be gone within {_SETTLE_SECONDS:.0f} s")

    def _look_again(self) -> None:
        expect(self._authoritative(CONSOLE, "A").status == "NXDOMAIN", f"{CONSOLE} should not exist any more")
        expect(not self._authoritative(FQDN, "DS").records, "the parent should hold no DS any more")
        denial = self._dig(self._stack.ports.resolver, CONSOLE, "A")
        expect(denial.status == "NXDOMAIN" and "ad" in denial.flags, "its absence should be secure")
        expect(self._check().get("available") is True, f"{FQDN} should be free again")

    # --- calls -----------------------------------------------------------------------------------

    def _check(self) -> dict[str, Any]:
        query = urlencode({"poolDomain": POOL, "subdomain": LABEL})
        return self._call("GET", f"/v1/check?{query}")[1]

    def _reserve(self, caller: str) -> tuple[int, dict[str, Any]]:
        return self._call("POST", "/v1/reserve", {"poolDomain": POOL, "subdomain": LABEL, "createdBy": caller})

    def _allocation(self) -> dict[str, Any]:
        return dict(self.client.get(f"/v1/allocations/{FQDN}").json())

    def _settled(self, state: str) -> dict[str, Any]:
        wait_until(lambda: self._allocation()["dns"]["state"] == state, _SETTLE_SECONDS)
        return self._call("GET", f"/v1/allocations/{FQDN}")[1]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        words = [f"curl '{self._stack.program.url}{path}'"]
        if body is not None:
            told = json.dumps(_without_secret(body), separators=(",", ":"))
            words += ["-H 'Content-Type: application/json'", f"-d '{told}'"]
        self._terminal.command(" ".join(words))
        reply = self.client.request(method, path, json=body)
        answer = reply.json()
        self._terminal.answer(f"{reply.status_code} {reply.reason_phrase}\n{_told(answer)}")
        return reply.status_code, answer

    # --- DNS -------------------------------------------------------------------------------------

    def _authoritative(self, name: str, rtype: str) -> Answer:
        return self._dig(self._stack.ports.dns, name, rtype, "+norecurse")

    def _dig(self, port: int, name: str, rtype: str, *options: str) -> Answer:
        text = self._program(["dig", "@127.0.0.1", "-p", str(port), name, rtype, *options])
        header = re.search(r"status: (\w+).*?flags: ([a-z ]+);", text, re.DOTALL)
        if header is None:
            raise NotAsTold(f"dig got no answer for {name}: {text.strip()}")
        section = re.search(r";; ANSWER SECTION:\n(.*?)\n(\n|$)", text, re.DOTALL)
        lines = section[1].splitlines() if section else []
        self._terminal.answer("\n".join([f"status {header[1]}, flags {header[2]}", *lines]))
        split = [line.split(None, 4) for line in lines]
        return Answer(header[1], header[2].split(), [_plain(words[4]) for words in split if words[3] == rtype])

    def _delv(self) -> None:
        anchors = self._stack.directory / "anchors.conf"
        keys = [key.split(None, 6) for key in self._stack.trust_anchors()]
        lines = [f'{zone} static-key {" ".join(numbers)} "{key}";' for zone, _, _, *numbers, key in keys]
        anchors.write_text("\n".join(["trust-anchors {", *lines, "};"]))
        where = ["@127.0.0.1", "-p", str(self._stack.ports.resolver), "-a", str(anchors), f"+root={POOL}"]
        text = self._program(["delv", *where, CONSOLE, "A"])
        self._terminal.answer(text.strip())
        expect("; fully validated" in text and ADDRESS in text, "delv should find the answer fully validated")

    def _program(self, command: list[str]) -> str:
        self._terminal.command(" ".join(command))
        # Somebody's ~/.digrc would change what is printed.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": str(self._stack.directory)}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_PROGRAM_SECONDS, check=False
            )
        except FileNotFoundError as error:
            raise NotAsTold(f"{command[0]} is not installed; scripts/setup installs it") from error
        except subprocess.TimeoutExpired as error:
            raise NotAsTold(f"{command[0]} had no answer after {_PROGRAM_SECONDS:.0f} s") from error
        return done.stdout + done.stderr


def expect(condition: bool, sentence: str) -> None:  # noqa: FBT001 - as `assert` is written
    """Raise NotAsTold when the condition does not hold."""
    if not condition:
        raise NotAsTold(f"not as expected: {sentence}")


def _without_secret(body: dict[str, Any]) -> dict[str, Any]:
    return {key: f"{value[:_TOKEN_SHOWN]}..." if key == _TOKEN else value for key, value in body.items()}


def _told(body: dict[str, Any]) -> str:
    fields = {key: value for key, value in _without_secret(body).items() if key not in _UNTOLD}
    return "\n".join(f"{key}: {_value(value)}" for key, value in fields.items())


def _value(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(part)}" for key, part in value.items() if key not in _UNTOLD)
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return value if isinstance(value, str) else json.dumps(value)


def _plain(data: str) -> str:
    """Return a DS or an address in one spelling: programs differ in blanks and case."""
    return "".join(data.split()).lower()


def _shortened(line: str) -> str:
    text = re.sub(r"\s+", " ", line)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]} ..."

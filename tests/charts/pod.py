"""Containers of rendered pods, run on this machine as a node would run them.

The root directory is this machine's programs, read-only, plus the mounts that the pod asks for; account,
capabilities, environment and command are the pod's. Not isolated is the network: Services are lines in /etc/hosts,
and a container's port is a port of 127.0.0.1.
"""

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pdm_service.dev.process import start_child
from tests.patience import patient

PROGRAMS = ("pdns_server", "dnsdist", "psql", "promtool")
_SHELL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a container's root directory is mounted by root")

Objects = list[dict[str, Any]]
Secrets = dict[str, dict[str, str]]


class Pod:
    """The only container of a pod's specification, to be run once or served.

    `image` is what the container sees of this machine besides the system's programs.
    """

    def __init__(
        self,
        directory: Path,
        spec: dict[str, Any],
        objects: Objects,
        secrets: Secrets,
        services: list[str],
        image: Sequence[Path] = (),
    ):
        self._image = image
        (self._container,) = spec["containers"]
        self._spec = spec
        self._objects = objects
        self._secrets = secrets
        self._services = services
        self.name = self._container["name"]
        self.directory = directory / f"pod-{self.name}-{len(list(directory.iterdir()))}"
        self.directory.mkdir(mode=0o755)
        self.log = self.directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, seconds: float = 30, *, arguments: list[str] | None = None) -> str:
        """Run the container to its end and return what it says; it must succeed."""
        self.start(arguments=arguments)
        assert self.process is not None
        try:
            status = self.process.wait(patient(seconds))
        except subprocess.TimeoutExpired:
            self.kill()
            status = -signal.SIGKILL
        assert status == 0, f"{self.name} ended with {status}: {self.says()}"
        return self.says()

    def start(self, *, arguments: list[str] | None = None) -> "Pod":
        """Start the container; `arguments` replace those of the container."""
        container = self._container
        command = [*container.get("command", []), *(container.get("args", []) if arguments is None else arguments)]
        script = self.directory / "start.sh"
        script.write_text("\n".join([*self._mounts(), self._execute(command)]))
        with self.log.open("ab") as log:
            self.process = start_child(
                ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-e", script],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def says(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, seconds: float = 10) -> int:
        """SIGTERM; return the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(patient(seconds))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    # --- what the node does ----------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        found = {"PATH": _SHELL_PATH}
        for variable in self._container.get("env", []):
            if "value" in variable:
                found[variable["name"]] = variable["value"]
            else:
                reference = variable["valueFrom"]["secretKeyRef"]
                found[variable["name"]] = self._secrets[reference["name"]][reference["key"]]
        return found

    def _files(self, volume: dict[str, Any]) -> dict[str, str]:
        if "configMap" in volume:
            (data,) = [
                each["data"]
                for each in self._objects
                if each["kind"] == "ConfigMap" and each["metadata"]["name"] == volume["configMap"]["name"]
            ]
            return dict(data)
        if "projected" in volume:
            return {path: text for source in volume["projected"]["sources"] for path, text in self._projected(source)}
        secret = self._secrets[volume["secret"]["secretName"]]
        return {item["path"]: secret[item["key"]] for item in volume["secret"]["items"]}

    def _projected(self, source: dict[str, Any]) -> list[tuple[str, str]]:
        if "serviceAccountToken" in source:
            return [(source["serviceAccountToken"]["path"], "token")]
        data = self._secrets[source["configMap"]["name"]]  # made by the cluster, not by the chart
        return [(item["path"], data[item["key"]]) for item in source["configMap"]["items"]]

    def _mounts(self) -> list[str]:
        """Return the shell lines that make the root directory."""
        root = self.directory / "root"
        root.mkdir(exist_ok=True)
        (self.directory / "hosts").write_text("127.0.0.1 localhost " + " ".join(self._services) + "\n")
        lines = [
            f"mount -t tmpfs -o mode=755 tmpfs {root}",
            f"cd {root}",
            "mkdir -p usr proc dev etc var",
            "for name in bin sbin lib lib64; do ln -s usr/$name $name; done",
            "mount --bind /usr usr",
            "mount -o remount,bind,ro usr",
            "mount --rbind /dev dev",
            "mount --rbind /proc proc",
            "cp /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache etc/",
            f"cp {self.directory / 'hosts'} etc/hosts",
        ]
        volumes = {volume["name"]: volume for volume in self._spec.get("volumes", [])}
        group = self._spec["securityContext"]["fsGroup"]
        for mount in self._container.get("volumeMounts", []):
            volume, target = volumes[mount["name"]], "." + mount["mountPath"]
            lines += [f"mkdir -p {target}"]
            if "emptyDir" in volume:
                lines += [f"mount -t tmpfs -o mode=2777,gid={group} tmpfs {target}"]
                continue
            source = self.directory / mount["name"]
            source.mkdir(exist_ok=True)
            mode = next(iter(volume.get(kind) for kind in ("secret", "configMap", "projected") if kind in volume))
            for name, text in self._files(volume).items():
                (source / name).write_text(text)
                (source / name).chmod(mode.get("defaultMode", 0o644))
                os.chown(source / name, 0, group)
            lines += [f"mount --bind {source} {target}"]
            if mount.get("readOnly"):
                lines += [f"mount -o remount,bind,ro {target}"]
        # Last, for what is seen of this machine may lie below a volume, such as /tmp.
        for path in self._image:
            lines += [f"mkdir -p .{path}; mount --bind {path} .{path}; mount -o remount,bind,ro .{path}"]
        if self._container["securityContext"]["readOnlyRootFilesystem"]:
            lines += [f"mount -o remount,ro {root}"]
        return lines

    def _execute(self, command: list[str]) -> str:
        account, security = self._spec["securityContext"], self._container["securityContext"]
        options = [f"--reuid={account['runAsUser']}", f"--regid={account['runAsGroup']}"]
        options += [f"--groups={account['fsGroup']}", "--pdeathsig=KILL"]
        if "ALL" in security["capabilities"]["drop"]:
            options += ["--bounding-set=-all", "--inh-caps=-all"]
        if not security["allowPrivilegeEscalation"]:
            options += ["--no-new-privs"]
        return shlex.join(["exec", "chroot", str(self.directory / "root"), "setpriv", *options, "--", *command])

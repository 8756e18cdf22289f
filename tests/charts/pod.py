"""The container of a rendered Deployment, run on this machine: its environment, files, user and read-only root.

bubblewrap makes a root of its own, of this machine's libraries, the project and nothing else; setpriv takes user
and capabilities away, as `securityContext` says. What the image holds is the business of the image's own tests.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.charts.rendered import ROOT
from tests.eventually import eventually
from tests.service import PDM

PYTHON = Path(os.path.realpath(sys.base_prefix))


class Pod:
    """One pod of a Deployment; `secrets` and `config_maps` are those of its namespace, `hosts` its names."""

    def __init__(
        self,
        deployment: dict[str, Any],
        directory: Path,
        secrets: dict[str, dict[str, str]],
        config_maps: dict[str, dict[str, str]],
        hosts: dict[str, str],
    ) -> None:
        self.spec = deployment["spec"]["template"]["spec"]
        (self.container,) = self.spec["containers"]
        self._directory = directory
        self._secrets, self._config_maps = secrets, config_maps
        self.log = directory / "pod.log"
        (directory / "hosts").write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))
        port = self.container["ports"][0]["containerPort"]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)

    def environment(self) -> dict[str, str]:
        """The container's environment, with the image's PATH and the Secrets' values."""
        found = {"PATH": "/usr/bin:/bin"}
        for entry in self.container["env"]:
            if "value" in entry:
                found[entry["name"]] = entry["value"]
            else:
                reference = entry["valueFrom"]["secretKeyRef"]
                found[entry["name"]] = self._secrets[reference["name"]][reference["key"]]
        return found

    def start(self) -> "Pod":
        command = [*self._root(), "--", *self._as_user(), PDM, *self.container["args"]]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log)
        eventually(lambda: self.answers("startupProbe"), 40, str(self.log))
        return self

    def answers(self, probe: str) -> bool:
        """Ask what a probe asks; True for an answer that the kubelet is content with."""
        assert self.process.poll() is None, self.log.read_text()
        path, seconds = self.container[probe]["httpGet"]["path"], self.container[probe]["timeoutSeconds"]
        try:
            return 200 <= self.client.get(path, timeout=seconds).status_code < 400
        except httpx.HTTPError:
            return False

    def stop(self) -> int:
        """Send SIGTERM after the preStop pause; return the exit code, within the grace that is left."""
        pause = self.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        child = int(subprocess.check_output(["pgrep", "-P", str(self.process.pid)]).split()[0])
        os.kill(child, signal.SIGTERM)
        return self.process.wait(self.spec["terminationGracePeriodSeconds"] - pause)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.client.close()

    def _root(self) -> list[str]:
        arguments = ["bwrap", "--die-with-parent", "--ro-bind", "/usr", "/usr"]
        for name in ("bin", "lib", "lib64"):
            arguments += ["--symlink", f"usr/{name}", f"/{name}"]
        for path in (ROOT, PYTHON, Path("/etc/ssl")):
            for parent in [*reversed(path.parents)][1:]:
                arguments += ["--perms", "0755", "--dir", str(parent)]
            arguments += ["--ro-bind", str(path), str(path)]
        arguments += ["--proc", "/proc", "--dev", "/dev", "--ro-bind", f"{self._directory}/hosts", "/etc/hosts"]
        volumes = {one["name"]: one for one in self.spec["volumes"]}
        for mount in self.container["volumeMounts"]:
            volume = volumes[mount["name"]]
            if "emptyDir" in volume:
                arguments += ["--perms", "1777", "--tmpfs", mount["mountPath"]]
            else:
                assert mount["readOnly"]
                arguments += ["--ro-bind", str(self._volume(volume)), mount["mountPath"]]
        if self.container["securityContext"]["readOnlyRootFilesystem"]:
            arguments += ["--remount-ro", "/"]
        return arguments

    def _volume(self, volume: dict[str, Any]) -> Path:
        """A directory with a volume's files, in their mode, of the pod's group."""
        path = self._directory / volume["name"]
        path.mkdir()
        path.chmod(0o755)
        source = volume.get("secret") or volume.get("configMap") or volume["projected"]
        for name, text in self._files(volume).items():
            (path / name).write_text(text)
            (path / name).chmod(source.get("defaultMode", 0o644))
            os.chown(path / name, 0, self.spec["securityContext"]["fsGroup"])
        return path

    def _files(self, volume: dict[str, Any]) -> dict[str, str]:
        if "secret" in volume:
            data = self._secrets[volume["secret"]["secretName"]]
            return {item["path"]: data[item["key"]] for item in volume["secret"]["items"]}
        if "configMap" in volume:
            return self._config_maps[volume["configMap"]["name"]]
        found = {}
        for source in volume["projected"]["sources"]:
            if "configMap" in source:
                data = self._config_maps[source["configMap"]["name"]]
                found |= {item["path"]: data[item["key"]] for item in source["configMap"]["items"]}
            else:
                found[source["serviceAccountToken"]["path"]] = "a token"
        return found

    def _as_user(self) -> list[str]:
        pod, container = self.spec["securityContext"], self.container["securityContext"]
        assert container["capabilities"] == {"drop": ["ALL"]}
        assert container["allowPrivilegeEscalation"] is False
        return [
            "setpriv", f"--reuid={pod['runAsUser']}", f"--regid={pod['runAsGroup']}", f"--groups={pod['fsGroup']}",
            "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
        ]  # fmt: skip

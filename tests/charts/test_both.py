"""What holds of both charts, for each of their sets of values."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.charts.rendered import HELMS, ROOT, helm, needs_helm, pods, problems, render

CHARTS = ("pool-domain-manager", "powerdns")
CI = [path for chart in CHARTS for path in sorted((ROOT / "charts" / chart / "ci").glob("*-values.yaml"))]
pytestmark = needs_helm
each_set_of_values = pytest.mark.parametrize(
    "values", CI, ids=lambda path: f"{path.parents[1].name}-{path.stem.removesuffix('-values')}"
)


def chart_of(values: Path) -> str:
    return values.parents[1].name


@pytest.mark.parametrize("version", HELMS)
@each_set_of_values
def test_lint_and_objects(version: str, values: Path) -> None:
    """It passes a strict lint, and all objects are valid by their own schemas."""
    done = helm(version, "lint", "--strict", values.parents[1], "--values", values)
    assert done.returncode == 0, done.stdout + done.stderr
    objects = render(chart_of(values), values, version=version)
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))
    assert problems(objects) == []


@each_set_of_values
def test_rendering_is_the_same_each_time_and_with_each_helm(values: Path) -> None:
    """GitOps sees a change only where there is one."""
    made = [
        helm(version, "template", "pdm", values.parents[1], "--values", values).stdout for version in (*HELMS, HELMS[0])
    ]
    assert list(yaml.safe_load_all(made[0])) == list(yaml.safe_load_all(made[1]))
    assert made[0] == made[2] != ""


@pytest.mark.parametrize("chart", CHARTS)
def test_generated_files_are_of_these_values(chart: str) -> None:
    """Schema and README are what values.yaml makes."""
    command = [sys.executable, "scripts/chart-docs", "--check", f"charts/{chart}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@each_set_of_values
def test_secrets_are_files(values: Path) -> None:
    """What is secret is mounted, for the pod's own group alone; a variable says at most where the database is."""
    for _, spec in pods(render(chart_of(values), values)):
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for container in spec["containers"]:
            from_secrets = {entry["name"] for entry in container.get("env", []) if "valueFrom" in entry}
            assert from_secrets <= {"PGHOST", "PGPORT", "PGDATABASE", "PGUSER"}
            assert not [
                entry for entry in container.get("env", []) if entry["name"] in {"PGPASSWORD", "PDM_PDNS_API_KEY"}
            ]
            for mount in container.get("volumeMounts", []):
                if secret := volumes[mount["name"]].get("secret"):
                    assert mount["readOnly"]
                    assert secret["items"]
                    assert secret.get("defaultMode") == 0o440 or mount["name"] == "database-ca"


@each_set_of_values
def test_pods_are_restricted(values: Path) -> None:
    """Every pod meets the Pod Security Standard "restricted", and beyond it has no writable root directory and no token.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    found = pods(render(chart_of(values), values))
    assert found
    for metadata, spec in found:
        assert spec["automountServiceAccountToken"] is False, metadata
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "requests" in container["resources"]
            assert "memory" in container["resources"]["limits"]
        kinds = {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "secret", "emptyDir", "projected"}


@each_set_of_values
def test_no_secret_is_made(values: Path) -> None:
    """What is secret is referred to."""
    assert [each for each in render(chart_of(values), values) if each["kind"] == "Secret"] == []

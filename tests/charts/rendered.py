"""Charts rendered by the real Helm, and every object held against its schema."""

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.patience import patient

ROOT = Path(__file__).parents[2]
HELMS = ("3.17", "4.1")
KUBERNETES = "1.34"
CRD_SCHEMAS = Path(os.environ.get("PDM_CRD_SCHEMAS", ROOT.parent / "shared" / "schemas"))

needs_helm = pytest.mark.skipif(
    not all((ROOT / ".venv" / "helm" / version / "helm").exists() for version in HELMS),
    reason="there is no Helm; make setup fetches it on Linux, x86-64",
)


def helm(version: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Helm as a user without any state of his own."""
    command = [ROOT / ".venv" / "helm" / version / "helm", *arguments]
    environment = {"HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    return subprocess.run(command, capture_output=True, text=True, timeout=patient(60), env=environment, check=False)


def render(
    chart: str, *values: Path, version: str = "4.1", release: str = "pdm", **settings: Any
) -> list[dict[str, Any]]:
    """Return the objects of a chart in `charts/`; settings are `--set-json key=value`, `__` for a dot."""
    arguments: list[str | Path] = ["template", release, ROOT / "charts" / chart, "--namespace", "pdm"]
    for path in values:
        arguments += ["--values", path]
    for key, value in settings.items():
        arguments += ["--set-json", f"{key.replace('__', '.')}={json.dumps(value)}"]
    done = helm(version, *arguments)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def one(objects: list[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    """Return the only object of a kind, or that of a name."""
    found = [each for each in objects if each["kind"] == kind and name in {None, each["metadata"]["name"]}]
    assert len(found) == 1, (kind, name, [(each["kind"], each["metadata"]["name"]) for each in objects])
    return found[0]


def pod_spec(each: dict[str, Any]) -> dict[str, Any]:
    """Return the specification of a Pod, or of the pods that an object makes."""
    return each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"]


def pods(objects: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the metadata and the specification of each kind of pod."""
    owners = [each for each in objects if each["kind"] in {"Deployment", "Job", "Pod"}]
    return [
        (each["metadata"] if each["kind"] == "Pod" else each["spec"]["template"]["metadata"], pod_spec(each))
        for each in owners
    ]


def problems(objects: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with objects by their own schemas, unknown fields included.

    Skips where the core kinds are right and there are no schemas of custom ones.
    """
    custom = [each for each in objects if _is_custom(each)]
    found = [fault for each in objects if each not in custom for fault in _faults_of_core_kind(each)]
    return found or [fault for each in custom for fault in _faults_of_custom_kind(each)]


def _is_custom(each: dict[str, Any]) -> bool:
    group = each["apiVersion"].partition("/")[0]
    return "." in group and not group.endswith(".k8s.io")


def _name(each: dict[str, Any]) -> str:
    return f"{each['apiVersion']} {each['kind']}/{each['metadata']['name']}"


def _faults_of_core_kind(each: dict[str, Any]) -> list[str]:
    try:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as fault:
        return [f"{_name(each)}: {fault.message[:300]} at {list(fault.path)}"]
    except kubernetes_validate.SchemaNotFoundError:
        return [f"{_name(each)}: there is no schema of it"]
    return []


def _faults_of_custom_kind(each: dict[str, Any]) -> list[str]:
    schemas = _custom().get(f"{each['apiVersion']}/{each['kind']}", [])
    faults = [fault for schema in schemas for fault in jsonschema.Draft202012Validator(schema).iter_errors(each)]
    found = [f"{_name(each)}: {fault.json_path}: {fault.message[:300]}" for fault in faults]
    return found if schemas else [f"{_name(each)}: there is no schema of it"]


@functools.cache
def _custom() -> dict[str, list[Any]]:
    """Return the schemas of custom kinds by `<apiVersion>/<kind>`; several where releases of Crossplane have their own."""
    if not CRD_SCHEMAS.is_dir():
        pytest.skip(f"no schemas of custom resources at {CRD_SCHEMAS}; PDM_CRD_SCHEMAS tells where they are")
    found: dict[str, list[Any]] = {}
    for path in sorted(CRD_SCHEMAS.glob("*.json")):
        for kind, schema in json.loads(path.read_text()).items():
            found.setdefault(kind, []).append(_strict(schema, top=True))
    return found


def _strict(schema: Any, *, top: bool = False) -> Any:
    """Return a CRD's schema as plain JSON Schema that refuses unknown fields."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if not key.startswith("x-") and key != "properties"}
    if "properties" in schema:
        made["properties"] = {key: _strict(value) for key, value in schema["properties"].items()}
        if "additionalProperties" not in made and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    if top:
        made.setdefault("properties", {}).update(apiVersion={}, kind={}, metadata={})
    return made

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
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


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


def problems(objects: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with objects by their own schemas, unknown fields included; skips without schemas of CRDs."""
    found = []
    for each in objects:
        name = f"{each['kind']}/{each['metadata']['name']}"
        group = each["apiVersion"].partition("/")[0]
        if "." in group and not group.endswith((".k8s.io", "apps", "policy", "batch", "autoscaling")):
            schema = _custom().get(f"{each['apiVersion']}/{each['kind']}")
            if schema is None:
                found.append(f"{name}: there is no schema of {each['apiVersion']}")
                continue
            validator = jsonschema.Draft202012Validator(schema)
            found += [f"{name}: {fault.json_path}: {fault.message[:300]}" for fault in validator.iter_errors(each)]
        else:
            try:
                kubernetes_validate.validate(each, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as fault:
                found.append(f"{name}: {fault.message[:300]} at {list(fault.path)}")
            except kubernetes_validate.SchemaNotFoundError:
                found.append(f"{name}: there is no schema of {each['apiVersion']}")
    return found


@functools.cache
def _custom() -> dict[str, Any]:
    """Return the schemas of custom kinds by `<apiVersion>/<kind>`, the newest release's where there are two."""
    if not CRD_SCHEMAS.is_dir():
        pytest.skip(f"no schemas of custom resources at {CRD_SCHEMAS}; PDM_CRD_SCHEMAS tells where they are")
    found: dict[str, Any] = {}
    for path in sorted(CRD_SCHEMAS.glob("*.json")):
        found |= {name: _strict(schema, top=True) for name, schema in json.loads(path.read_text()).items()}
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

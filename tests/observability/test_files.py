"""Dashboard, alert rules and runbooks: in step with the metrics that the service exports, and with each other."""

import json
import re
from pathlib import Path

import pytest
import yaml

from pdm_service.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pool-domain-manager"
ALERTS = sorted((CHART / "alerts").glob("*.yaml"))
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
NAME = re.compile(r"\bpdm_[a-z_]+\b")


def exported() -> set[str]:
    """The names of all series that the service exports."""
    found = set()
    for family in Metrics()._registry.collect():
        name = family.name
        found |= {
            "counter": {f"{name}_total"},
            "gauge": {name},
            "info": {f"{name}_info"},
            "histogram": {f"{name}_bucket", f"{name}_sum", f"{name}_count"},
        }[family.type]
    return found


def expressions() -> dict[str, str]:
    """All expressions of dashboard and alerts, by what they are for."""
    dashboard = json.loads((CHART / "dashboards" / "overview.json").read_text())
    found = {
        f"{panel['title']} {n}": target["expr"]
        for panel in dashboard["panels"]
        for n, target in enumerate(panel.get("targets", []))
    }
    return found | {path.stem: yaml.safe_load(path.read_text())["expr"] for path in ALERTS}


def test_metrics_that_are_asked_for_exist() -> None:
    """No panel and no alert asks for a metric that the service does not export."""
    asked = {name for text in expressions().values() for name in NAME.findall(text)}
    assert asked
    assert asked <= exported()


def test_metrics_in_the_documents_exist() -> None:
    """The metrics that the operators' documents name are those that are exported, all of them."""
    told = set(NAME.findall((ROOT / "docs" / "operations.md").read_text()))
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()}
    assert bare <= told
    for path in RUNBOOKS:
        names = {name for name in NAME.findall(path.read_text()) if not name.startswith("pdm_service")}
        assert names <= exported() | bare, path


@pytest.mark.parametrize("path", ALERTS, ids=lambda path: path.stem)
def test_alert_has_what_a_person_needs(path: Path) -> None:
    """An alert is named as its file, says how grave it is, waits before it fires, and has its runbook."""
    rule = yaml.safe_load(path.read_text())
    assert rule["alert"] == path.stem
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{path.stem}.md"
    text = (ROOT / rule["annotations"]["runbook_url"]).read_text()
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        "Meaning", "Impact", "Diagnosis", "Mitigation"
    ]  # fmt: skip


def test_runbook_for_every_alert_and_none_besides() -> None:
    """Each runbook belongs to an alert."""
    assert {path.stem for path in RUNBOOKS} == {path.stem for path in ALERTS}


def test_labels_are_bounded() -> None:
    """No metric has a label that could hold a customer's name."""
    allowed = {
        "version", "method", "route", "status", "operation", "outcome", "registrar", "state", "what", "phase", "reason",
        "file", "pool", "cause",
    }  # fmt: skip
    collectors = set(Metrics()._registry._names_to_collectors.values())
    assert {label for one in collectors for label in getattr(one, "_labelnames", ())} <= allowed

"""The XRD and the Composition: rendered for resources offline, and their Requests driven against the real service.

function-patch-and-transform is a program of its own that the registries do not have, so `composed` evaluates the few
of its features that the Composition uses, as its documentation says, and refuses all others.
https://docs.crossplane.io/latest/guides/function-patch-and-transform/
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import jq
import jsonschema
import pytest
import yaml

from pdm_service.dev.servers import PowerDNS
from tests.api.test_declared import contained
from tests.charts.rendered import ROOT, needs_helm, one, problems, render
from tests.dns_view import records
from tests.eventually import eventually
from tests.service import Service, name

CI = ROOT / "charts" / "pool-domain-manager" / "ci"
VALUES = {"v1": CI / "crossplane-v1-values.yaml", "v2": CI / "crossplane-v2-values.yaml"}
pytestmark = needs_helm
generations = pytest.mark.parametrize("generation", VALUES)


def rendered(generation: str, **settings: Any) -> list[dict[str, Any]]:
    return render("pool-domain-manager", VALUES[generation], **settings)


# --- what Crossplane does ----------------------------------------------------------------------------


def path_of(text: str) -> list[str | int]:
    """The segments of a field path: `a.b[c.d/e][0]`."""
    words = [bracketed or plain for bracketed, plain in re.findall(r"\[([^\]]+)\]|([^.\[\]]+)", text)]
    return [int(word) if word.isdecimal() else word for word in words]


def look_up(document: Any, path: str) -> Any:
    """The value at a path; None if there is none."""
    for segment in path_of(path):
        try:
            document = document[segment]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def put(document: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path_of(path)
    for segment in above:
        document = document.setdefault(segment, {})
    document[last] = value


def taken(value: Any, patch: dict[str, Any], source: str) -> bool:
    """Tell whether a patch applies; an absent source ends the rendering where it is required."""
    assert set(patch["policy"]) == {"fromFieldPath"}
    policy = patch["policy"]["fromFieldPath"]
    assert value is not None or policy == "Optional", f"{source} is required"
    return value is not None


def template_of(composition: dict[str, Any]) -> dict[str, Any]:
    """The one template of a Composition; refuses what `composed` does not know."""
    (step,) = composition["spec"]["pipeline"]
    what = step["input"]
    assert set(what) == {"apiVersion", "kind", "resources"}
    assert (what["apiVersion"], what["kind"]) == ("pt.fn.crossplane.io/v1beta1", "Resources")
    (template,) = what["resources"]
    assert set(template) == {"name", "base", "patches", "readinessChecks"}
    return dict(template)


def composed(composition: dict[str, Any], resource: dict[str, Any]) -> dict[str, Any]:
    """The one composed resource of a Composition; refuses what it does not know, which the Function would pass over."""
    template = template_of(composition)
    made = json.loads(json.dumps(template["base"]))
    made["metadata"] = {"name": "composed"}
    for patch in template["patches"]:
        if patch["type"] == "FromCompositeFieldPath":
            assert set(patch) == {"type", "fromFieldPath", "toFieldPath", "policy", "transforms"}
            value = look_up(resource, patch["fromFieldPath"])
            if taken(value, patch, patch["fromFieldPath"]):
                assert patch["transforms"] == [{"type": "string", "string": {"type": "Convert", "convert": "ToJson"}}]
                put(made, patch["toFieldPath"], json.dumps(value, sort_keys=True, separators=(",", ":")))
        elif patch["type"] == "CombineFromComposite":
            assert set(patch) == {"type", "toFieldPath", "policy", "combine"}
            combine = patch["combine"]
            assert set(combine) == {"strategy", "variables", "string"}
            assert combine["strategy"] == "string"
            assert set(combine["string"]) == {"fmt"}
            assert all(set(each) == {"fromFieldPath"} for each in combine["variables"])
            values = [look_up(resource, each["fromFieldPath"]) for each in combine["variables"]]
            if taken(None if None in values else values, patch, "a variable"):
                assert combine["string"]["fmt"].count("%s") == combine["string"]["fmt"].count("%") == len(values)
                put(made, patch["toFieldPath"], combine["string"]["fmt"] % tuple(values))
        else:
            assert patch["type"] == "ToCompositeFieldPath", patch
    return made


def status_of(composition: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """What the resource is told of its composed Request."""
    found: dict[str, Any] = {}
    for patch in template_of(composition)["patches"]:
        if patch["type"] == "ToCompositeFieldPath":
            assert set(patch) == {"type", "fromFieldPath", "toFieldPath"}
            if (value := look_up(request, patch["fromFieldPath"])) is not None:
                put(found, patch["toFieldPath"], value)
    return found.get("status", {})


def is_ready(composition: dict[str, Any], request: dict[str, Any]) -> bool:
    """Tell whether all readiness checks hold of a Request."""
    for check in template_of(composition)["readinessChecks"]:
        if check["type"] == "MatchCondition":
            wanted = check["matchCondition"]
            assert (set(check), set(wanted)) == ({"type", "matchCondition"}, {"type", "status"})
            conditions = {each["type"]: each["status"] for each in request["status"]["conditions"]}
            held = conditions.get(wanted["type"]) == wanted["status"]
        else:
            assert check["type"] == "MatchString"
            assert set(check) == {"type", "fieldPath", "matchString"}
            held = look_up(request, check["fieldPath"]) == check["matchString"]
        if not held:
            return False
    return True


class Controller:
    """provider-http with one Request, by its documented rules."""

    def __init__(self, service: Service, composition: dict[str, Any], resource: dict[str, Any]) -> None:
        self.service, self.composition, self.resource = service, composition, resource
        self.request: dict[str, Any] = {}

    def asked(self, action: str) -> tuple[str, str, str, dict[str, str]]:
        """Method, path, body and headers of a mapping; the headers go with every call."""
        what = composed(self.composition, self.resource)["spec"]["forProvider"]
        (mapping,) = [each for each in what["mappings"] if each["action"] == action]
        seen = {"payload": {"baseUrl": what["payload"]["baseUrl"], "body": json.loads(what["payload"]["body"])}}
        url = jq.compile(mapping["url"]).input_value(seen).first()
        body = json.dumps(jq.compile(mapping["body"]).input_value(seen).first()) if "body" in mapping else ""
        assert "null" not in url + body
        assert "{{" not in url + body
        address = re.fullmatch(r"https?://[a-z0-9.:-]+(/v1/allocations/.*)", url)
        assert address, url
        headers = {key: ",".join(values) for key, values in what["headers"].items()}
        return mapping["method"], address[1], body, headers

    def send(self, action: str) -> httpx.Response:
        method, path, body, headers = self.asked(action)
        return self.service.client.request(method, path, content=body or None, headers=headers)

    def reconcile(self) -> str:
        """One round: observe, then create or update if need be; return what was done."""
        seen = self.send("OBSERVE")
        done = "nothing"
        if seen.status_code // 100 != 2:
            done, seen = "CREATE", self.send("CREATE")
        elif not contained(json.loads(self.asked("UPDATE")[2]), seen.json()):
            done, seen = "UPDATE", self.send("UPDATE")
        self.request = {
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "response": {"headers": {key.title(): [value] for key, value in seen.headers.items()}},
            }
        }
        return done

    def ready(self) -> bool:
        self.reconcile()
        return is_ready(self.composition, self.request)

    def status(self) -> dict[str, Any]:
        self.reconcile()
        return status_of(self.composition, self.request)


def resource(generation: str, *, claim: str | None = None, **parameters: str) -> dict[str, Any]:
    """A resource as the API server has it: of a claim in v1, in a namespace in v2."""
    labels = {"crossplane.io/claim-namespace": "tenants", "crossplane.io/claim-name": claim or "omantel"}
    metadata: dict[str, Any] = {"name": f"{claim or 'omantel'}-x7k2p", "labels": labels}
    if generation == "v2":
        metadata = {"name": claim or "omantel", "namespace": "tenants"}
    kind = {"v1": "XDynadotPoolAllocation", "v2": "DynadotPoolAllocation"}[generation]
    return {
        "apiVersion": "compose.openova.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": {"parameters": parameters}
    }  # fmt: skip


# --- what is rendered ----------------------------------------------------------------------------


def schema_of(generation: str) -> dict[str, Any]:
    (version,) = one(rendered(generation), "CompositeResourceDefinition")["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def strings(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if schema["type"] == "string":
        yield path, schema
    for key, below in schema.get("properties", {}).items():
        yield from strings(below, f"{path}.{key}")


@generations
def test_strings_take_no_braces(generation: str) -> None:
    """No string of a resource can hold a placeholder, which provider-http would fill with a Secret; each has a limit."""
    found = dict(strings(schema_of(generation)))
    assert len(found) == 8
    for path, schema in found.items():
        assert 0 < schema["maxLength"] <= 253, path
        assert schema["pattern"].startswith("^"), path
        assert schema["pattern"].endswith("$"), path
        for hostile in ("{{ name:namespace:key }}", "{", "}", "a{b", "omantel}"):
            assert not re.search(schema["pattern"], hostile), (path, hostile)


@generations
def test_names_do_not_change(generation: str) -> None:
    """Pool domain and subdomain are what the resource is: another one would leave the name behind."""
    parameters = schema_of(generation)["properties"]["spec"]["properties"]["parameters"]["properties"]
    fixed = {key for key, schema in parameters.items()
             if "self == oldSelf" in [rule["rule"] for rule in schema.get("x-kubernetes-validations", [])]}  # fmt: skip
    assert fixed == {"poolDomain", "subdomain"}


CLAIM = {
    "poolDomain": "omani.works", "subdomain": "omantel", "sovereignFQDN": "omantel.omani.works",
    "loadBalancerIP": "192.0.2.7", "createdBy": "catalyst@openova.io",
}  # fmt: skip


@generations
@pytest.mark.parametrize(
    ("parameters", "valid"),
    [
        (CLAIM, True),
        ({"poolDomain": "omani.works", "subdomain": "a"}, True),
        (CLAIM | {"loadBalancerIP": "2001:db8::7"}, True),
        ({"subdomain": "omantel"}, False),
        ({"poolDomain": "omani.works"}, False),
        (CLAIM | {"subdomain": "a.b"}, False),
        (CLAIM | {"subdomain": "Omantel"}, False),
        (CLAIM | {"subdomain": "1omantel"}, False),
        (CLAIM | {"subdomain": "a" * 64}, False),
        (CLAIM | {"createdBy": "{{ token:kube-system:token }}"}, False),
        (CLAIM | {"createdBy": "x" * 201}, False),
        (CLAIM | {"loadBalancerIP": "192.0.2.7/../x"}, False),
        (CLAIM | {"poolDomain": "omani.works?owner=me#"}, False),
    ],
)
def test_manifests_of_today(generation: str, parameters: dict[str, str], valid: bool) -> None:
    """A claim as it is in the field passes the schema; what could be more than a name does not."""
    found = list(jsonschema.Draft7Validator(schema_of(generation)).iter_errors({"spec": {"parameters": parameters}}))
    assert (found == []) == valid, found


def test_kinds_of_today() -> None:
    """Group, version and the kind that users write are the same in both generations."""
    for generation in VALUES:
        definition = one(rendered(generation), "CompositeResourceDefinition")["spec"]
        assert definition["group"] == "compose.openova.io"
        assert [version["name"] for version in definition["versions"]] == ["v1alpha1"]
        written = definition["claimNames"] if generation == "v1" else definition["names"]
        assert written == {"kind": "DynadotPoolAllocation", "plural": "dynadotpoolallocations"}
        kind = one(rendered(generation), "Composition")["spec"]["compositeTypeRef"]["kind"]
        assert kind == definition["names"]["kind"]


def test_off_by_default() -> None:
    """Without being asked for, nothing of Crossplane is made."""
    kinds = {each["kind"] for each in render("pool-domain-manager", CI / "defaults-values.yaml")}
    assert not kinds & {"CompositeResourceDefinition", "Composition"}


@generations
def test_composed_request_is_valid(generation: str) -> None:
    """The Request of a full claim has no field that provider-http does not know."""
    composition = one(rendered(generation), "Composition")
    request = composed(composition, resource(generation, **CLAIM))
    assert problems([request]) == []
    at = "https://pdm.example" if generation == "v2" else "http://pdm-pool-domain-manager.pdm.svc:8080"
    payload = request["spec"]["forProvider"]["payload"]
    assert payload["baseUrl"] == f"{at}/v1/allocations/omantel.omani.works?owner=tenants/omantel"
    assert json.loads(payload["body"]) == CLAIM
    assert "authorization" not in json.dumps(request).lower()


def test_resource_without_a_claim() -> None:
    """In v1 a resource may be made without a claim; it is an owner of its own, that no claim can be."""
    composition = one(rendered("v1"), "Composition")
    direct = resource("v1", **CLAIM)
    del direct["metadata"]["labels"]
    url = composed(composition, direct)["spec"]["forProvider"]["payload"]["baseUrl"]
    assert url.endswith("?owner=-/omantel-x7k2p")


# --- what it does ----------------------------------------------------------------------------


@generations
def test_life_of_a_resource(generation: str, service: Service, powerdns: PowerDNS) -> None:
    """Held without an address and not ready; published with one; followed when it changes; removed."""
    subdomain = name()
    what = {"poolDomain": service.pool, "subdomain": subdomain, "sovereignFQDN": "omantel.example", "createdBy": "ünï"}
    one_resource = resource(generation, **what)
    controller = Controller(service, one(rendered(generation), "Composition"), one_resource)
    assert controller.reconcile() == "CREATE"
    assert controller.reconcile() == "nothing"
    assert not controller.ready()
    assert controller.status() == {"state": "reserved", "fqdn": f"{subdomain}.{service.pool}"}
    for address in ("192.0.2.31", "192.0.2.32", "2001:db8::33"):
        one_resource["spec"]["parameters"]["loadBalancerIP"] = address
        assert controller.reconcile() == "UPDATE"
        eventually(controller.ready, 15)
        assert controller.reconcile() == "nothing"
        rtype = "AAAA" if ":" in address else "A"
        assert records(powerdns.dns_port, f"console.{subdomain}.{service.pool}", rtype) == [address]
    del one_resource["spec"]["parameters"]["createdBy"]
    assert controller.reconcile() == "nothing"
    one_resource["spec"]["parameters"]["createdBy"] = ""
    assert controller.reconcile() == "UPDATE"
    assert controller.reconcile() == "nothing"
    assert controller.status()["state"] == "active"
    assert controller.send("REMOVE").status_code in {200, 202}
    eventually(lambda: controller.send("OBSERVE").status_code == 404, 15)
    assert records(powerdns.dns_port, f"console.{subdomain}.{service.pool}", "AAAA") == []


@generations
def test_resource_of_another_claim(generation: str, service: Service) -> None:
    """A second claim of the same name is never ready, and its removal takes nothing away."""
    what = {"poolDomain": service.pool, "subdomain": name(), "loadBalancerIP": "192.0.2.34"}
    composition = one(rendered(generation), "Composition")
    first = Controller(service, composition, resource(generation, **what))
    second = Controller(service, composition, resource(generation, claim="late", **what))
    eventually(first.ready, 15)
    assert second.reconcile() == "CREATE"
    assert not second.ready()
    assert second.status() == {}
    assert second.send("REMOVE").status_code == 404
    assert first.ready()


def test_not_ready_before_dns_is(service: Service, powerdns: PowerDNS) -> None:
    """While DNS is not written the Request is Ready to provider-http, but the resource is not."""
    what = {"poolDomain": service.pool, "subdomain": name(), "loadBalancerIP": "192.0.2.35"}
    controller = Controller(service, one(rendered("v1"), "Composition"), resource("v1", **what))
    eventually(controller.ready, 15)
    service.execute(
        f"UPDATE allocations SET dns_state = 'pending', due_at = now() + '1 h' WHERE subdomain = '{what['subdomain']}'"
    )
    assert not controller.ready()
    assert controller.status()["state"] == "publishing"


def documented(kind: str) -> dict[str, Any]:
    """The object of a kind that the document shows."""
    text = (ROOT / "docs" / "crossplane.md").read_text()
    shown = [yaml.safe_load(each) for each in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    return one([each for each in shown if "kind" in each], kind)


@generations
def test_documented_provider_config(generation: str) -> None:
    """The ProviderConfig of the document, with v2's kind as its comments say, is valid and the one of the chart's defaults."""
    shown = documented("ProviderConfig")
    if generation == "v2":
        shown |= {"apiVersion": "http.m.crossplane.io/v1alpha2", "kind": "ClusterProviderConfig"}
    assert problems([shown]) == []
    values = CI / "defaults-values.yaml"
    composition = one(
        render("pool-domain-manager", values, crossplane={"enabled": True, "apiGeneration": generation}), "Composition"
    )
    reference = composed(composition, resource(generation, **CLAIM))["spec"]["providerConfigRef"]
    assert {"kind": "ProviderConfig", **reference} == {"kind": shown["kind"], "name": shown["metadata"]["name"]}


@generations
def test_documented_claim(generation: str) -> None:
    """The claim that the document shows passes the schema of both generations."""
    claim = documented("DynadotPoolAllocation")
    assert claim["apiVersion"] == "compose.openova.io/v1alpha1"
    jsonschema.Draft7Validator(schema_of(generation)).validate(claim)

"""OVHcloud, as its published schema and its clients have it."""

import hashlib
import json
import re
import time
from typing import Any

import dns.dnssec
import dns.rdata

from adapters.base import Registrar
from adapters.conformance.played import Answer, Domain, Seen, Server, Wrong
from adapters.http import Http
from adapters.ovh import Ovh as Adapter

RULES = [{"method": method, "path": "/*"} for method in ("GET", "POST", "PUT", "DELETE")]


class Ovh(Server):
    token = "applic4tionkey01:applicationsecret0123456789abcdef:c0nsumerkey0123456789abcdef"
    wrong_token = "applic4tionkey01:wrongsecretwrongsecretwrongsecret:c0nsumerkey0123456789abcdef"
    malformed = ("", "a", "a:b", "applic4tionkey01:applicationsecret", "applic4tionkey01::c0nsumerkey01", "applic4tion key:s3cr3ts3cr3t:c0nsumerkey01",
                 "applic4tionkey01:s3cr3ts3cr3t:c0nsumerkey01:more", "äpplic4tionkey:s3cr3ts3cr3t:c0nsumerkey01")  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 3600
        """Seconds by which this registrar's clock is ahead."""
        self.status = "validated"
        self.rules: list[dict[str, str]] = list(RULES)
        self.allowed: list[str] | None = None
        """The addresses that the credential is taken from."""
        self.tasks: dict[int, dict[str, Any]] = {}
        self.vanishing: set[str] = set()
        """Nameservers that are gone between the list and the look at them, once."""

    @property
    def url(self) -> str:
        return f"{super().url}/1.0"

    def adapter(self, http: Http) -> Registrar:
        return Adapter(http, self.url)

    def is_write(self, seen: Seen) -> bool:
        return seen.method != "GET"

    def is_change(self, seen: Seen) -> bool:
        return seen.path.endswith("/nameServers/update")

    def refusals(self, words: str = "Some words") -> list[Answer]:
        classes = [
            (400, "Client::Odd"),
            (404, "Client::Odd"),
            (405, "Client::MethodNotAllowed"),
            (423, "Client::Locked"),
        ]
        return [_error(status, **{"class": kind, "message": words}) for status, kind in classes]

    def answer(self, seen: Seen) -> Answer:
        if not seen.path.startswith("/1.0/"):
            raise Wrong(seen.path)
        path = seen.path.removeprefix("/1.0")
        if (seen.method, path) == ("GET", "/auth/time"):
            return _json(int(time.time()) + self.ahead)
        if (refusal := self.signature(seen)) is not None:
            return refusal
        if (seen.method, path) == ("GET", "/auth/currentCredential"):
            body = {"credentialId": 1, "applicationId": 2, "status": self.status, "rules": self.rules, "allowedIPs": self.allowed,
                    "expiration": None, "creation": "2026-01-01T00:00:00+00:00", "ovhSupport": False}  # fmt: skip
            return _json(body)
        if not any(one["method"] == seen.method and _matches(one["path"], path) for one in self.rules):
            return _error(403, errorCode="NOT_GRANTED_CALL", message="This call has not been granted")
        return self.route(seen, path)

    def signature(self, seen: Seen) -> Answer | None:
        """Check the four headers by the documents, apart from the adapter's code."""
        application, secret, consumer = self.token.split(":")
        told = {
            name: seen.headers.get(f"x-ovh-{name}", "")
            for name in ("application", "consumer", "timestamp", "signature")
        }
        if not all(told.values()):
            raise Wrong(f"headers {told}")
        if told["application"] != application:
            return _error(403, errorCode="INVALID_KEY", message="This application key is invalid")
        if told["consumer"] != consumer:
            return _error(403, errorCode="INVALID_CREDENTIAL", message="This credential is not valid")
        url = f"http://{seen.headers['host']}{seen.target}"
        text = f"{secret}+{consumer}+{seen.method}+{url}+{seen.body.decode()}+{told['timestamp']}"
        right = "$1$" + hashlib.sha1(text.encode()).hexdigest() == told["signature"]
        if not right or abs(int(told["timestamp"]) - time.time() - self.ahead) > 30:
            return _error(400, errorCode="INVALID_SIGNATURE", message="Invalid signature")
        return None

    def route(self, seen: Seen, path: str) -> Answer:
        match = re.fullmatch(r"/domain/([^/]+)(/.*)?", path)
        if match is None:
            raise Wrong(path)
        name, rest = match[1], match[2] or ""
        domain = self.domains.get(name)
        if domain is None:
            return _error(404, **{"class": "Client::NotFound", "message": "This service does not exist"})
        if seen.body and seen.headers.get("content-type") != "application/json":
            raise Wrong("content type")
        body = json.loads(seen.body) if seen.body else None
        return (
            self._ask(name, domain, rest, seen) if seen.method == "GET" else self._tell(name, domain, rest, seen, body)
        )

    def _ask(self, name: str, domain: Domain, rest: str, seen: Seen) -> Answer:
        leaf = rest.rpartition("/")[2]
        if rest == "":
            facts = {
                "nameServerType": "external",
                "dnssecSupported": True,
                "hostSupported": True,
                "transferLockStatus": "locked",
            }
            return _json({"domain": name, "offer": "gold", **facts, **domain.facts})
        if (found := re.fullmatch(r"/glueRecord/([^/]+)", rest)) is not None:
            if found[1] not in self.glue:
                return _error(404, **{"class": "Client::NotFound", "message": "The requested object does not exist"})
            return _json({"host": found[1], "ips": self.glue[found[1]]})
        if rest == "/nameServer":
            return _json([100 + index for index in range(len(self._listed(name, domain)))])
        if re.fullmatch(r"/nameServer/\d+", rest):
            return self._nameserver(name, domain, int(leaf))
        if rest == "/dsRecord":
            return _json([200 + index for index in range(len(domain.ds))])
        if re.fullmatch(r"/dsRecord/\d+", rest):
            record = domain.ds[int(leaf) - 200]["key"]
            return _json({"id": int(leaf), "status": "published", **record})
        if rest == "/task":
            if set(seen.query) != {"function", "status"}:
                raise Wrong(f"query {seen.query}")
            wanted = seen.query.items()
            return _json(
                [
                    identity
                    for identity, task in self.tasks.items()
                    if wanted <= task.items() and task["_domain"] == name
                ]
            )
        if re.fullmatch(r"/task/\d+", rest):
            return (
                _json(self.tasks[int(leaf)])
                if int(leaf) in self.tasks and self.tasks[int(leaf)]["_domain"] == name
                else _error(404, **{"class": "Client::NotFound", "message": "x"})
            )
        raise Wrong(rest)

    def _listed(self, name: str, domain: Domain) -> list[str]:
        """All that are listed: while OVH carries a change out, those that it is about as well."""
        doing = [one for one in self.tasks.values() if (one["_domain"], one["status"]) == (name, "doing")]
        wanted = [host for one in doing if one["function"] == "DomainDnsUpdate" for host in one["_wanted"]]
        return domain.nameservers + [host for host in wanted if host not in domain.nameservers]

    def _nameserver(self, name: str, domain: Domain, identity: int) -> Answer:
        listed = self._listed(name, domain)
        host = listed[identity - 100]
        if host in self.vanishing:
            self.vanishing.discard(host)
            domain.nameservers.remove(host)
            return _error(404, **{"class": "Client::NotFound", "message": "The requested object does not exist"})
        used = host in domain.nameservers
        going = host.startswith("going.") or (used and len(listed) > len(domain.nameservers))
        return _json({"id": identity, "host": host, "ip": None, "isUsed": used, "toDelete": going})

    def _tell(self, name: str, domain: Domain, rest: str, seen: Seen, body: Any) -> Answer:
        if (seen.method, rest) == ("PUT", ""):
            if body != {"nameServerType": "external"}:
                raise Wrong(f"body {body}")
            domain.facts["nameServerType"] = "external"
            return _json(None)
        if (seen.method, rest) == ("POST", "/nameServers/update"):
            hosts = [one["host"] for one in body["nameServers"]]
            if set(body) != {"nameServers"} or any(
                set(one) != {"host"} or one["host"].endswith(".") for one in body["nameServers"]
            ):
                raise Wrong(f"body {body}")
            if domain.facts.get("nameServerType") == "hosted":
                return _error(400, **{"class": "Client::BadRequest", "message": "Nameservers are hosted"})
            return self._task(name, "DomainDnsUpdate", hosts)
        if (seen.method, rest) == ("POST", "/glueRecord"):
            if set(body) != {"host", "ips"} or body["host"] in self.glue:
                raise Wrong(f"body {body}")
            return self._task(name, "DomainHostCreate", [body["host"], body["ips"]])
        if (found := re.fullmatch(r"/glueRecord/([^/]+)/update", rest)) is not None and seen.method == "POST":
            if set(body) != {"ips"} or found[1] not in self.glue:
                raise Wrong(f"body {body}")
            return self._task(name, "DomainHostUpdate", [found[1], body["ips"]])
        if (seen.method, rest) == ("POST", "/dsRecord"):
            if set(body) != {"keys"} or any(
                set(key) != {"algorithm", "flags", "publicKey", "tag"} for key in body["keys"]
            ):
                raise Wrong(f"body {body}")
            return self._task(name, "DomainDsUpdate", [{"key": key, **_digest(name, key)} for key in body["keys"]])
        raise Wrong(f"{seen.method} {rest}")

    def _task(self, name: str, function: str, wanted: list[Any]) -> Answer:
        if any(
            task["_domain"] == name and task["function"] == function and task["status"] in {"todo", "doing"}
            for task in self.tasks.values()
        ):
            return _error(409, **{"class": "Client::Conflict", "message": "A task is in progress"})
        identity = 414283126 + len(self.tasks)
        self.tasks[identity] = {
            "id": identity, "function": function, "status": "todo", "comment": None, "canCancel": True, "canRelaunch": False,
            "canAccelerate": False, "todoDate": "2026-01-01T00:00:00+00:00", "doneDate": None, "_domain": name, "_wanted": wanted,
        }  # fmt: skip
        if self.instant:
            self.settle()
        return _json(self.tasks[identity])

    def begin(self) -> None:
        for task in self.tasks.values():
            task["status"] = "doing"

    def settle(self) -> None:
        for task in self.tasks.values():
            if task["status"] in {"todo", "doing"}:
                task["status"] = "done"
                domain = self.domains[task["_domain"]]
                if task["function"] == "DomainDnsUpdate":
                    domain.nameservers = list(task["_wanted"])
                elif task["function"] in {"DomainHostCreate", "DomainHostUpdate"}:
                    self.glue[task["_wanted"][0]] = task["_wanted"][1]
                else:
                    domain.ds = list(task["_wanted"])


def _digest(name: str, key: dict[str, Any]) -> dict[str, Any]:
    rdata = dns.rdata.from_text("IN", "DNSKEY", f"{key['flags']} 3 {key['algorithm']} {key['publicKey']}")
    ds = dns.dnssec.make_ds(f"{name}.", rdata, "SHA256")
    if ds.key_tag != key["tag"]:
        raise Wrong(f"tag {key['tag']} of a key with {ds.key_tag}")
    return {"key_tag": ds.key_tag, "algorithm": int(ds.algorithm), "digest_type": 2, "digest": ds.digest.hex()}


def _matches(rule: str, path: str) -> bool:
    return re.fullmatch(re.escape(rule).replace(r"\*", ".*"), path) is not None


def _json(body: Any) -> Answer:
    if isinstance(body, dict):
        body = {key: value for key, value in body.items() if not key.startswith("_")}
    return Answer(200, json.dumps(body).encode(), {"X-OVH-QUERYID": "EU.ext-1.abc"})


def _error(status: int, **body: str) -> Answer:
    return Answer(status, json.dumps({"httpCode": f"{status} X", **body}).encode())

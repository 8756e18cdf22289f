"""GoDaddy, as its published descriptions have it: v3 with a personal access token, v1 with a classic key."""

import json
import re
import uuid
from typing import Any

from adapters.base import Registrar
from adapters.conformance.played import Answer, Domain, Seen, Server, Wrong
from adapters.godaddy import GoDaddy as Adapter
from adapters.http import Http

_HOST = re.compile(r"(?=.{3,253}$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]+")


class GoDaddy(Server):
    can_set = None

    def adapter(self, http: Http) -> Registrar:
        return Adapter(http, self.url)

    def is_write(self, seen: Seen) -> bool:
        return seen.method != "GET"

    def authorization(self) -> str:
        raise NotImplementedError

    def limited(self, delay: int) -> Answer:
        return _json(429, {"code": "TOO_MANY_REQUESTS", "message": "Too many requests", "retryAfterSec": delay})

    def occupied(self) -> Answer:
        return _json(422, {"code": "INVALID_BODY", "message": "Resource is being used in another request"})

    def refusals(self, words: str = "Some words") -> list[Answer]:
        more = {"correlationId": "c", "message": words, "details": []}
        names = [
            (404, "NO_SUCH_THING"),
            (404, "RESOURCE_NOT_FOUND"),
            (405, "ODD"),
            (412, "Some Name"),
            (422, "NEW_RULE"),
        ]
        found = [_json(status, {member: name, **more}) for status, name in names for member in ("code", "name")]
        return [*found, _json(410, more)]

    def answer(self, seen: Seen) -> Answer:
        if seen.query or seen.headers.get("accept") != "application/json":
            raise Wrong(f"{seen.target} {seen.headers.get('accept')}")
        if seen.headers.get("authorization") != self.authorization():
            return _json(401, {"code": "UNABLE_TO_AUTHENTICATE", "message": "Unauthorized : Could not authenticate"})
        return self.route(seen)

    def route(self, seen: Seen) -> Answer:
        raise NotImplementedError

    def hosts(self, seen: Seen, found: Any) -> list[str]:
        if seen.headers.get("content-type") != "application/json":
            raise Wrong("content type")
        if not isinstance(found, list) or not 2 <= len(found) <= 13 or not all(map(_HOST.fullmatch, found)):
            raise Wrong(f"nameservers {found}")
        return found


class ByToken(GoDaddy):
    """The newer platform, v3."""

    token = "gd_pat_0123456789abcdefTOKEN"
    wrong_token = "gd_pat_wrongwrongwrongwrong"
    malformed = (
        "",
        "gd_pat_",
        "gd_pat_with a blank in it",
        "gd_pat_ünicode0123456789",
        "gd_pat_abc:defdefdefdef",
    )

    def __init__(self) -> None:
        super().__init__()
        self.operations: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, tuple[str, list[str], str]] = {}
        """Of each key what it was sent with, and the operation: a repeat is told of the same one."""

    def authorization(self) -> str:
        return f"Bearer {self.token}"

    def route(self, seen: Seen) -> Answer:
        match = re.fullmatch(r"/v3/domains/(domain-names|operations)/([^/]+)(/nameservers)?", seen.path)
        if match is None or (seen.method, match[3]) not in {("GET", None), ("PUT", "/nameservers")}:
            raise Wrong(f"{seen.method} {seen.path}")
        if match[1] == "operations":
            found = self.operations.get(match[2])
            return _json(200, found) if found else _json(404, {"name": "NOT_FOUND", "message": "No such operation"})
        domain = self.domains.get(match[2])
        if domain is None:
            return _json(404, {"name": "NOT_FOUND", "correlationId": "c", "message": "Domain not found", "details": []})
        return self._get(match[2], domain) if seen.method == "GET" else self._put(match[2], domain, seen)

    def _get(self, name: str, domain: Domain) -> Answer:
        body = {"domain": name, "status": "ACTIVE", "transferLock": True, "nameServers": domain.nameservers,
                "expiresAt": "2030-01-01T00:00:00Z", **domain.facts}  # fmt: skip
        return _json(200, body)

    def _put(self, name: str, domain: Domain, seen: Seen) -> Answer:
        key = seen.headers.get("idempotency-key", "")
        hosts = self.hosts(seen, json.loads(seen.body))
        if not 16 <= len(key) <= 64 or self.keys.get(key, (seen.target, hosts))[:2] != (seen.target, hosts):
            raise Wrong(f"idempotency key {key}")
        if key in self.keys:
            return _json(202, self.operations[self.keys[key][2]], {"Retry-After": "5"})
        identity = uuid.uuid4().hex
        where = f"{self.url}/v3/domains/operations/{identity}"
        self.operations[identity] = {
            "operationId": identity, "type": "DOMAIN_NAME_SERVER_UPDATE", "domain": name, "status": "CONFIRMED",
            "links": [{"rel": "self", "href": where}], "_hosts": hosts,
        }  # fmt: skip
        self.keys[key] = seen.target, hosts, identity
        if self.instant:
            self.settle()
        return _json(202, self.operations[identity], {"Location": where, "Retry-After": "5"})

    def begin(self) -> None:
        for operation in self.operations.values():
            operation["status"] = "EXECUTING"

    def settle(self) -> None:
        for operation in self.operations.values():
            if operation["status"] in {"CONFIRMED", "EXECUTING"}:
                operation["status"] = "COMPLETED"
                self.domains[operation["domain"]].nameservers = list(operation["_hosts"])


class ByKey(GoDaddy):
    """The classic API, v1."""

    token = "k3yk3yk3yk3yk3y:s3cr3ts3cr3ts3cr3t"
    wrong_token = "k3yk3yk3yk3yk3y:wrongwrongwrong"
    malformed = (
        "",
        "key",
        "keykeykeykey:",
        ":secretsecret",
        "keykeykey:secret secret",
        "keykeykey:secretsecret:more",
        "kéykeykey:secretsecret",
    )
    asynchronous = False

    def __init__(self) -> None:
        super().__init__()
        self.lazy = False
        """Whether the old set is told for a while after a change."""

    def authorization(self) -> str:
        return f"sso-key {self.token}"

    def route(self, seen: Seen) -> Answer:
        match = re.fullmatch(r"/v1/domains/([^/]+)", seen.path)
        if match is None or seen.method not in {"GET", "PATCH"}:
            raise Wrong(f"{seen.method} {seen.path}")
        domain = self.domains.get(match[1])
        if domain is None:
            return _json(404, {"code": "NOT_FOUND", "message": f"Domain {match[1]} not found for shopper"})
        if seen.method == "GET":
            body = {"domain": match[1], "domainId": 1, "status": "ACTIVE", "nameServers": domain.nameservers, "locked": True,
                    "authCode": "marked-auth-code", "contactAdmin": {"email": "marked@customer.test"}, **domain.facts}  # fmt: skip
            return _json(203 if "partial" in domain.facts else 200, body)
        body = json.loads(seen.body)
        if set(body) != {"nameServers"}:
            raise Wrong(f"body {body}")
        hosts = self.hosts(seen, body["nameServers"])
        if not self.lazy:
            domain.nameservers = hosts
        return Answer(204)


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> Answer:
    if isinstance(body, dict):
        body = {key: value for key, value in body.items() if not key.startswith("_")}
    return Answer(status, json.dumps(body).encode(), headers or {})

"""Gandi, as its documents and its clients have it."""

import json
import re
from typing import Any

import dns.dnssec
import dns.rdata

from adapters.base import Registrar
from adapters.conformance.played import Answer, Seen, Server, Wrong
from adapters.http import Http
from pdm_registrar_gandi import Gandi

_HOST = re.compile(r"([a-z0-9-]+\.)+[a-z0-9-]+")
_LISTS = ("/v5/domain/domains", "GET")


class PlayedGandi(Server):
    token = "pat_0123456789abcdef0123456789abcdef"
    wrong_token = "pat_wrongwrongwrongwrongwrongwrong"
    malformed = ("", "short", "a b" * 10, "ü" * 20, "0123456789:0123456789")
    can_set = None
    limit_has_delay = False

    def __init__(self) -> None:
        super().__init__()
        self.others = {"foreign.net"}
        """Domains that Gandi has, and this token must not see."""
        self.may_change = True
        self.expired = False
        self.waiting: dict[str, list[str]] = {}
        """Nameservers that were taken, and are not at the registry yet."""

    @property
    def url(self) -> str:
        return f"{super().url}/v5"

    def adapter(self, http: Http) -> Registrar:
        return Gandi(http, self.url)

    def is_write(self, seen: Seen) -> bool:
        return seen.method != "GET"

    def limited(self, delay: int) -> Answer:
        return _failure(429, "Too Many Requests")

    def refusals(self, words: str = "Some words") -> list[Answer]:
        return [_failure(status, "Odd", words) for status in (404, 405, 410, 412, 422)]

    def answer(self, seen: Seen) -> Answer:
        scheme, _, token = seen.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise Wrong("no Bearer token")
        if token != self.token:
            return _failure(401, "Unauthorized")
        if self.expired:
            return _failure(403, "Forbidden")
        if (seen.path, seen.method) == _LISTS:
            if set(seen.query) != {"fqdn"}:
                raise Wrong(f"query {seen.query}")
            return _json(200, [{"fqdn": name, "id": "1"} for name in self.domains if name == seen.query["fqdn"]])
        return self.of_a_domain(seen)

    def of_a_domain(self, seen: Seen) -> Answer:
        found = re.fullmatch(r"/v5/domain/domains/([a-z0-9.-]+)(?:/([a-z]+)(?:/([0-9]+))?)?", seen.path)
        if found is None or seen.query:
            raise Wrong(seen.target)
        name, what, key = found.groups()
        if name in self.others:
            return _failure(403, "Forbidden")
        if name not in self.domains:
            return _failure(404, "Not Found")
        if seen.write and not self.may_change:
            return _failure(403, "Forbidden")
        match seen.method, what, key:
            case "GET", None, None:
                return _json(200, self.details(name))
            case "PUT", "nameservers", None:
                return self.set_nameservers(name, self.body(seen))
            case "GET", "dnskeys", None:
                return _json(200, self.domains[name].ds)
            case "POST", "dnskeys", None:
                return self.add_key(name, self.body(seen))
            case "DELETE", "dnskeys", str():
                return self.delete_key(name, int(key))
        raise Wrong(f"{seen.method} {seen.path}")

    def body(self, seen: Seen) -> dict[str, Any]:
        if seen.headers.get("content-type") != "application/json":
            raise Wrong("content type")
        return json.loads(seen.body)

    def details(self, name: str) -> dict[str, Any]:
        domain = self.domains[name]
        return {
            "fqdn": name, "fqdn_unicode": name, "id": "1", "tld": name.partition(".")[2], "services": ["dnssec"],
            "status": [], "nameservers": domain.nameservers, "authinfo": "tr4nsf3r", **domain.facts,
        }  # fmt: skip

    def set_nameservers(self, name: str, body: dict[str, Any]) -> Answer:
        if set(body) != {"nameservers"} or not all(_HOST.fullmatch(host) for host in body["nameservers"]):
            raise Wrong(f"body {body}")
        if any("unknown" in host for host in body["nameservers"]):
            wrong = {"location": "body", "name": "nameservers", "description": "invalid nameserver"}
            return _json(400, {"status": "error", "errors": [wrong]})
        self.waiting[name] = body["nameservers"]
        if self.instant:
            self.settle()
        return _json(202, {"message": "The nameservers update has been launched."})

    def add_key(self, name: str, body: dict[str, Any]) -> Answer:
        if set(body) != {"algorithm", "type", "public_key"} or body["type"] != "ksk":
            raise Wrong(f"body {body}")
        key = dns.rdata.from_text("IN", "DNSKEY", f"257 3 {body['algorithm']} {body['public_key']}")
        ds = dns.dnssec.make_ds(f"{name}.", key, "SHA256")
        keys = self.domains[name].ds
        number = 1 + max((one["id"] for one in keys), default=0)
        keys.append({**body, "id": number, "keytag": ds.key_tag, "digest_type": 2, "digest": ds.digest.hex().upper()})
        return _json(202, {"message": "The dnskey is being created."})

    def delete_key(self, name: str, number: int) -> Answer:
        keys = self.domains[name].ds
        if number not in {one["id"] for one in keys}:
            return _failure(404, "Not Found")
        self.domains[name].ds = [one for one in keys if one["id"] != number]
        return _json(202, {"message": "The dnskey is being deleted."})

    def settle(self) -> None:
        for name, hosts in self.waiting.items():
            self.domains[name].nameservers = list(hosts)
        self.waiting = {}


def _json(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body).encode())


def _failure(status: int, cause: str, words: str = "in Gandi's words") -> Answer:
    return _json(status, {"code": status, "message": words, "object": f"HTTP{cause}", "cause": cause})

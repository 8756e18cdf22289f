"""Cloudflare, as its published client library and documents have it."""

import json
import math
from typing import Any

from adapters.base import Registrar
from adapters.cloudflare import Cloudflare as Adapter
from adapters.conformance.played import Answer, Domain, Seen, Server, Wrong
from adapters.http import Http

ACCOUNT = "acc0123456789"
_PER_PAGE = 20


class Cloudflare(Server):
    token = "t0kent0kent0kent0kent0kent0kent0kent0ken"
    wrong_token = "wrongwrongwrongwrongwrongwrongwrongwrong"
    malformed = ("", "two words", 'quo"ted', "ümlaut", "0123456789abcdef0123456789abcdef01234", "x" * 300, "Bearer abc")
    can_set = False

    def __init__(self) -> None:
        super().__init__()
        self.status = "active"
        self.of_account = False
        """Whether an account owns the token, though its prefix does not say so."""
        self.zones_allowed = self.registrar_allowed = True
        self.elsewhere: set[str] = set()
        """Domains with a zone here that are registered elsewhere."""
        self.others: dict[str, list[str]] = {}
        """Nameservers that zones of the domain in other accounts have: by account."""
        self.similar = 0
        """How many other zones a look for a name finds besides."""

    @property
    def url(self) -> str:
        return f"{super().url}/client/v4"

    def adapter(self, http: Http) -> Registrar:
        return Adapter(http, self.url)

    def is_write(self, seen: Seen) -> bool:
        return seen.method != "GET"

    def limited(self, delay: int) -> Answer:
        return error(429, 10429, "Too many requests", {"Retry-After": str(delay)})

    def answer(self, seen: Seen) -> Answer:
        path = seen.path.removeprefix("/client/v4")
        if seen.method != "GET" or path == seen.path or seen.body:
            raise Wrong(f"{seen.method} {seen.path}")
        authorization = seen.headers.get("authorization", "")
        if not authorization.startswith("Bearer ") or "x-auth-key" in seen.headers:
            raise Wrong(f"headers {seen.headers}")
        if path == "/user/tokens/verify":
            return self._verify(authorization)
        if authorization != f"Bearer {self.token}":
            return error(401, 10000, "Authentication error")
        if path == "/zones":
            return self._zones(seen)
        parts = path.strip("/").split("/")
        if parts[:1] + parts[2:] == ["zones", "dnssec"]:
            return self._dnssec(parts[1])
        if parts[:4] == ["accounts", ACCOUNT, "registrar", "registrations"] and len(parts) == 5:
            return self._registration(parts[4])
        if parts[:1] + parts[2:4] == ["accounts", "registrar", "registrations"] and parts[1] in self.others:
            return error(404, 1001, "Domain not found")
        raise Wrong(path)

    def _verify(self, authorization: str) -> Answer:
        if authorization != f"Bearer {self.token}" or self.of_account or self.token.startswith("cfat_"):
            return error(401, 1000, "Invalid API Token")
        body = {"id": "t", "status": self.status, "not_before": "2026-01-01T00:00:00Z"}
        return ok(body, messages=[{"code": 10000, "message": "This API Token is valid and active", "type": None}])

    def _zones(self, seen: Seen) -> Answer:
        if not set(seen.query) <= {"name", "page"} or "name" not in seen.query:
            raise Wrong(f"query {seen.query}")
        if not self.zones_allowed or self.status != "active":
            return error(403, 10000, "Authentication error")
        name = seen.query["name"]
        found = [self.zone(f"x{index}-{name}", Domain()) for index in range(self.similar)]
        if name in self.domains:
            found += [self.zone(name, Domain(hosts), account) for account, hosts in self.others.items()]
            found.append(self.zone(name, self.domains[name]))
        page = int(seen.query.get("page", "1"))
        some = found[(page - 1) * _PER_PAGE : page * _PER_PAGE]
        info = {"page": page, "per_page": _PER_PAGE, "count": len(some), "total_count": len(found),
                "total_pages": math.ceil(len(found) / _PER_PAGE)}  # fmt: skip
        return ok(some, result_info=info)

    def zone(self, name: str, domain: Domain, account: str = ACCOUNT) -> dict[str, Any]:
        return {
            "id": f"zone-{name}" if account == ACCOUNT else f"zone-of-{account}", "name": name, "status": "active", "type": "full", "paused": False, "development_mode": 0,
            "name_servers": domain.nameservers, "original_name_servers": None, "original_registrar": "x", "original_dnshost": None,
            "account": {"id": account, "name": "n"}, "owner": {"id": None, "type": "user", "name": None},
            "plan": {"id": "free", "name": "Free"}, "meta": {"step": 2, "custom_certificate_quota": 0}, "permissions": ["#zone:read", "#dns_records:read"],
            "created_on": "2026-01-01T00:00:00Z", "modified_on": "2026-01-01T00:00:00Z", "activated_on": "2026-01-01T00:00:00Z",
        }  # fmt: skip

    def _registration(self, name: str) -> Answer:
        if not self.registrar_allowed:
            return error(403, 10000, "Authentication error")
        if name not in self.domains or name in self.elsewhere:
            return error(404, 1001, "Domain not found")
        return ok({"domain_name": name, "status": "active", "locked": True, "auto_renew": True, "privacy_mode": "redaction",
                   "created_at": "2026-01-01T00:00:00Z", "expires_at": "2030-01-01T00:00:00Z"})  # fmt: skip

    def _dnssec(self, zone: str) -> Answer:
        domain = self.domains.get(zone.removeprefix("zone-"))
        if domain is None:
            return error(404, 7003, "Could not route to that zone")
        if not domain.ds:
            return ok({"status": "disabled", "algorithm": None, "ds": None, "key_tag": None})
        ds = domain.ds[0]
        return ok({
            "status": "active", "flags": 257, "algorithm": str(ds["algorithm"]), "key_type": "ECDSAP256SHA256",
            "digest_type": str(ds["digest_type"]), "digest_algorithm": "SHA256", "digest": ds["digest"].upper(),
            "ds": f"{ds['key_tag']} {ds['algorithm']} {ds['digest_type']} {ds['digest'].upper()}", "key_tag": ds["key_tag"],
            "public_key": "bWFkZSB1cA==", "modified_on": "2026-01-01T00:00:00Z",
        })  # fmt: skip


def ok(result: Any, **more: Any) -> Answer:
    return Answer(200, json.dumps({"success": True, "errors": [], "messages": [], "result": result, **more}).encode())


def error(status: int, code: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    errors = [{"code": code, "message": message, **more}]
    body = {"success": False, "errors": errors, "messages": [], "result": None}
    return Answer(status, json.dumps(body).encode(), headers or {})

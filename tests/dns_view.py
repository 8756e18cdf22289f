"""What DNS says, asked over the wire."""

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.resolver
import httpx

from pdm_service.dev.servers import PowerDNS
from tests.patience import patient


def ask(port: int, name: str, rtype: str, *, recurse: bool = False) -> dns.message.Message:
    """Ask the server at a loopback port; with `recurse` also for validation (RD, DO)."""
    flags = dns.flags.RD if recurse else 0
    query = dns.message.make_query(name, rtype, flags=flags, use_edns=0, want_dnssec=recurse, payload=1232)
    reply, _ = dns.query.udp_with_fallback(query, "127.0.0.1", port=port, timeout=patient(5))
    return reply


def records(port: int, name: str, rtype: str) -> list[str]:
    """The records of that name and type, sorted."""
    reply = ask(port, name, rtype)
    return sorted(
        rdata.to_text() for rrset in reply.answer if rrset.rdtype == dns.rdatatype.from_text(rtype) for rdata in rrset
    )


def secure(port: int, name: str, rtype: str) -> tuple[str, list[str], bool]:
    """(rcode, records, validated) as a validating resolver tells."""
    reply = ask(port, name, rtype, recurse=True)
    found = sorted(
        rdata.to_text() for rrset in reply.answer if rrset.rdtype == dns.rdatatype.from_text(rtype) for rdata in rrset
    )
    return dns.rcode.to_text(reply.rcode()), found, bool(reply.flags & dns.flags.AD)


class Api:
    """PowerDNS's API, as an operator uses it."""

    def __init__(self, powerdns: PowerDNS) -> None:
        self._base = f"{powerdns.api_url}/api/v1/servers/localhost"
        self._headers = {"X-API-Key": powerdns.api_key}

    def _call(self, method: str, path: str, body: object = None) -> httpx.Response:
        return httpx.request(
            method, self._base + path, json=body, headers=self._headers, timeout=patient(20), trust_env=False
        )

    def zone(self, name: str) -> dict | None:
        reply = self._call("GET", f"/zones/{name}.")
        return None if reply.status_code == 404 else reply.raise_for_status().json()

    def metadata(self, name: str) -> dict[str, list[str]]:
        found = self._call("GET", f"/zones/{name}./metadata").raise_for_status().json()
        return {entry["kind"]: entry["metadata"] for entry in found}

    def keys(self, name: str) -> list[dict]:
        return self._call("GET", f"/zones/{name}./cryptokeys").raise_for_status().json()

    def create(self, name: str, **body: object) -> None:
        self._call("POST", "/zones", {"name": f"{name}.", "kind": "Native", **body}).raise_for_status()

    def patch(self, zone: str, *rrsets: dict) -> None:
        self._call("PATCH", f"/zones/{zone}.", {"rrsets": list(rrsets)}).raise_for_status()

    def put(self, zone: str, body: dict) -> None:
        self._call("PUT", f"/zones/{zone}.", body).raise_for_status()

    def delete(self, zone: str) -> None:
        self._call("DELETE", f"/zones/{zone}.")

    def delegations(self, pool: str) -> dict[str, set[str]]:
        """Names below the pool's apex, with the types that stand there."""
        found: dict[str, set[str]] = {}
        for rrset in (self.zone(pool) or {}).get("rrsets", []):
            if rrset["name"] != f"{pool}." and rrset["type"] in {"NS", "DS"}:
                found.setdefault(rrset["name"].removesuffix("."), set()).add(rrset["type"])
        return found


def rrset(name: str, rtype: str, *contents: str, ttl: int = 60) -> dict:
    """An RRset in PowerDNS's words, to replace what is there; without contents to delete it."""
    if not contents:
        return {"name": f"{name}.", "type": rtype, "changetype": "DELETE"}
    found = [{"content": content, "disabled": False} for content in contents]
    return {"name": f"{name}.", "type": rtype, "ttl": ttl, "changetype": "REPLACE", "records": found}

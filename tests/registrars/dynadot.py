"""Dynadot, as its documents and the replies recorded by its clients have it: api3 and REST v2."""

import base64
import hashlib
import hmac
import json
import re
import threading
from typing import Any

from adapters.base import Registrar
from adapters.conformance.played import Answer, Domain, Seen, Server, Wrong
from adapters.dynadot import Dynadot as Adapter
from adapters.http import Http

_HOST = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]+")
_PARAMETERS = {
    "domain_info": {"domain"},
    "add_ns": {"host"},
    "register_ns": {"host", "ip"},
    "set_ns_ip": {"server_id"},
    "server_list": set(),
    "set_ns": {"domain"},
    "get_dnssec": {"domain_name"},
    "set_dnssec": {"domain_name", "key_tag", "digest_type", "digest", "algorithm"},
    "clear_dnssec": {"domain_name"},
}


class Dynadot(Server):
    def __init__(self) -> None:
        super().__init__()
        self.hosts: set[str] = set()
        """Nameservers that the account knows."""
        self.refused: set[str] = set()
        """Nameservers that it takes only with an address, wherever they are."""
        self.busy: dict[str, int] = {}
        self.overlaps = 0
        """How often two requests with one key were under way at the same time."""
        self._counting = threading.Lock()

    def adapter(self, http: Http) -> Registrar:
        return Adapter(http, self.url)

    def counted(self, key: str, seen: Seen) -> Answer:
        with self._counting:
            self.overlaps += self.busy.get(key, 0) > 0
            self.busy[key] = self.busy.get(key, 0) + 1
        try:
            return self.route(seen)
        finally:
            with self._counting:
                self.busy[key] -= 1

    def answer(self, seen: Seen) -> Answer:
        return self.counted(seen.query.get("key") or seen.headers.get("authorization", ""), seen)

    def route(self, seen: Seen) -> Answer:
        raise NotImplementedError

    @staticmethod
    def add(domain: Domain, ds: dict[str, Any]) -> None:
        domain.ds = [one for one in domain.ds if one["key_tag"] != ds["key_tag"]] + [ds]


class Api3(Dynadot):
    """The older API."""

    token = "K3yK3yK3yK3yK3yK3yK3yK3y"
    wrong_token = "wrongwrongwrongwrongwrong"
    malformed = ("", "a b", "ü" * 20, "a:b:c", ":secret", "key:")
    limit_has_delay = False
    asynchronous = False

    def is_write(self, seen: Seen) -> bool:
        return seen.query.get("command") not in {"domain_info", "get_dnssec", "server_list"}

    def is_change(self, seen: Seen) -> bool:
        return seen.query.get("command") == "set_ns"

    def limited(self, delay: int) -> Answer:
        return self.said("Response", Error="Too many requests. Rate limit exceeded.", code="-1")

    def occupied(self) -> Answer:
        return self.said("SetNsResponse", Error="There is another command processing", code="5")

    def refusals(self, words: str = "Some words") -> list[Answer]:
        bare = {"SetNsResponse": {"Status": "error", "Error": words}}
        codes = [
            self.said(root, code=code, Error=words) for root in ("SetNsResponse", "Response") for code in ("-1", 7)
        ]
        return [*codes, Answer(200, json.dumps(bare).encode())]

    def said(self, root: str, *, code: object = 0, **members: Any) -> Answer:
        status = {} if root == "Response" else {"Status": "error" if "Error" in members else "success"}
        return Answer(200, json.dumps({root: {"ResponseCode": code, **status, **members}}).encode())

    def route(self, seen: Seen) -> Answer:
        query = dict(seen.query)
        command = query.pop("command", "")
        if (seen.method, seen.path) != ("GET", "/api3.json") or command not in _PARAMETERS:
            raise Wrong(f"{seen.method} {seen.path} {command}")
        if query.pop("key", None) != self.token:
            return self.said("Response", code="-1", Error="invalid key")
        numbers = {"set_ns": r"ns\d\d?", "set_ns_ip": r"ip\d"}.get(command, "(?!)")
        numbered = {name for name in query if re.fullmatch(numbers, name)}
        if set(query) - numbered != _PARAMETERS[command]:
            raise Wrong(f"parameters of {command}: {sorted(query)}")
        name = query.get("domain") or query.get("domain_name")
        domain = self.domains.get(name or "")
        root = {"register_ns": "RegisterNsResponse", "set_ns_ip": "SetNsIpResponse", "server_list": "ServerListResponse", "add_ns": "AddNsResponse", "set_ns": "SetNsResponse", "domain_info": "DomainInfoResponse", "get_dnssec": "GetDnssecResponse",
                "set_dnssec": "SetDnssecResponse", "clear_dnssec": "ClearDnssecResponse"}[command]  # fmt: skip
        if name and domain is None:
            text = (
                "could not find domain in your account"
                if command == "domain_info"
                else f"could not find {name} in your account"
            )
            return self.said(root, code="-1", Error=text)
        return getattr(self, command)(root, domain, query)

    def domain_info(self, root: str, domain: Domain, query: dict[str, str]) -> Answer:
        servers = [{"ServerId": str(index), "ServerName": host} for index, host in enumerate(domain.nameservers)]
        servers.append({"ServerId": "", "ServerName": ""})
        settings = {"Type": "Name Servers", "WithAds": "no", "NameServers": servers}
        if "Type" in domain.facts:
            settings = {"Type": domain.facts["Type"], "WithAds": "no"}
        info = {"Name": query["domain"], "Expiration": "4102444800000", "NameServerSettings": settings, "Locked": "yes", "Hold": "no",
                "Disabled": "no", "UdrpLocked": "no", "RegistrantUnverified": "no", **domain.facts}  # fmt: skip
        return self.said(root, DomainInfo=info)

    def add_ns(self, root: str, _: Domain | None, query: dict[str, str]) -> Answer:
        host = query["host"]
        if not _HOST.fullmatch(host):
            raise Wrong(f"host {host}")
        if host in self.hosts:
            return self.said(root, code="-1", Error=f"{host} already exists")
        self.hosts.add(host)
        return self.said(root, code="0")

    def server_list(self, root: str, _: Domain | None, __: dict[str, str]) -> Answer:
        found = [{"ServerId": str(number), "ServerName": host} for number, host in enumerate(sorted(self.hosts))]
        return self.said(root, ServerList=found)

    def register_ns(self, root: str, _: Domain | None, query: dict[str, str]) -> Answer:
        host = query["host"]
        if host in self.hosts:
            return self.said(root, code="-1", Error=f"{host} already exists")
        if not any(host.endswith(f".{name}") for name in self.domains):
            return self.said(root, code="-1", Error="could not find the domain in your account")
        self.hosts.add(host)
        self.glue[host] = [query["ip"]]
        return self.said(root, code="0")

    def set_ns_ip(self, root: str, _: Domain | None, query: dict[str, str]) -> Answer:
        self.glue[sorted(self.hosts)[int(query["server_id"])]] = [
            query[f"ip{number}"] for number in range(len(query) - 1)
        ]
        return self.said(root, code="0")

    def set_ns(self, root: str, domain: Domain, query: dict[str, str]) -> Answer:
        hosts = [
            query[name]
            for name in sorted(query, key=lambda name: int(name[2:] or 0) if name != "domain" else -1)
            if name != "domain"
        ]
        if [f"ns{index}" for index in range(len(hosts))] != sorted(
            (name for name in query if name != "domain"), key=lambda name: int(name[2:])
        ):
            raise Wrong(f"numbers {sorted(query)}")
        for host in hosts:
            if host not in self.glue and (host.endswith("." + query["domain"]) or host in self.refused):
                return self.said(
                    root, code="-1", Error=f"'{host}' needs to be registered with an ip address before it can be used."
                )
            if host not in self.hosts:
                return self.said(root, code="-1", Error=f"name server {host} does not exist")
        domain.nameservers = hosts
        return self.said(root)

    def get_dnssec(self, root: str, domain: Domain, _: dict[str, str]) -> Answer:
        records = [{"KeyTag": str(one["key_tag"]), "Algorithm": str(one["algorithm"]), "DigestType": str(one["digest_type"]),
                    "Digest": one["digest"].upper()} for one in domain.ds]  # fmt: skip
        return self.said(root, GetDnssecContent={"DnssecRecord": records})

    def set_dnssec(self, root: str, domain: Domain, query: dict[str, str]) -> Answer:
        numbers = {name: int(query[name]) for name in ("key_tag", "algorithm", "digest_type")}
        self.add(domain, {**numbers, "digest": query["digest"]})
        return self.said(root, code="0")

    def clear_dnssec(self, root: str, domain: Domain, _: dict[str, str]) -> Answer:
        domain.ds = []
        return self.said(root)


class Rest(Dynadot):
    """REST v2."""

    token = "K3yK3yK3yK3yK3yK3y:S3cr3tS3cr3tS3cr3t"
    wrong_token = "wrongwrongwrongwrong:S3cr3tS3cr3tS3cr3t"
    malformed = ("", "a b:c", "k:ü", "a:b:c", ":secret", "key:")

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[str, list[str]]] = []
        self.ids: set[str] = set()

    def is_write(self, seen: Seen) -> bool:
        return seen.method != "GET"

    def is_change(self, seen: Seen) -> bool:
        return seen.method == "PUT" and seen.path.endswith("/nameservers")

    def route(self, seen: Seen) -> Answer:
        key, secret = self.token.split(":")
        match = re.fullmatch(r"/restful/v2/domains/([^/]+)(?:/(nameservers|dnssec))?", seen.path)
        match = match or re.fullmatch(r"/restful/v2/(nameservers)(?:/register|/([^/]+)/set_ip)?", seen.path)
        typed = seen.headers.get("content-type") == "application/json"
        if match is None or seen.query or typed != (seen.method != "GET"):
            raise Wrong(f"{seen.method} {seen.target}")
        identity = seen.headers.get("x-request-id", "")
        if (
            not re.fullmatch(r"[0-9a-f-]{36}", identity)
            or (seen.method != "GET" and identity in self.ids)
            or seen.headers.get("accept") != "application/json"
        ):
            raise Wrong(f"headers {seen.headers}")
        self.ids.add(identity)
        if seen.headers.get("authorization") != f"Bearer {key}":
            text = "The provided API key is invalid, expired, or missing. Please verify your key is correct and active."
            return _json(401, "Unauthorized", error=text)
        text = f"{key}\n{seen.target}\n{identity}\n".encode() + seen.body
        signature = base64.b64encode(hmac.digest(secret.encode(), text, hashlib.sha256)).decode()
        if not self.unsigned(seen) and seen.headers.get("x-signature") != signature:
            return _json(400, "Bad Request", error="The X-Signature does not match", status=200)
        if match[1] == "nameservers":
            return self.account_hosts(seen, match[2], json.loads(seen.body) if seen.body else None)
        domain = self.domains.get(match[1])
        if domain is None:
            return _json(404, "Not Found", error="Can not find the [domain_name] in the account.")
        return getattr(self, f"{seen.method.lower()}_{match[2] or 'domain'}")(
            match[1], domain, json.loads(seen.body) if seen.body else None
        )

    def account_hosts(self, seen: Seen, host: str | None, body: Any) -> Answer:
        if seen.method == "GET" and host is None:
            found = [{"server_name": one, "ip_list": self.glue.get(one, [])} for one in sorted(self.hosts)]
            return _json(200, "Success", {"nameserver_list": found})
        if seen.method == "PUT" and host is not None:
            if set(body) != {"ip_list"} or host not in self.hosts:
                raise Wrong(f"body {body} for {host}")
            self.glue[host] = body["ip_list"]
            return _json(200, "Success")
        if seen.method != "POST" or set(body) != {"nameserver"} or set(body["nameserver"]) != {"server_name", "ip"}:
            raise Wrong(f"body {body}")
        self.hosts.add(body["nameserver"]["server_name"])
        self.glue[body["nameserver"]["server_name"]] = [body["nameserver"]["ip"]]
        return _json(200, "Success")

    def occupied(self) -> Answer:
        text = "You have reached the maximum allowed requests within the concurrent limit of your account."
        return _json(500, "Odd", error=text)

    def refusals(self, words: str = "Some words") -> list[Answer]:
        return [_json(code, "Odd", error=words, status=status)
                for code in (400, 403, 404, 405, 410) for status in (200, code)]  # fmt: skip

    @staticmethod
    def unsigned(seen: Seen) -> bool:
        """Whether the documents ask for no signature."""
        return seen.method == "GET" and re.search(r"/domains/[^/]+/nameservers$", seen.path) is not None

    def get_domain(self, name: str, domain: Domain, __: Any) -> Answer:
        glue: dict[str, Any] = {"glue_type": domain.facts.get("glue_type", "NAME_SERVERS")}
        if glue["glue_type"] == "NAME_SERVERS":
            glue["nameserver_list"] = [{"server_name": host} for host in domain.nameservers]
        info = {"domain_name": name, "expiration_date": 4102444800000, "registration_date": 1432685548000, "locked": "Yes", "hold": "no",
                "disabled": "no", "udrp_locked": "no", "registrant_unverified": "no", "status": "active", "glue_info": glue,
                **domain.facts}  # fmt: skip
        return _json(
            200, "Success", {"domain_info": {name: value for name, value in info.items() if value is not None}}
        )

    def get_nameservers(self, _: str, domain: Domain, __: Any) -> Answer:
        return _json(200, "Success", {"nameserver_list": domain.nameservers, "glue_type": "NAME_SERVERS"})

    def put_nameservers(self, name: str, _: Domain, body: Any) -> Answer:
        if set(body) != {"nameserver_list"} or not all(map(_HOST.fullmatch, body["nameserver_list"])):
            raise Wrong(f"body {body}")
        self.waiting.append((name, body["nameserver_list"]))
        if not self.instant:
            return _json(202, "Accepted")
        self.settle()
        return _json(200, "Success")

    def settle(self) -> None:
        for name, hosts in self.waiting:
            self.domains[name].nameservers = list(hosts)
        self.waiting.clear()

    def get_dnssec(self, _: str, domain: Domain, __: Any) -> Answer:
        algorithms, digests = {13: "ECDSAP256SHA256 (13)", 15: "ED25519 (15)"}, {2: "SHA-256 (2)"}
        found = [
            {**one, "algorithm": algorithms[one["algorithm"]], "digest_type": digests[one["digest_type"]]}
            for one in domain.ds
        ]
        return _json(200, "Success", {"dnssec_info_list": found})

    def put_dnssec(self, _: str, domain: Domain, body: Any) -> Answer:
        kinds = {"key_tag": int, "digest_type": str, "digest": str, "algorithm": str, "flags": str, "public_key": str}
        if {name: type(value) for name, value in body.items()} != kinds:
            return _json(400, "Bad Request", error="algorithm is missing")
        self.add(domain, {"key_tag": body["key_tag"], "algorithm": int(body["algorithm"]), "digest_type": int(body["digest_type"]),
                          "digest": body["digest"]})  # fmt: skip
        return _json(200, "Success")

    def delete_dnssec(self, _: str, domain: Domain, __: Any) -> Answer:
        domain.ds = []
        return _json(200, "Success")


def _json(code: int, message: str, data: Any = None, error: str | None = None, status: int | None = None) -> Answer:
    body = {"code": code, "message": message} | ({} if data is None else {"data": data})
    if error is not None:
        body["error"] = {"description": error}
    return Answer(status or code, json.dumps(body).encode())

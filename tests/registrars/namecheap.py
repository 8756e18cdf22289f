"""Namecheap, as its documents and the replies recorded by its clients have it."""

from urllib.parse import parse_qsl
from xml.sax.saxutils import quoteattr

from adapters.base import Registrar
from adapters.conformance.played import Answer, Seen, Server, Wrong
from adapters.http import Http
from adapters.namecheap import Namecheap as Adapter

_READS = {"namecheap.domains.getInfo", "namecheap.domains.ns.getInfo"}
_GLOBAL = {"ApiUser", "ApiKey", "UserName", "ClientIp", "Command"}
_PARAMETERS = {
    "namecheap.domains.getInfo": {"DomainName"},
    "namecheap.domains.dns.setCustom": {"SLD", "TLD", "Nameservers"},
    "namecheap.domains.ns.getInfo": {"SLD", "TLD", "Nameserver"},
    "namecheap.domains.ns.create": {"SLD", "TLD", "Nameserver", "IP"},
    "namecheap.domains.ns.update": {"SLD", "TLD", "Nameserver", "OldIP", "IP"},
}


class Namecheap(Server):
    token = "customer:k3yk3yk3yk3yk3y:customer:203.0.113.9"
    wrong_token = "customer:wrongwrongwrong:customer:203.0.113.9"
    malformed = ("", "customer", "a:b:c:d", "a:b:c:1.2.3.4:e", ":key", "user:", "us er:key", "u:k\n:x", "ü:k")
    limit_has_delay = False

    def __init__(self) -> None:
        super().__init__()
        self.allowed = "203.0.113.9"
        self.updated = "true"

    @property
    def url(self) -> str:
        return f"{super().url}/xml.response"

    def adapter(self, http: Http) -> Registrar:
        return Adapter(http, self.url)

    def is_write(self, seen: Seen) -> bool:
        return dict(parse_qsl(seen.body.decode())).get("Command") not in _READS

    def limited(self, delay: int) -> Answer:
        return Answer(405, b"")

    def refusals(self, words: str = "Some words") -> list[Answer]:
        return [self.error(number, words) for number in ("3031510", "9999999", "odd")] + [self.error()]

    def answer(self, seen: Seen) -> Answer:
        if (seen.method, seen.target) != ("POST", "/xml.response"):
            raise Wrong(f"{seen.method} {seen.target}")
        if seen.headers.get("content-type") != "application/x-www-form-urlencoded":
            raise Wrong("content type")
        form = dict(parse_qsl(seen.body.decode(), strict_parsing=True))
        command = form.get("Command", "")
        if set(form) != _GLOBAL | _PARAMETERS.get(command, set()):
            raise Wrong(f"parameters {sorted(form)}")
        if form["ApiUser"] != "customer" or form["ApiKey"] != self.token.split(":")[1]:
            return self.error("1011102", "API Key is invalid or API access has not been enabled")
        if form["UserName"] != "customer":
            return self.error("1019103", "UserName is not available")
        if form["ClientIp"] != self.allowed:
            return self.error("1011150", f"Invalid request IP: {form['ClientIp']}")
        if ".domains.ns." in command:
            return self._host(command.rpartition(".")[2], form)
        return self._info(form["DomainName"]) if command.endswith("getInfo") else self._set(form)

    def _host(self, verb: str, form: dict[str, str]) -> Answer:
        host = form["Nameserver"]
        there = self.glue.get(host)
        if (there is None) != (verb == "create") or (verb == "update" and there != [form["OldIP"]]):
            return self.error("3031510", f"Nameserver {host}: no such host, or another address")
        kind = {"getInfo": "Info", "create": "Create", "update": "Update"}[verb]
        if verb != "getInfo":
            self.glue[host] = [form["IP"]]
        return self.ok(
            f"namecheap.domains.ns.{verb}",
            f'<DomainNS{kind}Result Domain="x" Nameserver="{host}" IP="{self.glue[host][0]}" IsSuccess="true" />',
        )

    def _info(self, name: str) -> Answer:
        domain = self.domains.get(name)
        if domain is None:
            return self.error("2030166", "Domain is invalid")
        facts = {"Status": "Ok", "IsOwner": "true", "ProviderType": "CUSTOM", "rights": ' All="true"/>', **domain.facts}
        hosts = "".join(f"<Nameserver>{host}</Nameserver>" for host in domain.nameservers)
        return self.ok(
            "namecheap.domains.getInfo",
            f'<DomainGetInfoResult Status="{facts["Status"]}" ID="1" DomainName={quoteattr(name)} OwnerName="customer" '
            f'IsOwner="{facts["IsOwner"]}" IsPremium="false"><DomainDetails><CreatedDate>01/01/2020</CreatedDate>'
            f'</DomainDetails><LockDetails/><DnsDetails ProviderType="{facts["ProviderType"]}" IsUsingOurDNS="false">'
            f"{hosts}</DnsDetails><Modificationrights{facts['rights']}</DomainGetInfoResult>",
        )

    def _set(self, form: dict[str, str]) -> Answer:
        hosts = form["Nameservers"].split(",")
        if len(form["Nameservers"]) > 1200 or len(hosts) < 2 or any(host.endswith(".") for host in hosts):
            raise Wrong(f"nameservers {hosts}")
        name = f"{form['SLD']}.{form['TLD']}"
        if name not in self.domains:
            return self.error("2019166", "Domain not found")
        if any("unknown" in host for host in hosts):
            return self.error("2050900", "Invalid Address")
        if self.updated == "true":
            self.domains[name].nameservers = hosts
        return self.ok(
            "namecheap.domains.dns.setCustom",
            f'<DomainDNSSetCustomResult Domain="{name}" Updated="{self.updated}" />',
        )

    def ok(self, command: str, result: str) -> Answer:
        return _xml("OK", "", f'<CommandResponse Type="{command}">{result}</CommandResponse>')

    def error(self, *pairs: str) -> Answer:
        found = zip(pairs[::2], pairs[1::2], strict=True)
        errors = "".join(f'<Error Number="{number}">{text}</Error>' for number, text in found)
        return _xml("ERROR", errors, "<CommandResponse/>")


def _xml(status: str, errors: str, rest: str) -> Answer:
    body = (
        f'<?xml version="1.0" encoding="utf-8"?><ApiResponse Status="{status}" '
        f'xmlns="http://api.namecheap.com/xml.response"><Errors>{errors}</Errors><Warnings/><RequestedCommand/>{rest}'
        "<Server>WEB1</Server><GMTTimeDifference>--5:00</GMTTimeDifference><ExecutionTime>0.1</ExecutionTime></ApiResponse>"
    )
    return Answer(200, body.encode(), {"Content-Type": "text/xml; charset=utf-8"})

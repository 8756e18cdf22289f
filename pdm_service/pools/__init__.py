"""The pool domains: their zones at PowerDNS (`zones`), their nameservers and DS at the registrar (`registration`)."""

"""The pool domains: their zones at PowerDNS, their registration at the registrar."""

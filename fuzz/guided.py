"""The parser of answers under atheris, which finds inputs by the code that they reach."""

import sys

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["dns", "pdm_service.dns_wire", "pdm_service.delegations"]):
    from fuzz import answers

if __name__ == "__main__":
    atheris.Setup(sys.argv, answers.judge)
    atheris.Fuzz()

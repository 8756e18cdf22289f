"""Bytes from the worst neighbours, with fixed seeds: what `make fuzz` does for half an hour, in a minute."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import dns.message
import dns.rrset
import pytest

from fuzz import answers, replies, requests
from fuzz.mutation import mutated
from pdm_service.dns_client import question
from tests.patience import patient
from tests.registrars import CASES
from tests.service import Service, name

ANSWERS, REQUESTS, REPLIES = 15_000, 1500, 25
MOST_GROWN_MB = 48


@pytest.mark.parametrize("seed", [1, 2])
def test_answers_of_nameservers(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Whatever comes as an answer is understood, or refused in the ways that are provided for, at a bounded cost."""
    monkeypatch.setattr(answers, "MOST_SECONDS", patient(answers.MOST_SECONDS))
    chance, right = Random(seed), answers.seeds()
    for _ in range(ANSWERS):
        answers.judge(mutated(chance, right))


def test_answer_of_another_class() -> None:
    """A record of another class than IN is none that a zone has: its data is of no type that is known (found so)."""
    in_class, address = b"\x00\x01\x00\x00\x00\x3c", b"\x00\x01"
    referral = dns.message.make_response(question("acme.zz.", "NS"))
    referral.authority.append(dns.rrset.from_text("acme.zz.", 60, "IN", "NS", "ns1.acme.zz."))
    referral.additional.append(dns.rrset.from_text("ns1.acme.zz.", 60, "IN", "A", "192.0.2.1"))
    right = referral.to_wire()
    assert right.count(address + in_class) == 1
    answers.judge(right)
    answers.judge(right.replace(address + in_class, address + b"\x00\x07" + in_class[2:]))


def test_requests(new_service: Callable[..., Service]) -> None:
    """Whatever comes to the port: no 500, no answer that is late, and the memory is as it was."""
    service = new_service().start()
    right = requests.inputs(1, REQUESTS)
    for data in right[: REQUESTS // 4]:
        requests.judge(service.port, data, patience=patient(1))
    before = memory_mb(service)
    for data in right:
        requests.judge(service.port, data, patience=patient(1))
    assert memory_mb(service) < before + MOST_GROWN_MB
    assert service.client.get("/livez").status_code == 200
    assert service.reserve(name()).status_code == 201
    assert [line for line in service.lines() if line["level"] == "error"] == []


def memory_mb(service: Service) -> float:
    """What the process has of the machine's memory."""
    assert service.process is not None
    text = Path(f"/proc/{service.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


@pytest.mark.parametrize("case", CASES)
def test_replies_of_registrars(case: str) -> None:
    """Whatever a registrar replies, its adapter answers in its time, with a failure of its own at worst."""
    asyncio.run(replies.judge(case, 1, REPLIES, patience=patient(1)))

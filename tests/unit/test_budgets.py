"""The sums that keep a caller from waiting in vain: every step's time fits into what comes around it."""

import itertools

import pytest

from adapters.all import registrars
from adapters.http import Http
from pdm_service import client, deadline
from pdm_service.allocator import budgets as verbs
from pdm_service.api import edge
from pdm_service.byo import budgets
from pdm_service.delegations import budgets as observing
from pdm_service.publisher import budgets as publishing
from pdm_service.registrars import _VALIDATE_SECONDS
from pdm_service.store import watches
from pdm_service.store.sessions import DEADLINE_SECONDS, LEAST_SECONDS, LOCK_SECONDS

CLIENTS_GIVE_UP = 15.0
ANSWER, REFUSE, CUT = deadline.ANSWER_SECONDS, deadline.REFUSE_SECONDS, edge._CUT_SECONDS
(READ_LEAST, READ_MOST), (WRITE_LEAST, WRITE_MOST) = budgets.READ, budgets.WRITE
SURVEY_REST = budgets.SURVEY * (1 - budgets.OBSERVE_SHARE)

IN_ORDER = {
    "a request ends by itself, else it is called off, both before its client gives up": (ANSWER, CUT, CLIENTS_GIVE_UP),
    "whatever is called off is called off in time, by a timer that looks now and then": (
        CUT + edge._SWEEP_SECONDS, CLIENTS_GIVE_UP,
    ),
    "a statement that begins when the request's time is over has its least, also the next": (
        ANSWER + LEAST_SECONDS, ANSWER + 2 * LEAST_SECONDS, CUT + edge._SWEEP_SECONDS,
    ),
    "PostgreSQL ends a wait for a lock before its caller does, who would leave it waiting": (
        LOCK_SECONDS, DEADLINE_SECONDS,
    ),
    "our own client waits for longer than the service takes": (CUT, client.CALL_SECONDS),
    "a name that was not stored is refused within five seconds, after one statement that took its most": (
        DEADLINE_SECONDS, REFUSE, 5.0,
    ),
    "a refusal comes long before an answer": (REFUSE, ANSWER),
    "a body that came at the last moment leaves time for a statement": (edge.BODY_SECONDS + DEADLINE_SECONDS, ANSWER),
    "the steps of a customer's commit end, else they are cut off, while it can still be read how the domain stands": (
        budgets.COMMIT, budgets.ANSWER, ANSWER,
    ),
    "a change at the registrar is looked for by the next call only when nobody waits for it any more": (
        CLIENTS_GIVE_UP, min(one.about.settles_within for one in registrars(Http, {}, {}).values()),
    ),
    "a registrar's least is no more than its most": (0, READ_LEAST, READ_MOST),
    "and so of a change": (0, WRITE_LEAST, WRITE_MOST),
    "a survey leaves the old zone a part of its time": (0, SURVEY_REST, budgets.SURVEY),
    "who sets nameservers alone looks at them first": (
        budgets.LOOK + budgets.DS_LOOK, budgets.SET, ANSWER,
    ),
    "an outcome is asked for more than once while it is waited for": (publishing.ASK_AGAIN, budgets.PUBLISH),
    "an observation in the background, and the statement that records it, end before its lease does": (
        observing.ROUND + DEADLINE_SECONDS, watches._LEASE.total_seconds(),
    ),
    "an observation for a caller is no longer than one in the background": (budgets.OBSERVE, observing.ROUND),
}  # fmt: skip


@pytest.mark.parametrize("why", IN_ORDER)
def test_in_order(why: str) -> None:
    """Each of these times is shorter than the next."""
    times = IN_ORDER[why]
    assert all(one < other for one, other in itertools.pairwise(times)), (why, times)


FIT = {
    "a commit of a pool name: the statement, then the whole wait for DNS": ([DEADLINE_SECONDS, verbs.OUTCOME], ANSWER),
    "a flip: the registrar and the survey leave time for publishing": ([budgets.LOOK, budgets.SURVEY], budgets.COMMIT),
    "a flip of what is published: looked at, surveyed, probed, then the least of reading and of writing": (
        [budgets.LOOK, budgets.SURVEY, budgets.PROBE, READ_LEAST, WRITE_LEAST], budgets.ANSWER,
    ),
    "a look before the change that begins when the commit's time is over": ([budgets.COMMIT, READ_LEAST], budgets.ANSWER),
    "a change that begins when the commit's time is over": ([budgets.COMMIT, WRITE_LEAST], budgets.ANSWER),
    "both of them before the request ends": ([budgets.COMMIT, READ_LEAST, WRITE_LEAST], ANSWER),
    "a rollback: the registrar's record, the parent's DS, the nameservers of before": ([budgets.LOOK] * 3, budgets.COMMIT),
    "a flip that is made: its record, then the DS": ([budgets.LOOK, WRITE_MOST], budgets.COMMIT),
    "a manual commit with imports: survey and observation": (
        [budgets.MANUAL_SURVEY, budgets.OBSERVE], ANSWER,
    ),
    "a manual commit without: the whole wait for DNS behind its observation": ([budgets.OBSERVE, budgets.SERVE], ANSWER),
    "a release of a customer's domain: observed, its DS taken away": ([budgets.OBSERVE, WRITE_MOST], ANSWER),
    "a release by force: observed, then the whole wait for DNS": ([budgets.OBSERVE, budgets.SERVE], ANSWER),
    "a pre-flight with a try of a transfer, and the statement of its verdict": (
        [budgets.SURVEY, budgets.TRANSFER, DEADLINE_SECONDS], ANSWER,
    ),
    "a registrar's token is tested, and a survey still has its least": ([_VALIDATE_SECONDS, 2.0], budgets.ANSWER),
    "an observation on demand, and the statement that records it": ([observing.ROUND, DEADLINE_SECONDS], ANSWER),
}  # fmt: skip


@pytest.mark.parametrize("why", FIT)
def test_fit(why: str) -> None:
    """Steps that follow each other, each with its most (or its least, where that is said), end in time."""
    steps, end = FIT[why]
    assert sum(steps) <= end, (why, steps, end)


def test_what_does_not_fit_is_shortened() -> None:
    """Two statements at their most and the wait for DNS are longer than a request: its deadline shortens the wait,
    which still is longer than a publisher needs."""
    assert 2 * DEADLINE_SECONDS + verbs.OUTCOME > ANSWER
    assert ANSWER - 2 * DEADLINE_SECONDS >= budgets.PUBLISH

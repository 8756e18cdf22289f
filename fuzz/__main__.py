"""`python -m fuzz [--minutes N] [target]...`: look for bytes that hurt; `--replay FILE`: send them again.

What hurts is written to a file in .fuzz, and ends the run with 1.
"""

import argparse
import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import monotonic
from urllib.parse import urlsplit

from bench.stack import started
from fuzz import answers, replies, requests
from fuzz.mutation import mutated
from tests.registrars import CASES

FOUND = Path(".fuzz")
_REPLIES_AT_ONCE = 20
_MOST_GROWN_MB = 64


def main() -> int:
    """Fuzz what was asked for, each target for its part of the time; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help="answers, requests, replies; all by default")
    parser.add_argument("--minutes", type=float, default=30.0, help="for all targets together")
    parser.add_argument("--port", type=int, help="of a running service on loopback, for requests; else one is started")
    parser.add_argument("--replay", type=Path, help="a file of .fuzz: its name tells the target")
    asked = parser.parse_args()
    if asked.replay:
        _judge_of(asked.replay.name.partition("-")[0], asked.port)(asked.replay.read_bytes())
        return 0
    targets = asked.targets or list(_RUNS)
    seconds = 60 * asked.minutes / len(targets)
    return max(_RUNS[target](seconds, asked.port) for target in targets)


def _judge_of(target: str, port: int | None) -> Callable[[bytes], None]:
    if target == "answers":
        return answers.judge
    if target == "requests" and port:
        return lambda data: requests.judge(port, data)
    raise SystemExit(f"{target} cannot be replayed: replies are made by a seed, which the failure names")


def _answers(seconds: float, _: int | None) -> int:
    """Run atheris over the parser, in a process of its own: it ends the process that it runs in."""
    FOUND.mkdir(exist_ok=True)
    corpus = FOUND / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(answers.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    command = [sys.executable, "-m", "fuzz.guided", corpus, f"-max_total_time={int(seconds)}", "-max_len=4096"]
    command += [f"-artifact_prefix={FOUND}/answers-", "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1"]
    return subprocess.run(command, check=False).returncode


def _requests(seconds: float, port: int | None) -> int:
    """Send mutated requests to a service, other ones each time."""
    if port is None:
        with started() as stack, stack.service(stack.database(), "fuzz.test").running() as program:
            port = urlsplit(program.url).port
            warm = _requests(min(20, seconds / 5), port)
            before = program.resident_megabytes()
            found = warm or _requests(seconds, port)
            grown = program.resident_megabytes() - before
        _told(f"requests: the service's memory grew by {grown:.0f} MB")
        return found or int(grown > _MOST_GROWN_MB)
    chance, right, end, count = Random(), requests.seeds(), monotonic() + seconds, 0
    while monotonic() < end:
        data, count = mutated(chance, right), count + 1
        try:
            requests.judge(port, data)
        except (AssertionError, OSError) as failure:
            return _kept("requests", data, failure)
    return _told(f"requests: {count} inputs, nothing found")


def _replies(seconds: float, _: int | None) -> int:
    """Have each adapter meet bad replies, by one seed after the other."""
    end, seed = monotonic() + seconds, Random().randrange(1 << 30)
    first = seed
    while monotonic() < end:
        for case in CASES:
            asyncio.run(replies.judge(case, seed, _REPLIES_AT_ONCE))
        seed += 1
    return _told(f"replies: {(seed - first) * _REPLIES_AT_ONCE} to each of {len(CASES)} adapters, nothing found")


def _kept(target: str, data: bytes, failure: BaseException) -> int:
    FOUND.mkdir(exist_ok=True)
    path = FOUND / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    _told(f"{target}: {failure}; kept in {path}, to be sent again with --replay {path}")
    return 1


def _told(text: str) -> int:
    sys.stdout.write(f"fuzz: {text}\n")
    return 0


_RUNS = {"answers": _answers, "requests": _requests, "replies": _replies}

if __name__ == "__main__":
    sys.exit(main())

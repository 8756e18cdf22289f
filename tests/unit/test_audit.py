"""The audit of the lock files: what is found fails, what cannot be asked is told and does not."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.patience import patient

ROOT = Path(__file__).parents[2]
LOCK = "alembic==1.0.0 --hash=sha256:" + "0" * 64 + "\nanyio==4.0.0 --hash=sha256:" + "1" * 64 + "\n"


class Database:
    """An advisory database on loopback that speaks OSV's API (https://google.github.io/osv.dev/post-v1-query/)."""

    def __init__(self) -> None:
        self.vulnerable: set[str] = set()
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["content-length"])))
                name, version = query["package"]["name"], query["version"]
                outer.asked.append(name)
                affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "versions": [version], "ranges": []}]
                one = {"id": "GHSA-test", "aliases": [], "summary": "bad", "details": "bad", "affected": affected}
                body = json.dumps({"vulns": [one]} if name in outer.vulnerable else {}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/query"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def database() -> Iterator[Database]:
    made = Database()
    yield made
    made.stop()


def audit(directory: Path, url: str) -> tuple[int, str]:
    lock = directory / "requirements.lock"
    lock.write_text(LOCK)
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "audit", lock, "--osv-url", url],
        capture_output=True, text=True, timeout=patient(60), check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_nothing_is_known(tmp_path: Path, database: Database) -> None:
    """Every package of a lock is asked about."""
    assert audit(tmp_path, database.url) == (0, "audit: no known vulnerability in 2 packages\n")
    assert sorted(database.asked) == ["alembic", "anyio"]


def test_a_vulnerability_is_known(tmp_path: Path, database: Database) -> None:
    """A known vulnerability fails, and names package, version and advisory."""
    database.vulnerable = {"anyio"}
    assert audit(tmp_path, database.url) == (1, "audit: known vulnerabilities\nanyio 4.0.0: GHSA-test\n")


def test_nobody_can_be_asked(tmp_path: Path) -> None:
    """Where the database cannot be reached the reason is told, and nothing fails."""
    code, text = audit(tmp_path, "http://127.0.0.1:9/v1/query")
    assert code == 0
    assert text.startswith("audit: not audited: ")
    assert "refused" in text

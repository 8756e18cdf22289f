"""Traces, sent to a collector that is played: what is in them, and what is not."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.eventually import eventually
from tests.service import Service, name

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def spans(self) -> dict[str, list[object]]:
        found: dict[str, list[object]] = {}
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        found.setdefault(span.name, []).append(span)
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.shutdown()
    server.server_close()


def test_spans_of_a_names_life(new_service: Callable[..., Service], collector: Collector) -> None:
    """Requests, attempts and calls of PowerDNS are told, below the caller's own trace; no secret is."""
    service = new_service(PDM_OTLP_URL=f"http://127.0.0.1:{collector.server_port}").start()
    service.client.headers["traceparent"] = f"00-{TRACE}-00f067aa0ba902b7-01"
    service.client.headers["authorization"] = "Bearer a-marked-key"
    label = name()
    token = service.publish(label)["reservationToken"]
    service.stop()
    found = eventually(lambda: spans if "publish active" in (spans := collector.spans()) else None)
    assert {"POST /v1/reserve", "POST /v1/commit", "powerdns create-zone"} <= set(found)
    assert {span.trace_id.hex() for span in found["POST /v1/commit"]} == {TRACE}  # type: ignore[attr-defined]
    (publish,) = found["publish active"]
    below = {span.parent_span_id for span in found["powerdns create-zone"]}  # type: ignore[attr-defined]
    assert publish.span_id in below  # type: ignore[attr-defined]
    for secret in (token.encode(), b"a-marked-key", b"test-api-key"):
        assert not any(secret in body for body in collector.bodies)


def test_nothing_is_loaded_without_the_setting() -> None:
    """Without the setting the library for traces is not even loaded."""
    program = "import sys, pdm_service.app, pdm_service.telemetry.tracing as t; t.Tracing(None).close(); sys.exit('opentelemetry' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)

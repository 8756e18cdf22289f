"""Traces by OpenTelemetry, off unless `PDM_OTLP_URL` is set: requests, attempts of the publisher, and their calls.

Spans hold operations, outcomes and our own names; no header, body, query or credential.
https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pdm_service import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_NANO = 1_000_000_000


class Tracing:
    """The way of spans out of this process."""

    def __init__(self, url: str | None) -> None:
        """Without `url` nothing is loaded, and nothing is done."""
        self._provider: TracerProvider | None = None
        if url is None:
            return
        # A tenth of the service's memory: only where it is wanted.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider as Provider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        resource = Resource.create({"service.name": "pool-domain-manager", "service.version": __version__})
        self._provider = Provider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces", timeout=5)))
        self._tracer = self._provider.get_tracer("pdm_service")

    @property
    def on(self) -> bool:
        """Whether spans are made."""
        return self._provider is not None

    @contextmanager
    def span(self, name: str, headers: Mapping[bytes, bytes] | None = None) -> Iterator["Span | None"]:
        """Have what is done in the block be a span, below the caller's where its headers name one (W3C traceparent)."""
        if self._provider is None:
            yield None
            return
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        carrier = {key.decode("latin-1"): value.decode("latin-1") for key, value in (headers or {}).items()}
        above = TraceContextTextMapPropagator().extract(carrier) if headers is not None else None
        # What an exception says may be anybody's words.
        with self._tracer.start_as_current_span(
            name, above, record_exception=False, set_status_on_exception=False
        ) as made:
            yield made

    def past(self, name: str, outcome: str, seconds: float) -> None:
        """Make a span of a call that has just ended."""
        if self._provider is None:
            return
        now = time.time_ns()
        made = self._tracer.start_span(name, start_time=now - int(seconds * _NANO), attributes={"outcome": outcome})
        made.end(now)

    def close(self) -> None:
        """Send what is left, for some seconds at most."""
        if self._provider is not None:
            self._provider.shutdown()

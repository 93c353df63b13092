"""Traces: one per round of a job, across coordinator, workers and API.

A message of the queue is only a hint and may get lost, so it does not carry the trace. Whoever
works on a round knows job and round, and these give the trace's id. HTTP requests carry the
standard `traceparent`. Without the extra `otel`, or without OTEL_EXPORTER_OTLP_ENDPOINT, nothing
is recorded or sent.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

_log = logging.getLogger("telemetry")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def configure(service: str, version: str) -> bool:
    """Starts to send traces if the standard variables say where to; True if so."""
    if not wanted():
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("no traces: an endpoint is set, but fedkrso[otel] is not installed")
        return False
    name = os.environ.get("OTEL_SERVICE_NAME") or f"fedkrso-{service}"
    resource = Resource.create({"service.name": name, "service.version": version})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True


def wanted() -> bool:
    """Whether the standard variables say where traces go, and do not turn them off."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not off and any(os.environ.get(name) for name in _ENDPOINTS)


def flush() -> None:
    """Sends what waits to be sent; for processes that end without Python's farewell."""
    send = getattr(trace.get_tracer_provider(), "force_flush", None)
    if send is not None:
        send(5000)


@contextmanager
def round_span(name: str, job: str, number: int, **attributes: Any) -> Iterator[None]:
    """The block is a span in the trace of a round."""
    given = {"job": job, "round": number, **attributes}
    with span(name, round_context(job, number), **given):
        yield


@contextmanager
def span(name: str, context: Context | None = None, **attributes: Any) -> Iterator[None]:
    """The block is a span, under that of the context or the one that is open."""
    named = {f"fedkrso.{key}": value for key, value in attributes.items()}
    tracer = trace.get_tracer("fedkrso")
    with tracer.start_as_current_span(name, context=context, attributes=named):
        yield


def round_context(job: str, number: int) -> Context | None:
    """A parent that all spans of a round have; None while nothing is recorded."""
    sampler: Any = getattr(trace.get_tracer_provider(), "sampler", None)
    if sampler is None:
        return None
    digest = hashlib.sha256(f"{job}/{number}".encode()).digest()
    trace_id = int.from_bytes(digest[:16], "big")
    # a sampler by ratio looks at the id, so that all processes decide alike
    kept = sampler.should_sample(None, trace_id, "round").decision.is_sampled()
    flags = TraceFlags(TraceFlags.SAMPLED if kept else TraceFlags.DEFAULT)
    parent = SpanContext(trace_id, int.from_bytes(digest[16:24], "big"), True, flags)
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


def inject(headers: MutableMapping[str, str]) -> None:
    """Tells the receiver of a request which span it belongs to."""
    propagate.inject(headers)


def current_trace() -> str | None:
    """The id of the trace at hand, as log lines show it."""
    held = trace.get_current_span().get_span_context()
    return trace.format_trace_id(held.trace_id) if held.is_valid else None

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from telemetry import tracing

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_without_an_endpoint_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    assert not tracing.configure("api", "1")
    headers: dict[str, str] = {}
    with tracing.round_span("aggregate", "j1", 1):
        tracing.inject(headers)
        assert tracing.current_trace() is None
    assert headers == {}
    assert tracing.round_context("j1", 1) is None


def test_the_standard_switch_turns_traces_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    assert tracing.wanted()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not tracing.wanted()


def test_without_the_extra_the_service_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with caplog.at_level(logging.WARNING):
        assert not tracing.configure("api", "1")
    assert "fedkrso[otel]" in caplog.text


IN_A_PROCESS = """
import sys
from telemetry import tracing
assert tracing.configure("test", "1")
headers = {}
with tracing.round_span("aggregate", "j1", int(sys.argv[1])):
    tracing.inject(headers)
    with tracing.span("upload"):
        assert tracing.current_trace() == headers["traceparent"].split("-")[1]
print(headers["traceparent"])
"""


def traceparent(number: int, **environ: str) -> list[str]:
    """Of a round, as another process has it."""
    command = [sys.executable, "-c", IN_A_PROCESS, str(number)]
    given = {ENDPOINT: "http://127.0.0.1:1", "OTEL_BSP_EXPORT_TIMEOUT": "1", "PATH": "/bin"}
    given |= {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"} | environ
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
    return done.stdout.strip().split("-")


def test_all_processes_put_a_round_into_one_trace() -> None:
    first, again, other = traceparent(1), traceparent(1), traceparent(2)
    assert first[1] == again[1] != other[1]
    assert first[2] != again[2]  # each has spans of its own
    assert first[3] == "01"


def test_a_sampler_decides_alike_everywhere() -> None:
    none = traceparent(1, OTEL_TRACES_SAMPLER="parentbased_traceidratio",
                       OTEL_TRACES_SAMPLER_ARG="0.0")  # fmt: skip
    assert none[3] == "00"

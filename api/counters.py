"""What this process counts itself: HTTP requests and refused uploads.

All other figures come from the database (`services.figures`). Where PROMETHEUS_MULTIPROC_DIR is
set, prometheus-client keeps these in files there, and a scrape adds up all processes of the API.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    multiprocess,
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# from a heartbeat to an upload of gigabytes
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_REASONS = (
    "conflict",
    "invalid-request",
    "invalid-update",
    "not-finite",
    "not-found",
    "quarantined",
    "replayed-update",
    "stale-lease",
    "too-large",
    "too-large-norm",
    "unsupported-encoding",
    "wrong-digest",
    "wrong-scalars",
    "wrong-tensors",
)
UPLOAD_ROUTE = "/v1/assignments/{assignment_id}/update"

# series without use here, as many as there are counters
disable_created_metrics()  # type: ignore[no-untyped-call]
OWN = CollectorRegistry()
REQUESTS = Counter(
    "fedkrso_http_requests",
    "HTTP requests answered, by route template.",
    ["method", "route", "status"],
    registry=OWN,
)
LATENCY = Histogram(
    "fedkrso_http_request_duration_seconds",
    "Seconds from a request to the end of its answer; for event streams, to its beginning.",
    ["method", "route"],
    buckets=_BUCKETS_S,
    registry=OWN,
)
REFUSED = Counter(
    "fedkrso_uploads_refused",
    "Uploads answered with a problem, by its kind.",
    ["reason"],
    registry=OWN,
)
for _reason in _REASONS:
    REFUSED.labels(_reason)  # a series that is there from the start can be seen to rise


def observe(method: str, route: str, status: int, seconds: float, problem: str | None) -> None:
    """Counts a request that was answered."""
    known = method if method in _METHODS else "other"
    REQUESTS.labels(known, route, str(status)).inc()
    LATENCY.labels(known, route).observe(seconds)
    if route == UPLOAD_ROUTE and status >= 400:
        REFUSED.labels(problem or "unknown").inc()


def registry() -> CollectorRegistry:
    """What this process counted, or all processes of the API where they share a folder."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return OWN
    shared = CollectorRegistry()
    multiprocess.MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    return shared


if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # of one process, so of no meaning for several
    ProcessCollector(registry=OWN)
    PlatformCollector(registry=OWN)

"""A process that logs into memory, and as it was before afterwards."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from telemetry import logs
from telemetry.settings import Settings

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def sink() -> Iterator[io.StringIO]:
    """What was written; the loggers' settings are put back."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    yield io.StringIO()
    root.handlers, root.level = before[0], before[1]


@pytest.fixture
def as_json(sink: io.StringIO) -> Lines:
    """Logging as in production, and its lines so far."""
    logs.configure("test", Settings(log_format="json", log_level="info"), stream=sink)
    return lambda: [json.loads(line) for line in sink.getvalue().splitlines()]

"""What every test runs under: no network, one thread. Set before a library reads it."""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# the same few examples in every run; `pytest --hypothesis-profile long` looks for others
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("long", max_examples=3000, deadline=None, print_blob=True)
settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes first: begun last, one of them would keep a single core busy."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: ("flow" not in item.path.parts, item.path not in slow))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A service that ran in this process must not write into the output of later tests."""
    from telemetry import logs

    root = logging.getLogger()
    named = [root, *map(logging.getLogger, logs._TALKATIVE)]
    levels = [logger.level for logger in named]
    yield
    root.handlers = [h for h in root.handlers if not isinstance(h, logs._Handler)]
    for logger, level in zip(named, levels, strict=True):
        logger.setLevel(level)

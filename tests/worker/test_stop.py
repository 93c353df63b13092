from __future__ import annotations

import os

import pytest

from worker.stop import Stop


def test_nobody_is_asked_to_stop_at_first() -> None:
    stop = Stop()
    assert not stop.is_set()
    stop.set()
    assert stop.is_set()


def test_a_forked_process_sees_what_its_parent_asked_for_later() -> None:
    stop = Stop()
    child = os.fork()
    if child == 0:
        stop.sleep(60)
        os._exit(0 if stop.is_set() else 1)
    stop.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.timeout(60)
def test_nobody_sleeps_on_when_asked_to_stop() -> None:
    stop = Stop()
    stop.set()
    stop.sleep(3600)

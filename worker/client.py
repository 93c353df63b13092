"""A client's round: claim, download, train, upload. The same for Celery and external clients."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from fedkrso_core.device import prepare_process
from fedkrso_core.errors import CoreError
from fedkrso_core.global_model import StateRef
from fedkrso_core.method import pack
from fedkrso_core.payload import decode
from fedkrso_core.spec import JobSpec
from fedkrso_core.workload import Workload
from worker.api import Api, LeaseLost, Refused

_log = logging.getLogger("worker")
_KEEP_STATES_S = 7 * 24 * 3600


class Stopping(Exception):
    """The process was asked to end; its assignment is given back."""


class Progress:
    """Where the training is, shared with the heartbeat thread."""

    def __init__(self, stop: threading.Event) -> None:
        self.step = 0
        self.lost = threading.Event()
        self._stop = stop

    def on_step(self, step: int) -> None:
        """Called after each step; ends the training if it has become useless."""
        self.step = step
        if self.lost.is_set():
            raise LeaseLost("the lease was lost while training")
        if self._stop.is_set():
            raise Stopping


class ClientProcess:
    """A process that trains clients, one at a time; keeps the model of the last job loaded."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.stop = threading.Event()
        self._api, self._device = api, prepare_process()
        self._states = folder / "states"
        self._dense = folder / "dense" / str(os.getpid())
        self._loaded: tuple[str, Workload] | None = None
        _forget_dead(folder / "dense")
        _forget_old(self._states)

    def drain(self) -> None:
        """Works until nothing waits: a hint that got lost costs nothing while others come."""
        while not self.stop.is_set() and self.work_once():
            pass

    def work_once(self) -> bool:
        """One assignment from claim to upload; False if nothing waits."""
        try:
            assignment = self._api.claim(self.name)
        except (httpx.HTTPError, Refused) as error:
            _log.warning("cannot claim work: %s", error)
            return False
        if assignment is None:
            return False
        progress = Progress(self.stop)
        with self._heartbeats(assignment, progress):
            self._work(assignment, progress)
        return True

    def _work(self, assignment: dict[str, Any], progress: Progress) -> None:
        where = f"job {assignment['job']} round {assignment['round']} client {assignment['client']}"
        try:
            self._train_and_upload(assignment, progress)
            _log.info("%s: done", where)
        except LeaseLost as error:
            _log.warning("%s: %s", where, error)
        except Stopping:
            self._give_back(assignment, f"{self.name} is stopping")
        except (CoreError, Refused) as error:
            self._give_back(assignment, str(error))
        except Exception as error:
            _log.exception("%s", where)
            self._give_back(assignment, f"{type(error).__name__}: {error}")

    def _train_and_upload(self, assignment: dict[str, Any], progress: Progress) -> None:
        chain = self._journal(assignment)
        workload = self._workload(assignment)
        trained = workload.train(chain, assignment["client"], assignment["round"], progress.on_step)
        report = {"peak_memory_bytes": trained.peak_memory_bytes, "train_s": trained.seconds}
        self._api.upload(assignment, pack(trained.update), report)

    def _journal(self, assignment: dict[str, Any]) -> list[StateRef]:
        """Downloads the states that this client lacks; those it was sent before are kept here."""
        folder = self._states / assignment["job"]
        folder.mkdir(parents=True, exist_ok=True)
        chain = []
        for state in assignment["states"]:
            path = folder / state["digest"]
            if state["lacking"] or not path.exists():
                self._api.download(assignment, state["digest"], path)
            chain.append(_state_ref(state["digest"], path))
        return chain

    def _workload(self, assignment: dict[str, Any]) -> Workload:
        job = assignment["job"]
        if self._loaded is None or self._loaded[0] != job:
            self._loaded = None  # frees the model of the job before
            shutil.rmtree(self._dense, ignore_errors=True)
            spec = JobSpec.model_validate(assignment["spec"])
            made = Workload(spec, self._dense, self._device)
            made.require_data(assignment["data_sha256"])
            self._loaded = (job, made)
        return self._loaded[1]

    @contextmanager
    def _heartbeats(self, assignment: dict[str, Any], progress: Progress) -> Iterator[None]:
        finished = threading.Event()

        def beat() -> None:
            pause_s = assignment["heartbeat_s"]
            while not finished.wait(pause_s):
                try:
                    pause_s = self._api.heartbeat(assignment, progress.step)
                except (LeaseLost, Refused):
                    progress.lost.set()
                    return
                except httpx.HTTPError as error:
                    _log.warning("no heartbeat: %s", error)

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()

    def _give_back(self, assignment: dict[str, Any], reason: str) -> None:
        try:
            self._api.give_back(assignment, reason)
        except (httpx.HTTPError, LeaseLost, Refused) as error:
            _log.warning("could not give the assignment back, its lease will run out: %s", error)


def _state_ref(digest: str, path: Path) -> StateRef:
    return StateRef(digest, lambda: decode(path.read_bytes()))


def _forget_old(folder: Path) -> None:
    """Removes the states of jobs that nobody here has worked on for a week."""
    for job in folder.glob("*"):
        if time.time() - job.stat().st_mtime > _KEEP_STATES_S:
            shutil.rmtree(job, ignore_errors=True)


def _forget_dead(folder: Path) -> None:
    """Removes snapshots of processes that are no more."""
    for old in folder.glob("*"):
        if not Path(f"/proc/{old.name}").exists():
            shutil.rmtree(old, ignore_errors=True)

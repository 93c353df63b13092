"""A client's round: claim, download, train, upload. The same for Celery and external clients."""

from __future__ import annotations

import contextvars
import logging
import math
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch

from fedkrso_core import uploads
from fedkrso_core.client_memory import ClientMemory, MemoryRef
from fedkrso_core.device import prepare_process
from fedkrso_core.errors import CoreError
from fedkrso_core.global_model import StateRef
from fedkrso_core.memory import settle, unsettle
from fedkrso_core.method import pack
from fedkrso_core.spec import JobSpec
from fedkrso_core.workload import Workload
from telemetry import facts, request_id, tracing
from worker.api import Api, LeaseLost, Refused, Useless
from worker.journal import KEEP_S, Journal
from worker.stop import Stop

_log = logging.getLogger("worker")
_ASK_OF = 1000  # jobs at once
# after an update: where it was the round's last, the next one opens as soon as it is aggregated
LINGER_S = 1.0


class Stopping(Exception):
    """The process was asked to end; its assignment is given back."""


class Site:
    """Where a client's rows are: a worker has the job's data. An external client has its own."""

    def fetch_rows(self, assignment: dict[str, Any], api: Api, useless: Useless) -> None:
        """Called before `workload`: downloads uploaded rows that are not on this machine."""
        data = JobSpec.model_validate(assignment["spec"]).data
        for source in uploads.named_in(data).values():
            upload = uploads.Uploaded.of(source)
            if upload is not None:
                uploads.in_use(upload.path)
                if not upload.path.exists():
                    api.download_rows(assignment, upload, useless)

    def workload(self, assignment: dict[str, Any], folder: Path, device: torch.device) -> Workload:
        """What is needed to work on the assignment's job; CoreError if that is not here."""
        uploads.forget_old(KEEP_S)
        made = Workload(JobSpec.model_validate(assignment["spec"]), folder, device)
        made.require_data(assignment["data_sha256"])
        made.require_base(assignment.get("base_sha256"))
        return made

    def leaves(self, assignment: dict[str, Any], error: Exception) -> bool:  # noqa: ARG002
        """Whether the client leaves the job for this error; then its work there is over."""
        return False

    def before_training(
        self, assignment: dict[str, Any], workload: Workload, chain: list[StateRef]
    ) -> None:
        """Called when the states of the round are here."""

    def on_step(self, step: int) -> None:
        """Called after each step."""


class Progress:
    """Where the training is, shared with the heartbeat thread."""

    def __init__(self, stop: Stop, tell: Callable[[int], None] = lambda _: None) -> None:
        self.step = 0
        self._tell = tell
        self.lost = threading.Event()
        self._stop = stop

    def on_step(self, step: int) -> None:
        """Called after each step; ends the training if it has become useless."""
        self.step = step
        self._tell(step)
        if self.lost.is_set():
            raise LeaseLost("the lease was lost while training")
        if self._stop.is_set():
            raise Stopping


class ClientProcess:
    """A process that trains clients, one at a time; keeps the model of the last job loaded."""

    def __init__(
        self,
        api: Api,
        folder: Path,
        stop: Stop | None = None,
        memory: Path | None = None,
        site: Site | None = None,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._site = site or Site()
        self.stop = stop or Stop()
        self._api, self._device = api, prepare_process()
        self._journal = Journal(api, folder / "states")
        self._memory = memory or folder / "memory"
        self._dense = folder / "dense" / str(os.getpid())
        self._loaded: tuple[str, Workload] | None = None
        self._settled = False
        _forget_dead(folder / "dense")
        self._journal.forget_old()
        self.forget_gone()

    def drain(self, patience_s: float = math.inf) -> bool:
        """Works until nothing waits: a hint that got lost costs nothing while others come.

        After `patience_s` no further assignment is begun. False if some may be waiting still.
        """
        until, wait_s = time.monotonic() + patience_s, 0.0
        while not self.stop.is_set():
            if not self.work_once(wait_s):
                return True
            wait_s = LINGER_S
            if time.monotonic() > until:
                return False
        return True

    def work_once(self, wait_s: float = 0.0) -> bool:
        """One assignment from claim to upload; False if nothing comes within `wait_s`."""
        with facts.about(request_id=request_id.new(), worker=self.name):
            return self._work_once(wait_s)

    def _work_once(self, wait_s: float) -> bool:
        try:
            assignment = self._api.claim(self.name, wait_s)
        except (httpx.HTTPError, Refused) as error:
            _log.warning("cannot claim work: %s", error)
            return False
        if assignment is None:
            return False
        self.work_on(assignment)
        return True

    def work_on(self, assignment: dict[str, Any]) -> None:
        """A claimed assignment to its upload; it is given back if that cannot be."""
        known = {name: assignment[name] for name in ("job", "round", "client")}
        facts.note(assignment=assignment["id"], **known)
        progress = Progress(self.stop, self._site.on_step)
        with (
            tracing.round_span(
                "assignment", assignment["job"], assignment["round"], client=assignment["client"]
            ),
            self._heartbeats(assignment, progress),
        ):
            self._work(assignment, progress)

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
            if not self._site.leaves(assignment, error):
                self._give_back(assignment, str(error))
        except httpx.HTTPError as error:
            # its lease may be out, and nobody is there to give it back to
            _log.warning("%s: the service did not answer in time: %s", where, error)
            self._give_back(assignment, f"the service did not answer {self.name}: {error}")
        except Exception as error:
            _log.exception("%s", where)
            self._give_back(assignment, f"{type(error).__name__}: {error}")

    def _train_and_upload(self, assignment: dict[str, Any], progress: Progress) -> None:
        with tracing.span("download"):
            chain = self._journal.chain(assignment, progress.lost.is_set)
            self._site.fetch_rows(assignment, self._api, progress.lost.is_set)
        with tracing.span("load"):
            workload = self._workload(assignment)
            self._site.before_training(assignment, workload, chain)
        with tracing.span("train"):
            place = (assignment["client"], assignment["round"])
            memory, known = ClientMemory(self._memory / assignment["job"]), assignment.get("memory")
            begins_with = memory.load(assignment["client"], MemoryRef(**known) if known else None)
            trained = workload.train(chain, *place, progress.on_step, begins_with)
            kept = memory.save(*place, trained.update.memory)  # before anybody counts on it
        if not self._settled:  # by now all is loaded that trainings of this job need
            settle()
            self._settled = True
        report: dict[str, Any] = {
            "peak_memory_bytes": trained.peak_memory_bytes,
            "train_s": trained.seconds,
            **({} if kept is None else {"memory_sha256": kept.sha256}),
        }
        with tracing.span("upload"):
            body = pack(trained.update, workload.spec.wire.compression)
            self._api.upload(assignment, body, report, progress.lost.is_set)

    def forget_gone(self) -> None:
        """Removes what is kept of jobs that were deleted: states, and what clients remember."""
        for folder in (self._journal.folder, self._memory):
            kept = sorted(job.name for job in folder.glob("*") if job.is_dir())
            try:
                for start in range(0, len(kept), _ASK_OF):
                    for job in self._api.gone(kept[start : start + _ASK_OF]):
                        shutil.rmtree(folder / job, ignore_errors=True)
            except (httpx.HTTPError, Refused, LeaseLost) as error:
                _log.warning("cannot ask which jobs are gone: %s", error)
                return

    def _workload(self, assignment: dict[str, Any]) -> Workload:
        job = assignment["job"]
        if self._loaded is None or self._loaded[0] != job:
            self._loaded = None  # frees the model of the job before
            unsettle()
            self._settled = False
            shutil.rmtree(self._dense, ignore_errors=True)
            self._loaded = (job, self._site.workload(assignment, self._dense, self._device))
            self._journal.forget_old()
            self.forget_gone()
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
                    _log.warning("no heartbeat: %s", str(error).partition("\n")[0])

        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(beat,), name="heartbeat", daemon=True)
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


def _forget_dead(folder: Path) -> None:
    """Removes snapshots of processes that are no more."""
    for old in folder.glob("*"):
        if not Path(f"/proc/{old.name}").exists():
            shutil.rmtree(old, ignore_errors=True)

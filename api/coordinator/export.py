"""Builds the model folder of a round as a zip; the same folder that `fedkrso run` writes."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

from sqlalchemy.orm import Session

from api.coordinator.advance import store
from api.coordinator.store import Store, rounds_ledger
from api.db import rounds
from api.db.jobs import OPEN_STATES
from api.db.session import reading, writing
from api.db.tables import Export, Job
from api.errors import is_outage
from api.services import rules, safekeeping
from api.services.jobs import rounds_of
from fedkrso_core.errors import CoreError
from fedkrso_core.export import summarize, write_folder
from telemetry.redact import redact

_log = logging.getLogger("api.coordinator")


def build(job_id: str, number: int) -> None:
    """building -> ready | failed; harmless if it is not building any more."""
    s = store()
    with reading(s.engine) as session:
        row, job = session.get(Export, (job_id, number)), session.get(Job, job_id)
        if row is None or job is None or row.state != "building":
            return
        if job.state == "running" and _awaits_metrics(session, job, number):
            return  # still building: the ticker asks again
    try:
        _finish(s, job_id, number, _zip(s, job, number), state="ready")
    except (CoreError, OSError) as error:
        _finish(s, job_id, number, state="failed", error=str(error))
    except Exception as error:
        if is_outage(error):
            raise  # still building: the ticker asks again
        _log.exception("export of job %s", job_id)
        _finish(s, job_id, number, state="failed", error=f"{type(error).__name__}: {error}")
    if job.state not in OPEN_STATES:
        s.forget(job_id)


def _awaits_metrics(session: Session, job: Job, number: int) -> bool:
    """Whether a round up to this one is still to be measured: the folder has all metrics."""
    without = [n for n, _ in rounds.unmeasured(session, job.id) if n <= number]
    return any(rules.evaluates(job.spec, n) for n in without)


def _finish(
    s: Store, job_id: str, number: int, kept: safekeeping.Kept | None = None, **values: str
) -> None:
    with writing(s.engine) as session:
        row = session.get(Export, (job_id, number))
        if row is None:  # the job was deleted meanwhile
            return
        if kept is not None:
            safekeeping.refer(session, kept)
            row.digest = kept.digest
        for name, value in values.items():
            setattr(row, name, redact(value))


def _zip(s: Store, job: Job, number: int) -> safekeeping.Kept:
    """Puts the round's model together and keeps the zipped folder."""
    work = s.workload(job)
    work.global_model.materialize(s.chain(job.id, number))
    sha = work.global_model.sha256()
    outs = [r.model_dump(mode="json") for r in rounds_of(s.engine, job.id) if r.round <= number]
    ledger = rounds_ledger(outs)
    with s.blobs.parts.workspace() as temporary:
        folder = Path(temporary) / "out"
        stopped = job.reason if job.state == "done" and number == job.rounds_closed else None
        write_folder(folder, work, ledger, summarize(work, work.spec, ledger, sha, stopped))
        archive = Path(temporary) / "model.zip"
        # weights do not compress: stored, a download is as fast as the disk
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    file.write(path, path.relative_to(folder))
        return safekeeping.put_file(s.engine, s.blobs, archive)

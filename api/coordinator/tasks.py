"""Celery tasks of the coordinator; each only decodes its message and calls the code.

What needs torch is imported by the process that does the work: a prefork parent must not have it.
"""

from __future__ import annotations

from api.queue import celery_app
from messaging.queues import ADVANCE_TASK, COLLECT_TASK, EXPORT_TASK

app = celery_app()


@app.task(name=ADVANCE_TASK)  # type: ignore[untyped-decorator]
def advance(job_id: str) -> None:
    """Looks at a job and does what it needs."""
    from api.coordinator import advance as advancing

    advancing.advance(job_id)


@app.task(name=EXPORT_TASK)  # type: ignore[untyped-decorator]
def export(job_id: str, number: int) -> None:
    """Builds the model folder of a round."""
    from api.coordinator import export as exporting

    exporting.build(job_id, number)


@app.task(name=COLLECT_TASK)  # type: ignore[untyped-decorator]
def collect() -> None:
    """Clears away what is kept no longer."""
    from api.coordinator import collect as collecting

    collecting.collect()

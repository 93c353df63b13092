"""The control plane's HTTP application: `uvicorn api.main:app`."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import errors
from api.body_limit import Envelope
from api.deps import database
from api.request_log import QUIET, RequestLog
from api.routes import (
    access,
    audit,
    catalogue,
    clients,
    externals,
    health,
    jobs,
    life,
    metrics,
    partitions,
    projects,
    series,
    service,
    uploads,
)
from api.services import keys
from api.settings import settings
from fedkrso_core import __version__
from telemetry import logs, tracing


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    logs.configure("api", secrets=settings().secrets())
    tracing.configure("api", __version__)
    for secret, role in (
        (settings().bootstrap_api_key, "admin"),
        (settings().bootstrap_worker_key, "worker"),
    ):
        if secret:
            keys.store(database(), secret, role)  # type: ignore[arg-type]
    threading.Thread(target=_warm_up, daemon=True).start()
    yield


def _warm_up() -> None:
    """Loads what checks a job, so that the first submit does not wait for torch."""
    import fedkrso_core.check  # noqa: F401


app = FastAPI(
    title="fedkrso",
    version=__version__,
    summary="Federated fine-tuning of language models",
    description="Submit jobs, follow their rounds, take the model home. Errors are problem "
    "documents (RFC 9457). Every route but the health checks needs an API key.",
    lifespan=_lifespan,
    # its spans, where traces are on; logs and figures are the service's own
    telemetry={
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "exclude": lambda scope: QUIET.search(scope.get("path", "")) is not None,
    },
)
errors.install(app)
for router in (
    jobs.router,
    series.router,
    service.router,
    partitions.router,
    uploads.router,
    life.router,
    clients.router,
    catalogue.router,
    access.users_router,
    access.keys_router,
    projects.router,
    externals.invitations_router,
    externals.enrolment_router,
    externals.externals_router,
    externals.own_router,
    externals.of_job_router,
    audit.router,
    health.router,
    metrics.router,
):
    app.include_router(router, responses=errors.problem_responses(503))
app.add_middleware(Envelope)
app.add_middleware(RequestLog)

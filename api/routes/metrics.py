"""Figures for Prometheus, guarded by a key of their own."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy import Engine

from api import counters
from api.deps import Config, Database
from api.errors import ApiError
from api.services.figures import Figures
from api.services.keys import hash_of, same

router = APIRouter(tags=["health"])
_bearer = HTTPBearer(auto_error=False)


@lru_cache(maxsize=1)
def _registry(engine: Engine) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(Figures(engine))
    return made


# not in the OpenAPI document: it is for one program, and has a key of its own
@router.get("/metrics", include_in_schema=False)
def metrics(
    engine: Database,
    settings: Config,
    given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Response:
    """The service's figures in Prometheus' text format. Needs FEDKRSO_METRICS_KEY as bearer."""
    _require_key(settings.metrics_key, given)
    body = generate_latest(counters.registry()) + generate_latest(_registry(engine))
    return Response(body, media_type=CONTENT_TYPE_LATEST)


def _require_key(key: str, given: HTTPAuthorizationCredentials | None) -> None:
    if not key:
        raise ApiError(401, "unauthorized", "/metrics is off: set FEDKRSO_METRICS_KEY of the API")
    if given is None or not same(given.credentials, hash_of(key)):
        raise ApiError(401, "unauthorized", "send Authorization: Bearer with FEDKRSO_METRICS_KEY")

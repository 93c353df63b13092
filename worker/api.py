"""The client's side of the HTTP protocol; the only way a worker reaches the service."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

_GIVE_UP_S = 120
_CHUNK_BYTES = 1024 * 1024


class LeaseLost(Exception):
    """Somebody else has the assignment now, or the job has ended."""


class Refused(Exception):
    """The service refuses what was sent, and would refuse it again."""


def _passing(error: BaseException) -> bool:
    """Worth another try: the network, or a server that restarts."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


class Api:
    """Claims, heartbeats, downloads and uploads; passing failures are retried with jitter."""

    def __init__(self, server: str, key: str, give_up_s: float = _GIVE_UP_S) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        timeout = httpx.Timeout(30.0, read=120.0, write=120.0)
        self._http = httpx.Client(base_url=server, headers=headers, timeout=timeout)
        self._give_up_s = give_up_s

    def close(self) -> None:
        """Closes the connections to the service."""
        self._http.close()

    def claim(self, worker: str) -> dict[str, Any] | None:
        """An assignment with its lease, or None; not retried, the next hint asks again."""
        answer = _checked(self._http.post("/v1/assignments/claim", json={"worker": worker}))
        return None if answer.status_code == 204 else answer.json()

    def heartbeat(self, assignment: dict[str, Any], step: int) -> float:
        """Keeps the lease; seconds until the next one. LeaseLost if it is gone.

        Not retried, the next one follows soon.
        """
        url = f"/v1/assignments/{assignment['id']}/heartbeat"
        answer = self._http.post(url, json={"step": step}, headers=_lease(assignment))
        return float(_checked(answer).json()["heartbeat_s"])

    def download(self, assignment: dict[str, Any], digest: str, target: Path) -> None:
        """A state of the journal, checked against its digest, whole or not at all."""
        url = f"/v1/assignments/{assignment['id']}/blobs/{digest}"
        self._retry(lambda: self._download(url, _lease(assignment), digest, target))

    def _download(self, url: str, headers: dict[str, str], digest: str, target: Path) -> None:
        # other processes may fetch the same state into the same folder
        part = target.with_name(f"{target.name}.{os.getpid()}-{id(self)}.part")
        total = hashlib.sha256()
        with self._http.stream("GET", url, headers=headers) as answer, part.open("wb") as file:
            if answer.is_error:
                answer.read()
            _checked(answer)
            for chunk in answer.iter_bytes(_CHUNK_BYTES):
                total.update(chunk)
                file.write(chunk)
        if total.hexdigest() != digest:
            part.unlink()
            raise httpx.ReadError(f"state {digest} arrived damaged")
        part.replace(target)

    def upload(self, assignment: dict[str, Any], body: bytes, report: dict[str, Any]) -> None:
        """Hands in the update; sending the same bytes twice is harmless."""
        url = f"/v1/assignments/{assignment['id']}/update"
        headers = {
            **_lease(assignment),
            "X-Content-SHA256": hashlib.sha256(body).hexdigest(),
            "Content-Type": "application/octet-stream",
        }
        self._retry(
            lambda: _checked(self._http.put(url, content=body, headers=headers, params=report))
        )

    def give_back(self, assignment: dict[str, Any], reason: str) -> None:
        """Lets somebody else have the assignment."""
        url = f"/v1/assignments/{assignment['id']}/fail"
        _checked(self._http.post(url, json={"reason": reason[:2000]}, headers=_lease(assignment)))

    def _retry(self, call: Callable[[], Any]) -> None:
        for attempt in Retrying(
            retry=retry_if_exception(_passing),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            stop=stop_after_delay(self._give_up_s),
            reraise=True,
        ):
            with attempt:
                call()


def _lease(assignment: dict[str, Any]) -> dict[str, str]:
    return {"X-Lease-Token": assignment["lease_token"]}


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.status_code == 409:
        raise LeaseLost(_detail(answer))
    if answer.is_client_error:
        raise Refused(_detail(answer))
    return answer.raise_for_status()


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"

"""The client's side of the HTTP protocol; the only way a worker reaches the service."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_delay,
    wait_random_exponential,
)

from telemetry import facts, request_id, tracing
from worker.stop import Stop

GIVE_UP_S = 1800.0  # a training's result is kept for this long while the service is away
_LONGEST_PAUSE_S = 5.0
_CLAIM_S, _HEARTBEAT_S = 30.0, 10.0
_CHUNK_BYTES = 1024 * 1024
_PATIENCE = (408, 425, 429)  # too slow, too early, too many: the same request may pass later
# it notes whole addresses, and a presigned one is a secret
logging.getLogger("httpx").setLevel(logging.WARNING)

Useless = Callable[[], bool]


class LeaseLost(Exception):
    """Somebody else has the assignment now, or the job has ended."""


class Refused(Exception):
    """The service refuses what was sent, and would refuse it again."""


def _passing(error: BaseException) -> bool:
    """Worth another try: the network, a server that restarts, or one that asks for patience."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code in _PATIENCE
    return isinstance(error, httpx.TransportError)


class Api:
    """Claims, heartbeats, downloads and uploads; passing failures are retried with jitter.

    An update that is refused for want of room (507) is sent again as if the service were away.
    """

    def __init__(
        self, server: str, key: str, give_up_s: float = GIVE_UP_S, stop: Stop | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        timeout = httpx.Timeout(30.0, read=120.0, write=120.0)
        hooks = {"request": [_say_which_work]}
        self._http = httpx.Client(
            base_url=server, headers=headers, timeout=timeout, event_hooks=hooks
        )
        # for the store of blobs: another host, which must see neither key nor lease
        self._elsewhere = httpx.Client(timeout=timeout)
        self._give_up_s = give_up_s
        self._stop = stop or Stop()

    def close(self) -> None:
        """Closes the connections to the service."""
        self._http.close()
        self._elsewhere.close()

    def claim(self, worker: str) -> dict[str, Any] | None:
        """An assignment with its lease, or None; not retried, the next hint asks again."""
        body = {"worker": worker}
        answer = _checked(self._http.post("/v1/assignments/claim", json=body, timeout=_CLAIM_S))
        return None if answer.status_code == 204 else answer.json()

    def heartbeat(self, assignment: dict[str, Any], step: int) -> float:
        """Keeps the lease; seconds until the next one. LeaseLost if it is gone.

        Not retried, the next one follows soon.
        """
        url = f"/v1/assignments/{assignment['id']}/heartbeat"
        # one that hangs must not keep the next ones from saving the lease
        timeout = min(_HEARTBEAT_S, assignment.get("lease_s", _HEARTBEAT_S) / 3)
        body = {"step": step}
        answer = self._http.post(url, json=body, headers=_lease(assignment), timeout=timeout)
        # a service of an older version says no pace
        return float(_checked(answer).json().get("heartbeat_s", 1.0))

    def download(
        self,
        assignment: dict[str, Any],
        digest: str,
        target: Path,
        useless: Useless = lambda: False,
    ) -> None:
        """A state of the journal, checked against its digest, whole or not at all.

        Tried again while the service is away, until that has become useless or the process ends.
        """
        url = f"/v1/assignments/{assignment['id']}/blobs/{digest}"
        self._retry(lambda: self._download(url, _lease(assignment), digest, target), useless)

    def _download(self, url: str, headers: dict[str, str], digest: str, target: Path) -> None:
        # other processes may fetch the same state into the same folder
        part = target.with_name(f"{target.name}.{os.getpid()}-{id(self)}.part")
        total = hashlib.sha256()
        with self._opened(url, headers) as answer, part.open("wb") as file:
            for chunk in answer.iter_bytes(_CHUNK_BYTES):
                total.update(chunk)
                file.write(chunk)
        if total.hexdigest() != digest:
            part.unlink()
            raise httpx.ReadError(f"state {digest} arrived damaged")
        part.replace(target)

    @contextmanager
    def _opened(self, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """The answer that has the bytes: the service's, or that of the store it points to."""
        with self._http.stream("GET", url, headers=headers) as answer:
            if answer.is_error:
                answer.read()
            if answer.status_code != httpx.codes.TEMPORARY_REDIRECT:
                yield _checked(answer)
                return
            link = answer.url.join(answer.headers["Location"])
        with self._elsewhere.stream("GET", link) as found:
            if not found.is_success:  # tried again, with a new link
                raise httpx.ReadError(f"the store of blobs answers {found.status_code}")
            yield found

    def upload(
        self,
        assignment: dict[str, Any],
        body: bytes,
        report: dict[str, Any],
        useless: Useless = lambda: False,
    ) -> None:
        """Hands in the update; sending the same bytes twice is harmless.

        Tried again while the service is away, until that has become useless or the process ends.
        """
        url = f"/v1/assignments/{assignment['id']}/update"
        headers = {
            **_lease(assignment),
            "X-Content-SHA256": hashlib.sha256(body).hexdigest(),
            "Content-Type": "application/octet-stream",
        }
        self._retry(
            lambda: _checked(self._http.put(url, content=body, headers=headers, params=report)),
            useless,
        )

    def give_back(self, assignment: dict[str, Any], reason: str) -> None:
        """Lets somebody else have the assignment."""
        url = f"/v1/assignments/{assignment['id']}/fail"
        _checked(self._http.post(url, json={"reason": reason[:2000]}, headers=_lease(assignment)))

    def _retry(self, call: Callable[[], Any], useless: Useless) -> None:
        late = stop_after_delay(self._give_up_s)

        def stop(state: RetryCallState) -> bool:
            return self._stop.is_set() or useless() or late(state)

        for attempt in Retrying(
            retry=retry_if_exception(_passing),
            wait=wait_random_exponential(multiplier=0.2, max=_LONGEST_PAUSE_S),
            stop=stop,
            sleep=self._stop.sleep,
            reraise=True,
        ):
            with attempt:
                call()


def _say_which_work(request: httpx.Request) -> None:
    """The service's log lines and spans are found together with those of this client."""
    tracing.inject(request.headers)
    known = facts.current().get("request_id")
    if known is not None:
        request.headers[request_id.HEADER] = known


def _lease(assignment: dict[str, Any]) -> dict[str, str]:
    return {"X-Lease-Token": assignment["lease_token"]}


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.status_code == 409:
        raise LeaseLost(_detail(answer))
    if answer.is_client_error and answer.status_code not in _PATIENCE:
        raise Refused(_detail(answer))
    return answer.raise_for_status()


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"

"""The client's side of the HTTP protocol; the only way a worker reaches the service."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception

from fedkrso_core.uploads import Uploaded, make_folder
from telemetry import facts, request_id, tracing
from worker.stop import Stop
from worker.transfer import Download, Upload, opened

GIVE_UP_S = 1800.0  # a training's result is kept for this long while the service is away
_LONGEST_PAUSE_S = 5.0
_CLAIM_S, _HEARTBEAT_S = 30.0, 10.0
_PATIENCE = (408, 425, 429)  # too slow, too early, too many: the same request may pass later
# it notes whole addresses, and a presigned one is a secret
logging.getLogger("httpx").setLevel(logging.WARNING)

Useless = Callable[[], bool]


class LeaseLost(Exception):
    """Somebody else has the assignment now, or the job has ended."""


class Refused(Exception):
    """The service refuses what was sent, and would refuse it again."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.status = status


def passing(error: BaseException) -> bool:
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
        self.moved = 0  # bytes of states and updates that crossed, in both directions
        self._stop = stop or Stop()

    def close(self) -> None:
        """Closes the connections to the service."""
        self._http.close()
        self._elsewhere.close()

    def claim(self, worker: str, wait_s: float = 0.0) -> dict[str, Any] | None:
        """An assignment with its lease, or None; not retried, the next hint asks again.

        With `wait_s` the service answers None only after that time.
        """
        body: dict[str, Any] = {"worker": worker} | ({"wait_s": wait_s} if wait_s else {})
        url, timeout = "/v1/assignments/claim", _CLAIM_S + wait_s
        answer = _checked(self._http.post(url, json=body, timeout=timeout))
        return None if answer.status_code == 204 else answer.json()

    def gone(self, jobs: Sequence[str]) -> list[str]:
        """Those of the jobs that were deleted; not retried, it is asked again some time."""
        answer = self._http.post("/v1/assignments/gone", json={"jobs": list(jobs)})
        return list(_checked(answer).json()["gone"])

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
        self._download(assignment, f"blobs/{digest}", digest, target, useless)
        self.moved += target.stat().st_size

    def download_rows(
        self, assignment: dict[str, Any], upload: Uploaded, useless: Useless = lambda: False
    ) -> None:
        """Uploaded rows that the assignment's job names, to where the core reads them."""
        make_folder()
        path = f"data/{upload.source}"
        self._download(assignment, path, upload.digest, upload.path, useless)

    def _download(
        self, assignment: dict[str, Any], path: str, digest: str, target: Path, useless: Useless
    ) -> None:
        url, lease = f"/v1/assignments/{assignment['id']}/{path}", _lease(assignment)
        transfer = Download(
            lambda range_: opened(self._http, self._elsewhere, url, lease, range_, _checked),
            digest,
            target,
        )
        try:
            self._retry(transfer, useless)
        finally:
            transfer.forget()

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
        transfer = Upload(self._http, url, body, _lease(assignment), report, _checked)
        self._retry(transfer, useless)
        self.moved += len(body)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What an external client's route answers; not retried."""
        answer = _checked(self._http.request(method, f"/v1/client{path}", json=body))
        return None if answer.status_code == 204 else answer.json()

    def report_holdout(
        self, assignment: dict[str, Any], num_examples: int, metrics: dict[str, float]
    ) -> None:
        """Says how good the round's model is on the client's own hold-out; not retried."""
        url = f"/v1/assignments/{assignment['id']}/holdout"
        body = {"num_examples": num_examples, "metrics": metrics}
        _checked(self._http.post(url, json=body, headers=_lease(assignment)))

    def give_back(self, assignment: dict[str, Any], reason: str) -> None:
        """Lets somebody else have the assignment."""
        url = f"/v1/assignments/{assignment['id']}/fail"
        _checked(self._http.post(url, json={"reason": reason[:2000]}, headers=_lease(assignment)))

    def _retry(self, transfer: Upload | Download, useless: Useless) -> None:
        """Until it is through. Pauses grow, and patience shrinks, while no byte moves."""
        moved, moved_at, fruitless = 0, time.monotonic(), 0

        def wait(_: RetryCallState) -> float:
            nonlocal moved, moved_at, fruitless
            if transfer.moved > moved:
                moved, moved_at, fruitless = transfer.moved, time.monotonic(), 0
            fruitless += 1
            return random.uniform(0.0, min(_LONGEST_PAUSE_S, 0.1 * 2.0**fruitless))

        def stop(_: RetryCallState) -> bool:
            late = time.monotonic() - moved_at > self._give_up_s and transfer.moved <= moved
            return self._stop.is_set() or useless() or late

        for attempt in Retrying(
            retry=retry_if_exception(passing),
            wait=wait,
            stop=stop,
            sleep=self._stop.sleep,
            reraise=True,
        ):
            with attempt:
                transfer()


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
        raise Refused(_detail(answer), answer.status_code)
    return answer.raise_for_status()


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"

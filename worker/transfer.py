"""Bytes between a client and the service over connections that break: what arrived is not resent.

Each transfer is an object that is called again after a failure and goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx

Headers = dict[str, str]
Check = Callable[[httpx.Response], httpx.Response]
Open = Callable[[Headers], AbstractContextManager[httpx.Response]]
_WRONG_PLACE = httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE


class Upload:
    """An update on its way: whole at first, later what the service does not have of it yet."""

    def __init__(
        self,
        http: httpx.Client,
        url: str,
        body: bytes,
        headers: Headers,
        report: dict[str, Any],
        checked: Check,
    ) -> None:
        self.moved = 0  # bytes that the service is known to have
        self._http, self._url, self._body, self._report = http, url, body, report
        self._digest = {"X-Content-SHA256": hashlib.sha256(body).hexdigest(), **headers}
        self._checked = checked
        self._tried = False

    def __call__(self) -> None:
        """Sends what is missing."""
        if self._tried:
            self.moved = self._received()
        self._tried = True
        headers = {**self._digest, "Content-Type": "application/octet-stream"}
        total = len(self._body)
        if self.moved:
            piece = f"{self.moved}-{total - 1}" if self.moved < total else "*"
            headers["Content-Range"] = f"bytes {piece}/{total}"
        content = memoryview(self._body)[self.moved :].tobytes() if self.moved else self._body
        answer = self._http.put(self._url, content=content, headers=headers, params=self._report)
        if answer.status_code == _WRONG_PLACE:  # another process of the service has less of it
            raise httpx.WriteError("the service lacks what came before")
        self._checked(answer)

    def _received(self) -> int:
        answer = self._http.get(self._url, headers=self._digest)
        # a service of an older version keeps nothing of an upload that broke
        return min(int(self._checked(answer).json().get("received", 0)), len(self._body))


class Download:
    """A blob on its way into a file: checked against its digest, whole or not there at all."""

    def __init__(self, open_it: Open, digest: str, target: Path) -> None:
        self._open, self._digest, self._target = open_it, digest, target
        # other processes may fetch the same blob into the same folder
        self._part = target.with_name(f"{target.name}.{os.getpid()}-{id(self)}.part")

    @property
    def moved(self) -> int:
        """Bytes that have arrived."""
        return self._part.stat().st_size if self._part.exists() else 0

    def __call__(self) -> None:
        """Fetches what is missing."""
        here = self.moved
        with self._open({"Range": f"bytes={here}-"} if here else {}) as answer:
            if answer.status_code == _WRONG_PLACE:  # all is here but the last look at it
                self._finish()
                return
            goes_on = _first_byte(answer) == here > 0
            with self._part.open("ab" if goes_on else "wb") as file:
                # as it comes: what waits for a larger chunk is lost with the connection
                for chunk in answer.iter_bytes():
                    file.write(chunk)
        self._finish()

    def _finish(self) -> None:
        with self._part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self._digest:
            self._part.unlink()
            raise httpx.ReadError(f"state {self._digest} arrived damaged")
        self._part.replace(self._target)

    def forget(self) -> None:
        """Removes what arrived of a blob that did not become whole."""
        self._part.unlink(missing_ok=True)


def _first_byte(answer: httpx.Response) -> int:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found and answer.status_code == httpx.codes.PARTIAL_CONTENT else 0


@contextmanager
def opened(
    http: httpx.Client,
    elsewhere: httpx.Client,
    url: str,
    lease: Headers,
    range_: Headers,
    checked: Check,
) -> Iterator[httpx.Response]:
    """The answer that has a blob's bytes: the service's, or that of the store it points to.

    The store, another host, sees neither key nor lease.
    """
    with http.stream("GET", url, headers={**lease, **range_}) as answer:
        if answer.is_error:
            answer.read()
        if answer.status_code != httpx.codes.TEMPORARY_REDIRECT:
            yield answer if answer.status_code == _WRONG_PLACE else checked(answer)
            return
        link = answer.url.join(answer.headers["Location"])
    with elsewhere.stream("GET", link, headers=range_) as found:
        if not found.is_success and found.status_code != _WRONG_PLACE:  # again, with a new link
            raise httpx.ReadError(f"the store of blobs answers {found.status_code}")
        yield found

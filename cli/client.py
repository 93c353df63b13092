"""The REST API as Python functions: JSON in, JSON out, problems as one exception."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx

from cli.errors import CliError

Json = dict[str, Any]
_AWAY = (502, 503, 504)
_NO_CONTENT = 204
_ELSEWHERE = 307
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServerAway(CliError):
    """Nothing answers there now; it may come back."""


class ApiProblem(CliError):
    """The server refused a request and said why."""

    def __init__(self, status: int, detail: str, errors: list[Json]) -> None:
        fields = [f"{error.get('field')}: {error.get('message')}" for error in errors]
        hints = ["give --key or set FEDKRSO_API_KEY"] if status == 401 else []
        super().__init__(detail, *fields, *hints)
        self.status = status
        self.detail = detail
        self.errors = errors


# a job is checked against its model and data, which the server may first have to load
SUBMIT_TIMEOUT_S = 180.0


class ApiClient:
    """A connection to a service; use it as a context manager."""

    def __init__(self, server: str, key: str | None, timeout_s: float = 30.0) -> None:
        self.server = server.rstrip("/")
        try:
            host = httpx.URL(self.server).host
        except httpx.InvalidURL as error:
            raise CliError(f"--server {server}: {error}", code=2) from None
        if not host or not self.server.startswith(("http://", "https://")):
            raise CliError(f"--server {server}: an address like http://host:8000", code=2)
        self._http = httpx.Client(
            base_url=self.server,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout_s,
            # a proxy of the environment does not know this machine's loopback
            trust_env=host not in _LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, method: str, *parts: str, params: Json | None = None, **body: Any) -> Json:
        """What /v1/PARTS answers; nothing for an answer without a body."""
        path = "/".join(["/v1", *(quote(part, safe="") for part in parts)])
        given = {name: value for name, value in (params or {}).items() if value is not None}
        with self._answer(method, path, params=given, **body) as answer:
            answer.read()
            if answer.status_code == _NO_CONTENT:
                return {}
            return self._read(answer)

    def submit(self, job: Json, project: str | None = None) -> Json:
        """Queue a job; the job as the server keeps it."""
        try:
            body = json.dumps(job, default=str, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise CliError(f"the job cannot be written as JSON: {error}", code=2) from None
        headers = {"Content-Type": "application/json"}
        return self._json(
            "POST",
            "/v1/jobs",
            content=body,
            headers=headers,
            params={} if project is None else {"project": project},
            timeout=SUBMIT_TIMEOUT_S,
        )

    def upload(self, file: BinaryIO, name: str, project: str | None = None) -> Json:
        """Send a file of rows; what the server says of it, with the `source` for a job file."""
        params = {"name": name} | ({} if project is None else {"project": project})
        headers = {"Content-Type": "application/octet-stream"}
        return self._json(
            "POST",
            "/v1/uploads",
            content=file,
            headers=headers,
            params=params,
            timeout=SUBMIT_TIMEOUT_S,
        )

    def jobs(
        self,
        limit: int = 50,
        after: str | None = None,
        state: str | None = None,
        project: str | None = None,
    ) -> tuple[list[Json], str | None]:
        """A page of jobs, newest first, and what to give as `after` for the next one."""
        asked = {"limit": limit, "after": after, "state": state, "project": project}
        params = {name: value for name, value in asked.items() if value is not None}
        page = self._json("GET", "/v1/jobs", params=params)
        return list(page["items"]), page.get("next")

    def job(self, job: str) -> Json:
        """The job with this id."""
        return self._json("GET", _path(job))

    def cancel(self, job: str) -> Json:
        """Stop a job; the job as it is then."""
        return self._json("POST", _path(job, "cancel"))

    def act(self, job: str, act: str) -> Json:
        """Pause, resume or retry a job; the job as it is then."""
        return self._json("POST", _path(job, act))

    def clone(self, job: str, changes: Json) -> Json:
        """Submit a job's file anew with some fields changed; the new job."""
        return self._json("POST", _path(job, "clone"), json=changes, timeout=SUBMIT_TIMEOUT_S)

    def prioritize(self, job: str, priority: int) -> Json:
        """Change a job's priority; the job as it is then."""
        return self._json("PATCH", _path(job), json={"priority": priority})

    def delete(self, job: str) -> None:
        """Remove an ended job with everything that is kept of it."""
        with self._answer("DELETE", _path(job)):
            pass

    def rounds(self, job: str) -> list[Json]:
        """Rounds of a job, oldest first."""
        return self._items(_path(job, "rounds"))

    def clients(self, job: str, round_: int) -> list[Json]:
        """What each client of a round is doing."""
        return self._items(_path(job, "rounds", str(round_), "clients"))

    def events(self, job: str, after: int = 0) -> list[Json]:
        """Events of a job after the one with id `after`."""
        return self._items(_path(job, "events"), {"format": "json", "after": after})

    def methods(self) -> list[Json]:
        """The registry of methods."""
        return self._items("/v1/methods")

    def save_model(self, job: str, round_: int | None, file: BinaryIO) -> float | None:
        """Write the model's zip to `file`; or, while it is being built, seconds to wait first."""
        params = {} if round_ is None else {"round": round_}
        with self._answer("GET", _path(job, "model"), params=params) as answer:
            if answer.status_code == 202:
                return _retry_after_s(answer)
            if answer.status_code != _ELSEWHERE:
                _save(answer, file)
                return None
            link = answer.url.join(answer.headers["Location"])
        with self._stored(link) as found:
            _save(found, file)
        return None

    @contextmanager
    def _stored(self, link: httpx.URL) -> Iterator[httpx.Response]:
        """What lies at a presigned address: on another host, which must not see the key."""
        try:
            with httpx.stream(
                "GET", link, timeout=30.0, trust_env=link.host not in _LOOPBACK
            ) as found:
                if not found.is_success:
                    raise CliError(f"the store at {link.host} answers {found.status_code}")
                yield found
        except httpx.TransportError as error:
            said = str(error) or type(error).__name__
            raise CliError(f"the store at {link.host} cannot be reached: {said}") from None

    def _items(self, path: str, params: Json | None = None) -> list[Json]:
        return list(self._json("GET", path, params=params)["items"])

    def _json(self, method: str, path: str, **request: Any) -> Json:
        with self._answer(method, path, **request) as answer:
            answer.read()
            return self._read(answer)

    def _read(self, answer: httpx.Response) -> Json:
        body = _object(answer)
        if body is None:
            raise CliError(f"{self.server} does not answer like a fedkrso server")
        return body

    @contextmanager
    def _answer(self, method: str, path: str, **request: Any) -> Iterator[httpx.Response]:
        try:
            with self._http.stream(method, path, **request) as answer:
                if answer.status_code in _AWAY:
                    raise ServerAway(f"{self.server} answers {answer.status_code}: not ready")
                if not answer.is_success and answer.status_code != _ELSEWHERE:
                    answer.read()
                    raise _problem(answer)
                yield answer
        except httpx.ConnectError:
            raise ServerAway(
                f"no server answers at {self.server}: start one with `fedkrso up` or give --server"
            ) from None
        except httpx.TransportError as error:
            said = str(error) or type(error).__name__
            raise ServerAway(f"{self.server} stopped answering: {said}") from None


def _save(answer: httpx.Response, file: BinaryIO) -> None:
    for chunk in answer.iter_bytes(1 << 20):
        file.write(chunk)


def _path(*parts: str) -> str:
    return "/".join(["/v1/jobs", *(quote(part, safe="") for part in parts)])


def _problem(answer: httpx.Response) -> ApiProblem:
    body = _object(answer) or {}
    asked = f"{answer.request.method} {answer.url.path}"
    detail = body.get("detail") or body.get("title") or f"{asked}: answer {answer.status_code}"
    return ApiProblem(answer.status_code, str(detail), body.get("errors") or [])


def _object(answer: httpx.Response) -> Json | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _retry_after_s(answer: httpx.Response) -> float:
    try:
        return min(max(float(answer.headers.get("Retry-After", 1)), 0.1), 30.0)
    except ValueError:
        return 1.0

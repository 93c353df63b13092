"""The REST API as a small class; whatever goes wrong is an ApiProblem with a readable text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from dashboard.settings import Settings

Json = dict[str, Any]
TIMEOUT_S = 10.0
# a job is checked against its model and data, which the server may first have to load
SUBMIT_TIMEOUT_S = 180.0
DOWNLOAD_TIMEOUT_S = UPLOAD_TIMEOUT_S = 300.0
# the server makes one estimate at a time
ESTIMATE_TIMEOUT_S = 600.0
ACCEPTED = 202
NO_CONTENT = 204
ELSEWHERE = 307


class ApiProblem(Exception):
    """A request that failed: status (0 without an answer), what happened, and the wrong fields."""

    def __init__(self, status: int, detail: str, errors: list[Json] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors or []


@dataclass(frozen=True)
class ModelDownload:
    """The answer to a model request: the zip, or how long to wait before asking again."""

    content: bytes = field(default=b"", repr=False)
    retry_after_s: float | None = None


class ApiClient:
    """Speaks to one server with one key; may be shared by threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        key = settings.api_key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=settings.server, headers=headers, timeout=TIMEOUT_S)

    def close(self) -> None:
        """Closes the connections to the server."""
        self._http.close()

    def ask(self, method: str, *parts: str, json: Json | None = None, **params: Any) -> Json:
        """What /v1/PARTS answers; nothing for an answer without a body."""
        given = {name: value for name, value in params.items() if value is not None}
        path = "/".join(["/v1", *map(_quoted, parts)])
        answer = self._send(method, path, json=json, params=given)
        return _json(answer) if answer.status_code != NO_CONTENT else {}

    def me(self) -> Json:
        """Who the caller is: user, role, projects, key."""
        return self._get("/v1/me")

    def jobs(self, limit: int = 20, **query: str | int | None) -> Json:
        """A page of jobs: items and next. `query`: after, state, search, sort, curve."""
        return self._get("/v1/jobs", limit=limit, **query)

    def series(self, jobs: Sequence[str], points: int = 200) -> list[Json]:
        """The curves of some jobs, in their order, each with at most so many points."""
        query: list[tuple[str, str | int | float | bool | None]] = [("job", job) for job in jobs]
        params = httpx.QueryParams([*query, ("points", points)])
        return _items(_json(self._send("GET", "/v1/jobs:series", params=params)))

    def job(self, job: str) -> Json:
        """One job as it stands now."""
        return self._get(_path(job))

    def submit(self, spec: Json, project: str | None = None) -> Json:
        """Starts a job; a spec with wrong fields raises ApiProblem 422 with `errors`."""
        params = {} if project is None else {"project": project}
        return _json(
            self._send("POST", "/v1/jobs", json=spec, params=params, timeout=SUBMIT_TIMEOUT_S)
        )

    def upload(self, name: str, content: bytes, project: str | None = None) -> Json:
        """Sends a file of rows; the answer's `source` is what a job's data names."""
        params = {"name": name} | ({} if project is None else {"project": project})
        headers = {"Content-Type": "application/octet-stream"}
        options: Json = {"content": content, "params": params, "headers": headers}
        return _json(self._send("POST", "/v1/uploads", timeout=UPLOAD_TIMEOUT_S, **options))

    def uploads(self) -> list[Json]:
        """The rows that were uploaded to the caller's projects, newest first."""
        return _items(self._get("/v1/uploads"))

    def estimate(self, spec: Json, methods: str = "") -> Json:
        """What a job will take, beside other methods ("all" or "a,b"); ApiProblem as `submit`."""
        return _json(
            self._send(
                "POST",
                "/v1/jobs:estimate",
                json=spec,
                params={"methods": methods},
                timeout=ESTIMATE_TIMEOUT_S,
            )
        )

    def partition(self, spec: Json) -> Json:
        """How the rows of a job would be divided; ApiProblem as `submit`."""
        return _json(self._send("POST", "/v1/jobs:partition", json=spec, timeout=SUBMIT_TIMEOUT_S))

    def cancel(self, job: str) -> None:
        """Stops a job; its closed rounds are kept."""
        self._send("POST", _path(job, "cancel"))

    def act(self, job: str, act: str) -> None:
        """Pauses, resumes or retries a job."""
        self._send("POST", _path(job, act))

    def clone(self, job: str, changes: Json) -> Json:
        """Submits a job's file anew with some fields changed; ApiProblem as `submit`."""
        return _json(
            self._send("POST", _path(job, "clone"), json=changes, timeout=SUBMIT_TIMEOUT_S)
        )

    def prioritize(self, job: str, priority: int) -> None:
        """Changes the priority of a job."""
        self._send("PATCH", _path(job), json={"priority": priority})

    def delete(self, job: str) -> None:
        """Removes an ended job with everything that is kept of it."""
        self._send("DELETE", _path(job))

    def rounds(self, job: str, last: int | None = None) -> list[Json]:
        """The rounds of a job so far, or the newest of them."""
        return _items(self._get(_path(job, "rounds"), last=last))

    def clients(self, job: str, number: int) -> list[Json]:
        """What each client of a round is doing."""
        return _items(self._get(_path(job, "rounds", str(number), "clients")))

    def events(self, job: str, after: int | None = None, last: int | None = None) -> list[Json]:
        """What happened to a job, oldest first, after the event with that id, or the newest."""
        return _items(self._get(_path(job, "events"), format="json", after=after, last=last))

    def model(self, job: str, number: int) -> ModelDownload:
        """The zip of a round's model, or the time to wait while the server builds it."""
        answer = self._send(
            "GET", _path(job, "model"), params={"round": number}, timeout=DOWNLOAD_TIMEOUT_S
        )
        if answer.status_code == ACCEPTED:
            return ModelDownload(retry_after_s=_seconds(answer.headers.get("Retry-After")))
        if answer.status_code == ELSEWHERE:
            return ModelDownload(content=_stored(answer.url.join(answer.headers["Location"])))
        return ModelDownload(content=answer.content)

    def methods(self) -> list[Json]:
        """The methods of the registry with the JSON schema of their options."""
        return _items(self._get("/v1/methods"))

    def models(self) -> list[Json]:
        """The models that are there without a download."""
        return _items(self._get("/v1/models"))

    def datasets(self) -> list[Json]:
        """The built-in data sets."""
        return _items(self._get("/v1/datasets"))

    def job_schema(self) -> Json:
        """The JSON schema of a job."""
        return self._get("/v1/schemas/job")

    def _get(self, path: str, **params: str | int | None) -> Json:
        given = {name: value for name, value in params.items() if value is not None}
        return _json(self._send("GET", path, params=given))

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TimeoutException:
            raise ApiProblem(
                0, f"The server at {self.settings.server} does not answer in time."
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiProblem(
                0, f"The server at {self.settings.server} cannot be reached: {error}."
            ) from None
        if answer.is_success or answer.status_code == ELSEWHERE:
            return answer
        raise _problem(answer)


def _stored(link: httpx.URL) -> bytes:
    """What lies at a presigned address: on another host, which must not see the key."""
    try:
        found = httpx.get(link, timeout=DOWNLOAD_TIMEOUT_S)
    except httpx.HTTPError as error:
        raise ApiProblem(0, f"The store at {link.host} cannot be reached: {error}.") from None
    if not found.is_success:
        raise ApiProblem(0, f"The store at {link.host} answers {found.status_code}.")
    return found.content


def _path(job: str, *parts: str) -> str:
    return "/".join(["/v1/jobs", _quoted(job), *parts])


def _quoted(part: str) -> str:
    # an id may come from the address bar: it must not climb out of its folder
    return quote(part, safe="").replace(".", "%2E")


def _json(answer: httpx.Response) -> Json:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiProblem(answer.status_code, "The answer is not JSON: is this the right server?")
    return body


def _items(body: Json) -> list[Json]:
    return list(body.get("items", []))


def _problem(answer: httpx.Response) -> ApiProblem:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    known = body if isinstance(body, dict) else {}
    detail = known.get("detail") or known.get("title") or f"{answer.reason_phrase}."
    errors = known.get("errors")
    return ApiProblem(answer.status_code, str(detail), errors if isinstance(errors, list) else None)


def _seconds(header: str | None) -> float:
    try:
        return max(0.1, float(header or ""))
    except ValueError:
        return 1.0

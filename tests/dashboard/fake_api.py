"""Answers like the API, from canned rounds in memory; it validates jobs for real."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel

from api.partition_schemas import PartitionOut
from api.schemas import (
    EstimateOut,
    EventOut,
    JobOut,
    MethodOut,
    PriorityIn,
    RoundClientOut,
    RoundOut,
)
from api.series_schemas import SeriesOut
from fedkrso_core.clone import changed
from fedkrso_core.errors import SpecError
from fedkrso_core.spec import JobSpec, parse
from tests.dashboard.canned import METHODS, START, ZIP, clients_of, estimate, open_round, points_of
from tests.dashboard.fake_access import FakeAccess
from tests.dashboard.fake_admin import FakeAdmin
from tests.dashboard.fake_uploads import FakeUploads
from tests.dashboard.refusal import Refusal

Json = dict[str, Any]
KEY = "secret"


class FakeApi:
    """Jobs in memory; a test moves a job on with `close_round`."""

    def __init__(self) -> None:
        self.url = ""
        self.jobs: dict[str, Json] = {}
        self.rounds: dict[str, list[Json]] = {}
        self.down = False
        self.may_estimate = threading.Event()
        self.may_estimate.set()
        self.builds_to_wait = 0
        self.model_requests = 0
        self.series_requests = 0
        self.requests: list[str] = []  # paths, in the order in which they came
        self.projects = ["default"]
        self.keys = {KEY: ("admin", "admin")}  # of which user and role
        self.models_elsewhere = False
        self.uploads = FakeUploads()
        self.access = FakeAccess()
        self.admin = FakeAdmin()

    def add_job(self, spec: Json, state: str = "running") -> str:
        """A job that has opened its first round."""
        job = f"job{len(self.jobs) + 1}"
        full = parse(spec)
        self.jobs[job] = {
            "id": job,
            "name": full.name,
            "state": state,
            "waiting_for": "client 7, last heartbeat 4 s ago" if state == "running" else None,
            "method": full.method.name,
            "model": full.model,
            "rounds": full.rounds.count,
            "rounds_closed": 0,
            "bytes_up": 0,
            "bytes_down": 0,
            "peak_memory_bytes": 0,
            "created_at": START.isoformat(),
            "started_at": START.isoformat(),
            "spec": full.model_dump(mode="json"),
        }
        self.rounds[job] = [open_round(1)] if state == "running" else []
        return job

    def close_round(self, job: str) -> None:
        """Closes the open round; after the last one the job is done."""
        row, current = self.jobs[job], self.rounds[job][-1]
        number = current["round"]
        metrics = {"accuracy": 1 - 0.6 / number, "loss": 1.4 / number, "f1": 1 - 0.7 / number}
        current |= {"state": "closed", "done": 4, "metrics": metrics}
        current |= {"bytes_up": 400_000, "bytes_down": 1_300_000 * number}
        current |= {"peak_memory_bytes": 310_000_000 + 5_000_000 * number}
        current |= {"seconds": {"train": 12.5, "aggregate": 0.4, "evaluate": 1.9}}
        row["rounds_closed"] = number
        row["metrics"] = metrics
        row["peak_memory_bytes"] = current["peak_memory_bytes"]
        for name in ("bytes_up", "bytes_down"):
            row[name] += current[name]
        if number == row["rounds"]:
            row |= {"state": "done", "finished_at": datetime.now(UTC).isoformat()}
        else:
            self.rounds[job].append(open_round(number + 1))

    def answer(self, method: str, url: str, body: Json, key: str = KEY) -> tuple[int, Any]:
        """The status and body of a request."""
        if url.startswith("/store/"):
            return 200, ZIP
        if key not in self.keys:
            raise Refusal(401, "This key is not known")
        user, role = self.keys[key]
        self.who = {"user": user, "role": role, "projects": self.projects, "key": {"id": "k"}}
        if self.down:
            raise Refusal(503, "The database is locked")
        split = urlsplit(url)
        self.requests.append(split.path)
        given = parse_qs(split.query).items()
        query = {name: values if len(values) > 1 else values[0] for name, values in given}
        path = unquote(split.path)
        if found := self.access.answer(method, path, body):
            return found
        if found := self.admin.answer(method, path, body, query):
            self.keys |= self.admin.made
            return found
        if path == "/v1/uploads":
            return self.uploads.answer(body, query)
        if method == "DELETE":
            del self.jobs[split.path.rsplit("/", 1)[1]]
            return 204, b""
        for pattern, handler in self._routes():
            match = re.fullmatch(f"{method} {pattern}", f"{method} {split.path}")
            if match:
                return handler(*map(unquote, match.groups()), query=query, body=body)
        raise Refusal(404, f"No route {split.path}")

    def _routes(self) -> list[tuple[str, Callable[..., tuple[int, Any]]]]:
        return [
            ("/v1/jobs", self._jobs),
            ("/v1/jobs:estimate", self._estimate),
            ("/v1/jobs:series", self._series),
            ("/v1/jobs:partition", self._partition),
            ("/v1/jobs/([^/]+)", self._one),
            ("/v1/jobs/([^/]+)/cancel", self._cancel),
            ("/v1/jobs/([^/]+)/(pause|resume|retry)", self._act),
            ("/v1/jobs/([^/]+)/clone", self._clone),
            ("/v1/jobs/([^/]+)/rounds", self._rounds),
            ("/v1/jobs/([^/]+)/rounds/([0-9]+)/clients", self._clients),
            ("/v1/jobs/([^/]+)/events", self._events),
            ("/v1/jobs/([^/]+)/model", self._model),
            ("/v1/me", lambda **_: (200, self.who)),
            ("/v1/methods", lambda **_: (200, _page(MethodOut, METHODS))),
            ("/v1/models", lambda **_: (200, {"items": [{"name": "minilm", "title": "MiniLM"}]})),
            ("/v1/datasets", lambda **_: (200, {"items": [{"name": "pydocs", "title": "Docs"}]})),
            ("/v1/schemas/job", lambda **_: (200, JobSpec.model_json_schema())),
        ]

    def _job(self, job: str) -> Json:
        if job not in self.jobs:
            raise Refusal(404, f"There is no job {job}")
        return JobOut.model_validate(self.jobs[job]).model_dump(mode="json")

    def _jobs(self, query: Json, body: Json) -> tuple[int, Any]:
        if body:
            _require_job(body)
            job = self.add_job(body)
            self.jobs[job]["project"] = query.get("project", "default")
            return 201, self._job(job)
        found = [job for job in self._ordered(query) if self._matches(job, query)]
        limit = int(query.get("limit", 20))
        following = found[limit - 1] if len(found) > limit else None
        items = [self._job(job) | self._curve(job, query) for job in found[:limit]]
        return 200, {"items": items, "next": following}

    def _ordered(self, query: Json) -> list[str]:
        """All jobs as they are sorted, those alone that follow the cursor."""
        match query.get("sort", "newest"):
            case "name":
                jobs = sorted(self.jobs, key=lambda job: self.jobs[job]["name"].lower())
            case "oldest":
                jobs = list(self.jobs)
            case _:
                jobs = list(reversed(self.jobs))
        return jobs[jobs.index(query["after"]) + 1 :] if "after" in query else jobs

    def _curve(self, job: str, query: Json) -> Json:
        measured = [(r["round"], r["metrics"]["accuracy"]) for r in self._closed(job)]
        return {"curve": measured if int(query.get("curve", 0)) else []}

    def _closed(self, job: str) -> list[Json]:
        return [item for item in self.rounds[job] if item["state"] == "closed"]

    def _series(self, query: Json, **_: Json) -> tuple[int, Any]:
        self.series_requests += 1
        jobs = query["job"] if isinstance(query["job"], list) else [query["job"]]
        common = ("id", "name", "state", "method", "rounds", "rounds_closed")
        return 200, _page(
            SeriesOut,
            [
                {name: self._job(job)[name] for name in (*common, "headline", "higher_is_better")}
                | {"points": points_of(self._closed(job))}
                for job in jobs
            ],
        )

    def _estimate(self, query: Json, body: Json) -> tuple[int, Any]:
        assert self.may_estimate.wait(10)
        _require_job(body)
        answer = EstimateOut.model_validate(estimate(body, query.get("methods", "")))
        return 200, answer.model_dump(mode="json")

    def _partition(self, body: Json, **_: Json) -> tuple[int, Any]:
        _require_job(body)
        count = body["clients"]["count"]
        if count > 50:
            error = {"field": "partition", "message": f"{count} clients cannot share 50 rows"}
            raise Refusal(422, "Wrong job", [error])
        shares = [{"client": n, "num_examples": 10 + n, "labels": [10, n]} for n in range(count)]
        answer = {"num_examples": sum(10 + n for n in range(count)), "num_validation": 5}
        answer |= {"labels": ["good", "bad"], "num_clients": count, "clients": shares}
        return 200, PartitionOut.model_validate(answer).model_dump(mode="json")

    def _matches(self, job: str, query: Json) -> bool:
        text = query.get("search", "").lower()
        return text in self.jobs[job]["name"].lower() and query.get("state") in (
            None,
            self.jobs[job]["state"],
        )

    def _cancel(self, job: str, **_: Json) -> tuple[int, Any]:
        self.jobs[job] |= {"state": "cancelled", "finished_at": datetime.now(UTC).isoformat()}
        return 200, self._job(job)

    def _one(self, job: str, body: Json, **_: Json) -> tuple[int, Any]:
        answer = self._job(job)
        if body:
            self.jobs[job] |= PriorityIn.model_validate(body).model_dump()
            answer = self._job(job)
        return 200, answer

    def _act(self, job: str, act: str, **_: Json) -> tuple[int, Any]:
        self.jobs[job]["state"] = {"pause": "paused", "resume": "running", "retry": "queued"}[act]
        return 200, self._job(job)

    def _clone(self, job: str, body: Json, **_: Json) -> tuple[int, Any]:
        spec = changed(self.jobs[job]["spec"], body)
        _require_job(spec)
        return 201, self._job(self.add_job(spec))

    def _rounds(self, job: str, query: Json, **_: Json) -> tuple[int, Any]:
        return 200, _page(RoundOut, self.rounds[job][-int(query.get("last", 1000)) :])

    def _clients(self, job: str, number: str, **_: Json) -> tuple[int, Any]:
        return 200, _page(RoundClientOut, clients_of(self.rounds[job][int(number) - 1]))

    def _events(self, job: str, query: Json, **_: Json) -> tuple[int, Any]:
        assert query["format"] == "json"
        events = [
            {
                "id": item["round"],
                "at": (START + timedelta(seconds=20 * item["round"])).isoformat(),
                "kind": "round-closed",
                "text": f"Round {item['round']} closed: 4 of 4 clients",
            }
            for item in self.rounds[job]
            if item["state"] == "closed" and item["round"] > int(query.get("after", 0))
        ]
        return 200, _page(EventOut, events)

    def _model(self, job: str, query: Json, **_: Json) -> tuple[int, Any]:
        assert int(query["round"]) <= self.jobs[job]["rounds_closed"]
        self.model_requests += 1
        if self.model_requests <= self.builds_to_wait:
            return 202, {"state": "building"}
        return (307, b"") if self.models_elsewhere else (200, ZIP)


def _require_job(body: Json) -> None:
    try:
        parse(body)
    except SpecError as error:
        raise Refusal(422, "Wrong job", [vars(item) for item in error.problems]) from None


def _page(schema: type[BaseModel], items: Sequence[Json]) -> Json:
    """The items as the schema writes them: a canned answer that breaks the contract fails here."""
    return {"items": [schema.model_validate(item).model_dump(mode="json") for item in items]}

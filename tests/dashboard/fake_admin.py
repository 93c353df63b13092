"""The fake API's keys, users, projects, audit log and condition, in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from api.access_schemas import (
    AuditPage,
    KeyIn,
    KeyMade,
    KeyOut,
    ProjectIn,
    ProjectOut,
    UserChange,
    UserIn,
    UserOut,
)
from api.schemas import ServiceOut
from tests.dashboard.fake_access import ago
from tests.dashboard.refusal import Refusal

Json = dict[str, Any]
Answer = tuple[int, Any]
SECRET = "fk_0000000000000001_only-once"


class FakeAdmin:
    """An admin and the project that every service has; 120 lines in the log."""

    def __init__(self) -> None:
        self.keys: dict[str, Json] = {}
        self.made: dict[str, tuple[str, str]] = {}  # secrets of made keys, of which user and role
        self.users: dict[str, Json] = {}
        self.projects: dict[str, Json] = {}
        self._add_user({"name": "admin", "role": "admin"})
        self._add_project({"name": "default"})
        self.condition: Json = {
            "version": "0.1.0",
            "checks": {"database": "ok", "broker": "ok", "blobs": "ok"},
            "queues": {"clients": 3, "coordinator": 0},
            "workers": [{"name": "gpu-1", "heard_at": ago(4), "busy": True}],
            "jobs": {"running": 1, "done": 2, "failed": 0},
        }

    def answer(self, method: str, path: str, body: Json, query: Mapping[str, Any]) -> Answer | None:
        """None for a path that is none of these."""
        if (method, path) == ("GET", "/v1/audit"):
            return self._audit(query)
        for pattern, handler in self._routes():
            match = re.fullmatch(pattern, f"{method} {path}")
            if match:
                return handler(*match.groups(), *([body] if body else []))
        return None

    def _routes(self) -> list[tuple[str, Callable[..., Answer]]]:
        return [
            ("GET /v1/service", lambda: (200, _as(ServiceOut, self.condition))),
            ("GET /v1/keys", lambda: _page(KeyOut, self.keys)),
            ("POST /v1/keys", self._make_key),
            ("DELETE /v1/keys/([^/]+)", self._revoke_key),
            ("GET /v1/users", lambda: _page(UserOut, self.users)),
            ("POST /v1/users", self._add_user),
            ("PATCH /v1/users/([^/]+)", self._change_user),
            ("GET /v1/projects", lambda: _page(ProjectOut, self.projects)),
            ("POST /v1/projects", self._add_project),
            ("(PUT|DELETE) /v1/projects/([^/]+)/members/([^/]+)", self._member),
        ]

    def _make_key(self, body: Json) -> Answer:
        asked = KeyIn.model_validate(body)
        if asked.user is not None:
            if asked.user not in self.users:
                raise Refusal(404, f"user {asked.user!r} is not known")
            self.made[SECRET] = (asked.user, self.users[asked.user]["role"])
        row = {"id": f"key{len(self.keys) + 1}", "role": asked.role, "user": asked.user}
        row |= {"label": asked.label, "state": "valid", "created_at": ago(0)}
        self.keys[str(row["id"])] = row
        return 201, _as(KeyMade, row | {"key": SECRET})

    def _revoke_key(self, key: str) -> Answer:
        self.keys[key]["state"] = "revoked"
        return 200, _as(KeyOut, self.keys[key])

    def _add_user(self, body: Json) -> Answer:
        asked = UserIn.model_validate(body)
        projects = None if asked.role == "admin" else []
        row = {"name": asked.name, "role": asked.role, "disabled": False, "projects": projects}
        self.users[asked.name] = row | {"created_at": ago(60)}
        return 201, _as(UserOut, self.users[asked.name])

    def _change_user(self, name: str, body: Json) -> Answer:
        self.users[name] |= UserChange.model_validate(body).model_dump(exclude_none=True)
        return 200, _as(UserOut, self.users[name])

    def _add_project(self, body: Json) -> Answer:
        name = ProjectIn.model_validate(body).name
        row = {"name": name, "members": [], "open_jobs": 0, "max_open_jobs": 20}
        self.projects[name] = row | {"created_at": ago(60)}
        return 201, _as(ProjectOut, self.projects[name])

    def _member(self, method: str, project: str, user: str) -> Answer:
        members = self.projects[project]["members"]
        members.append(user) if method == "PUT" else members.remove(user)
        return 200, _as(ProjectOut, self.projects[project])

    def _audit(self, query: Mapping[str, Any]) -> Answer:
        before = int(query.get("after", 121))
        ids = list(range(before - 1, 0, -1))
        shown = ids[: int(query["limit"])]
        who = query.get("user", "admin")
        line = {"at": ago(5), "user": who, "action": "jobs.cancel", "outcome": "ok"}
        page = {"items": [line | {"id": number, "target": f"job{number}"} for number in shown]}
        return 200, _as(AuditPage, page | {"next": shown[-1] if len(ids) > len(shown) else None})


def _as(schema: Any, row: Json) -> Json:
    """As the schema writes it: a canned answer that breaks the contract fails here."""
    answer: Json = schema.model_validate(row).model_dump(mode="json")
    return answer


def _page(schema: Any, rows: Mapping[str, Json]) -> Answer:
    return 200, {"items": [_as(schema, row) for row in rows.values()]}

"""The fake API's external clients and invitations, in memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from api.client_schemas import (
    ClientChange,
    ExternalOut,
    InvitationIn,
    InvitationMade,
    InvitationOut,
)

Json = dict[str, Any]
Answer = tuple[int, Any]
TOKEN = "fi_0000000000000001_of-the-invitation"


def ago(seconds: float) -> str:
    """That long ago, as the API writes it."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


class FakeAccess:
    """What a test puts into `clients`, and invitations that the page makes."""

    def __init__(self) -> None:
        self.clients: dict[str, Json] = {}
        self.invitations: dict[str, Json] = {}

    def add_client(self, name: str, **changed: Any) -> str:
        """A client that was heard of a moment ago."""
        client_id = f"client{len(self.clients) + 1}"
        self.clients[client_id] = {
            "id": client_id,
            "name": name,
            "project": "default",
            "labels": {"site": "eu"},
            "state": "active",
            "created_at": ago(3600),
            "heartbeat_at": ago(4),
            "version": "0.1.0",
            "hardware": {"device": "cuda", "threads": 8, "free_memory_bytes": 11_200_000_000},
            **changed,
        }
        return client_id

    def answer(self, method: str, path: str, body: Json) -> Answer | None:
        """None for a path that is none of these."""
        for pattern, handler in self._routes():
            match = re.fullmatch(pattern, f"{method} {path}")
            if match:
                return handler(*match.groups(), body=body)
        return None

    def _routes(self) -> list[tuple[str, Callable[..., Answer]]]:
        return [
            ("GET /v1/clients", self._clients),
            ("PATCH /v1/clients/([^/]+)", self._label),
            ("POST /v1/clients/([^/]+)/release", self._release),
            ("DELETE /v1/clients/([^/]+)", self._revoke),
            ("GET /v1/invitations", self._invitations),
            ("POST /v1/invitations", self._invite),
            ("DELETE /v1/invitations/([^/]+)", self._uninvite),
        ]

    def _clients(self, **_: Json) -> Answer:
        return 200, {"items": [_as(ExternalOut, row) for row in self.clients.values()]}

    def _client(self, client_id: str, **changed: Any) -> Answer:
        self.clients[client_id] |= changed
        return 200, _as(ExternalOut, self.clients[client_id])

    def _label(self, client_id: str, body: Json) -> Answer:
        return self._client(client_id, labels=ClientChange.model_validate(body).labels)

    def _release(self, client_id: str, **_: Json) -> Answer:
        return self._client(client_id, state="active", offences=0, quarantined_at=None)

    def _revoke(self, client_id: str, **_: Json) -> Answer:
        return self._client(client_id, state="revoked")

    def _invitations(self, **_: Json) -> Answer:
        return 200, {"items": [_as(InvitationOut, row) for row in self.invitations.values()]}

    def _invite(self, body: Json) -> Answer:
        asked = InvitationIn.model_validate(body)
        row = {"id": f"invitation{len(self.invitations) + 1}", "state": "open"}
        row |= {"project": asked.project or "default", "labels": asked.labels}
        row |= {"created_at": ago(0), "created_by": "admin", "expires_at": ago(-asked.expires_in_s)}
        self.invitations[row["id"]] = row
        return 201, _as(InvitationMade, row | {"token": TOKEN})

    def _uninvite(self, invitation_id: str, **_: Json) -> Answer:
        self.invitations[invitation_id]["state"] = "revoked"
        return 200, _as(InvitationOut, self.invitations[invitation_id])


def _as(schema: Any, row: Json) -> Json:
    """As the schema writes it: a canned answer that breaks the contract fails here."""
    answer: Json = schema.model_validate(row).model_dump(mode="json")
    return answer

"""A database with a row behind every kind of id, so that requests find something."""

from __future__ import annotations

import zlib
from typing import Any

from schemathesis.generation.case import Case

from api.assignment_schemas import AssignmentOut
from api.blobs import FolderBlobs
from api.client_schemas import InvitationIn
from api.db.session import writing
from api.db.tables import Upload
from api.services import invitations, safekeeping
from tests.api import people
from tests.api.exchange import as_user, as_worker
from tests.api.house import House


class Seeded:
    """A job that is done, one that runs, and an assignment under a lease."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.source = _uploaded(house)
        self.done = house.open_job(clients=1)
        house.finish_round(self.done)
        self._start()

        self.external = people.external(house.engine, "a")
        asked = InvitationIn(expires_in_s=3600)
        self.invitation = invitations.create(house.engine, people.ADMIN, asked)

    def role_of(self, tags: list[str]) -> dict[str, str]:
        """Who asks a route with these tags."""
        if "enrolment" in tags:
            return people.bearer(self.invitation.token)
        if "this client" in tags:
            return people.bearer(self.external.key)
        return as_worker() if "clients" in tags else as_user()

    def _start(self) -> None:
        self.running = self.house.open_job(clients=20, rounds=3, data={"train": self.source})
        self.seat: AssignmentOut = self.house.claim()

    def fill_in(self, case: Case) -> dict[str, str]:
        """Puts ids of rows that are there into every second request; gives its lease."""
        if not case.path_parameters or _coin(case, "known"):
            return {}
        self._renew()
        ends = case.path.endswith("/events")
        known = {
            # the events of a running job are a stream without an end
            "job_id": self.done if _coin(case, "done") or ends else self.running,
            "number": 1,
            "assignment_id": self.seat.id,
            "digest": self.seat.states[0].digest,
            "invitation_id": self.invitation.id,
            "client_id": self.external.client.id,
            "source": self.source,
        }
        case.path_parameters |= {n: known[n] for n in case.path_parameters if n in known}
        return {"X-Lease-Token": self.seat.lease_token}

    def _renew(self) -> None:
        """Whatever the requests before did: a job runs and one of its seats is leased."""
        gone = self.house.find(self.running) is None
        if gone or self.house.get(self.running).state != "running":
            self._start()
        elif self.house.seat(self.seat.id).state != "leased":
            self.seat = self.house.claim()


def _uploaded(house: House) -> str:
    """The source of uploaded rows of the default project."""
    kept = safekeeping.put(house.engine, FolderBlobs(house.settings.blob_folder), b"text\na\n")
    row = Upload(
        source=f"upload:{kept.digest}.csv",
        project="default",
        digest=kept.digest,
        name="rows.csv",
        size=7,
        rows=1,
        columns=["text"],
        created_at=0.0,
    )
    with writing(house.engine) as session:
        safekeeping.refer(session, kept)
        session.add(row)
    return row.source


def _coin(case: Case, salt: str) -> Any:
    """Falls the same way for the same request."""
    return zlib.crc32(f"{case.path_parameters} {case.method} {salt}".encode("utf-8", "replace")) % 2

"""External clients: invitations and enrolment, and what operators see and do about them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from api import guard
from api.access_schemas import RotateIn
from api.client_schemas import (
    ClientChange,
    EnrolIn,
    Enrolled,
    ExternalOut,
    Externals,
    HelloIn,
    InvitationIn,
    InvitationMade,
    InvitationOut,
    Invitations,
    JoinedOut,
    JoinIn,
    Offers,
    RefuseIn,
    Taking,
)
from api.deps import Database
from api.errors import problem_responses
from api.guard import CallerOf
from api.services import enrolment, invitations, offences, offers

invitations_router = guard.router("/v1/invitations", "invitations", guard.ForMembers)
enrolment_router = guard.router("/v1/enrolments", "enrolment", guard.ForInvited)
externals_router = guard.router("/v1/clients", "external clients", guard.ForMembers)
own_router = guard.router("/v1/client", "this client", guard.ForClients)
of_job_router = guard.router("/v1/jobs", "external clients", guard.ForMembers)

OfProject = Annotated[str | None, Query(max_length=64, description="Only those of this project")]


@invitations_router.post("", status_code=201, responses=problem_responses(404))
def create_invitation(body: InvitationIn, engine: Database, caller: CallerOf) -> InvitationMade:
    """Invites one external client; the token is shown this once."""
    return invitations.create(engine, caller, body)


@invitations_router.get("", responses=problem_responses(404))
def list_invitations(engine: Database, caller: CallerOf, project: OfProject = None) -> Invitations:
    """Invitations without their tokens, newest first."""
    return Invitations(items=invitations.listing(engine, caller, project))


@invitations_router.delete("/{invitation_id}", responses=problem_responses(404))
def revoke_invitation(invitation_id: str, engine: Database, caller: CallerOf) -> InvitationOut:
    """Makes an invitation invalid. A client that enrolled with it stays."""
    return invitations.revoke(engine, caller, invitation_id)


@enrolment_router.post("", status_code=201, responses=problem_responses(409))
def enrol(body: EnrolIn, engine: Database, caller: CallerOf) -> Enrolled:
    """Exchanges the token of an invitation, sent as the bearer, for a client's own key."""
    return enrolment.enrol(engine, caller, body)


@externals_router.get("", responses=problem_responses(404))
def list_clients(engine: Database, caller: CallerOf, project: OfProject = None) -> Externals:
    """External clients by project and name, with when they were last heard of."""
    return Externals(items=enrolment.listing(engine, caller, project))


@externals_router.get("/{client_id}", responses=problem_responses(404))
def get_client(client_id: str, engine: Database, caller: CallerOf) -> ExternalOut:
    """One external client."""
    return enrolment.get(engine, caller, client_id)


@externals_router.patch("/{client_id}", responses=problem_responses(404))
def change_client(
    client_id: str, body: ClientChange, engine: Database, caller: CallerOf
) -> ExternalOut:
    """Gives a client other labels."""
    return enrolment.change(engine, caller, client_id, body)


@externals_router.delete("/{client_id}", responses=problem_responses(404))
def revoke_client(client_id: str, engine: Database, caller: CallerOf) -> ExternalOut:
    """Makes all keys of a client invalid at once. It may enrol anew with a new invitation."""
    return enrolment.revoke(engine, caller, client_id)


@externals_router.post("/{client_id}/release", responses=problem_responses(404))
def release_client(client_id: str, engine: Database, caller: CallerOf) -> ExternalOut:
    """Ends the quarantine of a client and forgets its offences."""
    return offences.release(engine, caller, client_id)


@own_router.get("")
def who_am_i(engine: Database, caller: CallerOf) -> ExternalOut:
    """The calling client, as the service knows it."""
    return enrolment.own(engine, caller)


@own_router.put("")
def hello(body: HelloIn, engine: Database, caller: CallerOf) -> ExternalOut:
    """Says what the client is and runs on. The first time it closes its invitation for good."""
    return enrolment.hello(engine, caller, body)


@own_router.post("/rotate", status_code=201)
def rotate(engine: Database, caller: CallerOf, body: RotateIn | None = None) -> Enrolled:
    """A new key for the calling client in the place of the one it uses."""
    return enrolment.rotate(engine, caller, body.grace_s if body else 0)


@own_router.get("/jobs")
def list_offers(engine: Database, caller: CallerOf) -> Offers:
    """Open jobs that the client may join, or has joined."""
    return Offers(items=offers.listing(engine, caller))


@own_router.post("/jobs/{job_id}/join", responses=problem_responses(404, 409))
def join(job_id: str, body: JoinIn, engine: Database, caller: CallerOf) -> JoinedOut:
    """Takes a place in a job, with so many rows; asked again, says which place it is."""
    return offers.join(engine, caller, job_id, body.num_examples)


@own_router.post("/jobs/{job_id}/refuse", status_code=204, responses=problem_responses(404, 409))
def refuse(job_id: str, body: RefuseIn, engine: Database, caller: CallerOf) -> None:
    """Says why the client does not take part in a job; operators see it."""
    offers.refuse(engine, caller, job_id, body.reason)


@of_job_router.get("/{job_id}/externals", responses=problem_responses(404))
def external_clients(job_id: str, engine: Database) -> Taking:
    """Who takes part in a job from outside, who refuses and why, and who is missing."""
    return offers.taking(engine, job_id)

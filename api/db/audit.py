"""The audit log: what a request does is noted in the transaction that does it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.db.tables import Audit
from telemetry.redact import redact

OK = "ok"
_LONGEST = 200


@dataclass
class Act:
    """A request that changes something: who, from where, what, on what."""

    action: str
    address: str | None
    request: str
    user: str | None = None
    key: str | None = None
    role: str | None = None
    target: str | None = None
    project: str | None = None
    detail: str | None = None
    written: bool = False

    def row(self, outcome: str, status: int | None = None) -> Audit:
        """The line of the log."""
        return Audit(
            at=time.time(),
            user=self.user,
            key=self.key,
            role=self.role,
            action=self.action,
            target=_short(self.target),
            detail=_short(self.detail),
            project=_short(self.project, 64),
            outcome=outcome,
            status=status,
            address=_short(self.address, 64),
            request=_short(self.request, 64),
        )


_ACT: ContextVar[Act | None] = ContextVar("act", default=None)


@contextmanager
def acting(act: Act | None) -> Iterator[None]:
    """The first transaction in the block that commits also notes the act."""
    token = _ACT.set(act)
    try:
        yield
    finally:
        _ACT.reset(token)


def about(target: str | None = None, project: str | None = None, detail: str | None = None) -> None:
    """Says more about the present act than its route does; nothing where there is none."""
    act = _ACT.get()
    if act is not None:
        act.target, act.project = target or act.target, project or act.project
        act.detail = detail or act.detail


def join(session: Session) -> None:
    """Notes the present act in this transaction, unless an earlier one did."""
    act = _ACT.get()
    if act is not None and not act.written:
        session.add(act.row(OK))


def joined() -> None:
    """The transaction was committed."""
    act = _ACT.get()
    if act is not None:
        act.written = True


def page(
    session: Session,
    projects: frozenset[str] | None,
    user: str | None,
    after: int | None,
    limit: int,
) -> Sequence[Audit]:
    """Lines of some projects (None: all lines), newest first, those before `after`."""
    query = select(Audit).order_by(Audit.id.desc()).limit(limit)
    if projects is not None:
        query = query.where(Audit.project.in_(projects))
    if user is not None:
        query = query.where(Audit.user == user)
    if after is not None:
        query = query.where(Audit.id < after)
    return session.scalars(query).all()


def _short(text: str | None, longest: int = _LONGEST) -> str | None:
    """What a client sent, as the log can hold it: without secrets, NUL, or half characters."""
    if text is None:
        return None
    clean = text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
    return redact(clean)[:longest]

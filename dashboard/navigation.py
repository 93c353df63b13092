"""The pages and who is offered them. Pure; a page is a file in `screens/` and a line here."""

from __future__ import annotations

from dataclasses import dataclass

EVERYONE = ("viewer", "operator", "admin")
ACTING = ("operator", "admin")
ADMINS = ("admin",)


@dataclass(frozen=True)
class Entry:
    """A page: its script beside app.py, its title, its roles.

    The address is the script's name: screens/new_job.py is /new_job. No icons: the browser would
    ask another host for Streamlit's.
    """

    script: str
    title: str
    roles: tuple[str, ...] = EVERYONE


ENTRIES = (
    Entry("screens/jobs.py", "Jobs"),
    Entry("screens/new_job.py", "New job", ACTING),
    Entry("screens/job.py", "Job"),
    Entry("screens/compare.py", "Compare"),
    Entry("screens/clients.py", "Clients"),
    Entry("screens/methods.py", "Methods"),
    Entry("screens/admin.py", "Admin", ADMINS),
)
# what the address without a page's name shows
FIRST = ENTRIES[0]


def offered(role: str | None) -> list[Entry]:
    """The pages of a role, in their order; all of them while the role is not known.

    An address that is opened before the sign-in, or while the server is away, then still leads to
    its page. The server refuses what the role may not do in any case.
    """
    return [entry for entry in ENTRIES if role is None or role in entry.roles]

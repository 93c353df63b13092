"""The parts of the REST API about who may use the service: clients, keys, users, projects."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard.api_client import ApiClient, Json

DAY_S = 24 * 3600


@dataclass(frozen=True)
class ClientsApi:
    """External clients and their invitations."""

    client: ApiClient

    def clients(self) -> list[Json]:
        """The external clients of the caller's projects, by project and name."""
        return list(self.client.ask("GET", "clients")["items"])

    def label(self, client_id: str, labels: dict[str, str]) -> None:
        """Gives a client other labels."""
        self.client.ask("PATCH", "clients", client_id, json={"labels": labels})

    def release(self, client_id: str) -> None:
        """Ends the quarantine of a client."""
        self.client.ask("POST", "clients", client_id, "release")

    def revoke(self, client_id: str) -> None:
        """Makes the keys of a client invalid."""
        self.client.ask("DELETE", "clients", client_id)

    def invitations(self) -> list[Json]:
        """Invitations without their tokens, newest first."""
        return list(self.client.ask("GET", "invitations")["items"])

    def invite(self, labels: dict[str, str], days: int, project: str | None) -> Json:
        """A new invitation with its token, which is not told again."""
        body: Json = {"labels": labels, "expires_in_s": days * DAY_S, "project": project}
        return self.client.ask("POST", "invitations", json=body)

    def uninvite(self, invitation_id: str) -> None:
        """Makes an invitation invalid."""
        self.client.ask("DELETE", "invitations", invitation_id)


@dataclass(frozen=True)
class AdminApi:
    """Keys, users, projects, the audit log and how the service is."""

    client: ApiClient

    def service(self) -> Json:
        """Version, checks, queues, workers and jobs by state."""
        return self.client.ask("GET", "service")

    def keys(self) -> list[Json]:
        """All keys without their secrets, newest first."""
        return list(self.client.ask("GET", "keys")["items"])

    def make_key(self, user: str | None, role: str, label: str, days: int | None) -> Json:
        """A new key with its secret, which is not told again; without days it lasts for ever."""
        lasts = None if days is None else days * DAY_S
        body: Json = {"user": user, "role": role, "label": label, "expires_in_s": lasts}
        return self.client.ask("POST", "keys", json=body)

    def revoke_key(self, key: str) -> None:
        """Makes a key invalid."""
        self.client.ask("DELETE", "keys", key)

    def users(self) -> list[Json]:
        """All users by name."""
        return list(self.client.ask("GET", "users")["items"])

    def add_user(self, name: str, role: str) -> None:
        """A new user without a key."""
        self.client.ask("POST", "users", json={"name": name, "role": role})

    def change_user(self, name: str, role: str, disabled: bool) -> None:
        """Another role, or none of their keys valid."""
        self.client.ask("PATCH", "users", name, json={"role": role, "disabled": disabled})

    def projects(self) -> list[Json]:
        """All projects by name, with their members."""
        return list(self.client.ask("GET", "projects")["items"])

    def add_project(self, name: str) -> None:
        """A new project without members."""
        self.client.ask("POST", "projects", json={"name": name})

    def set_member(self, project: str, user: str, belongs: bool) -> None:
        """Lets a user see a project, or hides it from them."""
        method = "PUT" if belongs else "DELETE"
        self.client.ask(method, "projects", project, "members", user)

    def audit(self, project: str | None, user: str | None, after: int | None) -> Json:
        """A page of the log, newest first: items and next."""
        return self.client.ask("GET", "audit", project=project, user=user, after=after, limit=50)

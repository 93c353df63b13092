"""Users, projects, and who belongs to which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard import admin_views
from dashboard.access_api import AdminApi
from dashboard.components.connection import api, problems_shown
from dashboard.navigation import EVERYONE

Json = Mapping[str, Any]


def draw_people() -> None:
    """The section of users and projects."""
    with problems_shown():
        users, projects = AdminApi(api()).users(), AdminApi(api()).projects()
        st.subheader("Users", anchor=False)
        with st.container(horizontal=True):
            _draw_new_user()
            _draw_change_user(users)
        st.dataframe(
            admin_views.users_table(users), hide_index=True, key="users", alt="Users by name"
        )
        st.subheader("Projects", anchor=False)
        st.caption("A project's jobs and clients are seen by its members, and by admins.")
        with st.container(horizontal=True):
            _draw_new_project()
            _draw_members(users, projects)
        table = admin_views.projects_table(projects)
        st.dataframe(table, hide_index=True, key="projects", alt="Projects with their members")


def _draw_new_user() -> None:
    with st.popover("New user", key="new-user"):
        name = st.text_input("Name", key="user-name", placeholder="ada")
        role = st.selectbox("Role", EVERYONE, 1, key="user-role")
        st.caption("Then make them a key, and a member of a project.")
        _act("Add the user", "add-user", lambda: AdminApi(api()).add_user(name.strip(), role))


def _draw_change_user(users: Sequence[Json]) -> None:
    with st.popover("Change a user", key="change-user"):
        names = {user["name"]: user for user in users}
        name = st.selectbox("User", list(names), key="user-to-change")
        known = names[name]
        # keys of their own for each user: else the inputs would keep the values of another
        role = st.selectbox("Role", EVERYONE, EVERYONE.index(known["role"]), key=f"role-{name}")
        off = st.checkbox("Disabled: no key is valid", known["disabled"], key=f"disabled-{name}")
        _act("Save", "save-user", lambda: AdminApi(api()).change_user(name, role, off))


def _draw_new_project() -> None:
    with st.popover("New project", key="new-project"):
        name = st.text_input("Name", key="project-name", placeholder="reviews")
        _act("Add the project", "add-project", lambda: AdminApi(api()).add_project(name.strip()))


def _draw_members(users: Sequence[Json], projects: Sequence[Json]) -> None:
    with st.popover("Members", key="members"):
        members = {project["name"]: project["members"] for project in projects}
        project = st.selectbox("Project", list(members), key="project-to-change")
        # admins see every project: they are no members
        names = [user["name"] for user in users if user["role"] != "admin"]
        if not names:
            st.caption("There are only admins, who see every project.")
            return
        user = st.selectbox("User", names, key="member-to-change")
        belongs = user in members[project]
        label = "Take them out" if belongs else "Make them a member"
        act = lambda: AdminApi(api()).set_member(project, user, not belongs)  # noqa: E731
        _act(label, "set-member", act)


def _act(label: str, key: str, act: Callable[[], None]) -> None:
    if st.button(label, key=key):
        with problems_shown():
            act()
            st.rerun()

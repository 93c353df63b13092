"""The registry: what each method is, what it sends, and its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import method_views, words
from dashboard.api_client import ApiClient, ApiProblem
from dashboard.components.connection import REFRESH_S, api, show

Json = Mapping[str, Any]
SEARCH = "methods-search"


def page() -> None:
    """A search, the methods, and what was measured of them."""
    st.title("Methods", anchor=False)
    try:
        found = _methods(api())
    except ApiProblem:
        _await_server()
        return
    text = st.text_input("Search", key=SEARCH, placeholder="name, paper or a word: LoRA, seeds …")
    shown = method_views.matching(found, text)
    st.caption(f"{words.count(len(shown), 'method')}; each runs on the same job file.")
    if not shown:
        st.info("No method matches the search.")
    for method in shown:
        _draw(method)
    _draw_measured(len(found))


@st.fragment(run_every=REFRESH_S)
def _await_server() -> None:
    try:
        _methods(api())
    except ApiProblem as problem:
        show(problem)
        return
    st.rerun()


def _draw(method: Json) -> None:
    label = f"**{words.plain(method['title'])}** — {words.plain(method['summary'])}"
    with st.expander(label, key=f"method-{method['name']}"):
        st.markdown(f"`{method['name']}` · {method_views.paper_link(method['paper'])}")
        st.markdown(
            f"**What travels.** {words.plain(method['traffic'] or 'The file does not say.')}"
        )
        table = method_views.options_table(method)
        if table.empty:
            st.caption("It has no options of its own.")
            return
        st.table(table.set_index("Option"))


def _draw_measured(methods: int) -> None:
    st.subheader("Measured side by side", anchor=False)
    found = method_views.measured()
    st.dataframe(
        found, hide_index=True, key="measured", alt=f"{words.count(len(found), 'method')} on SST-2"
    )
    rest = " The other methods are not measured yet." if len(found) < methods else ""
    st.caption(
        "MiniLM-L6 on SST-2, 10 clients with label skew (Dirichlet 0.5), one seed: differences of "
        f"a point may be noise. Bytes are means for one client in one round.{rest} How it was done "
        "is in docs/benchmarks.md."
    )


@st.cache_data(ttl=60, show_spinner=False, hash_funcs={ApiClient: lambda client: client.settings})
def _methods(client: ApiClient) -> list[dict[str, Any]]:
    return client.methods()


page()

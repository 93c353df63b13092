"""`python -m dashboard [--server.port 8501 ...]`: Streamlit, with what the pages need loaded.

`streamlit run dashboard/app.py` is the same, but its first visitor waits until pandas, Altair and
the pages' own modules are loaded: seconds on a busy machine.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

APP = Path(__file__).with_name("app.py")
LOADED = ("altair", "dashboard.components.job_form", "dashboard.components.job_tables")


def main() -> None:
    """Loads, then gives way to Streamlit's command with the options of this one."""
    for name in LOADED:
        importlib.import_module(name)
    from streamlit.web import cli

    sys.argv = ["streamlit", "run", str(APP), *sys.argv[1:]]
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    main()

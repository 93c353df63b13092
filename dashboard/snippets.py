"""A job as text to take along: a job file, a command of curl, a few lines of Python. Pure.

The key is never in it: curl and Python read it from the environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import yaml

Job = Mapping[str, Any]


def as_yaml(job: Job) -> str:
    """The job file, for `fedkrso submit`."""
    text: str = yaml.safe_dump(dict(job), sort_keys=False, allow_unicode=True)
    return text


def as_curl(job: Job, server: str, project: str | None = None) -> str:
    """A command that submits the job."""
    # within single quotes a shell leaves all but the single quote alone
    body = json.dumps(job, indent=2).replace("'", "'\\''")
    return (
        f"curl -X POST '{_address(server, project)}' \\\n"
        '  -H "Authorization: Bearer $FEDKRSO_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{body}'\n"
    )


def as_python(job: Job, server: str, project: str | None = None) -> str:
    """A program that submits the job; it needs httpx."""
    return (
        "import json\nimport os\n\nimport httpx\n\n"
        f"job = json.loads({json.dumps(json.dumps(job))})\n"
        "answer = httpx.post(\n"
        f"    {_address(server, project)!r},\n"
        "    json=job,\n"
        "    headers={'Authorization': f\"Bearer {os.environ['FEDKRSO_API_KEY']}\"},\n"
        "    timeout=180,\n"
        ")\n"
        "answer.raise_for_status()\n"
        "print(answer.json()['id'])\n"
    )


def _address(server: str, project: str | None) -> str:
    query = f"?{urlencode({'project': project})}" if project else ""
    return f"{server}/v1/jobs{query}"

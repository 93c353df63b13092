"""Job files as they are sent: plain data, with local paths made absolute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli.errors import CliError, naming


def load(path: Path, folder: Path) -> dict[str, Any]:
    """The job at `path`, ready to be sent; its relative paths are relative to `folder`."""
    from fedkrso_core.spec import parse, read_raw

    with naming(path):
        raw = read_raw(path)
        if not isinstance(raw, dict):
            parse(raw)
            raise CliError(f"{path}: is not a job", code=2)
    return absolute(raw, folder)


def absolute(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The job with its model and data as absolute paths where they name something in `folder`.

    The names of the built-in model and data set keep their meaning.
    """
    from fedkrso_core.data_spec import DataSpec
    from fedkrso_core.spec import JobSpec

    result = dict(job)
    _replace(result, "model", folder, JobSpec.model_fields["model"].default)
    if isinstance(job.get("data"), dict):
        result["data"] = dict(job["data"])
        for field in ("train", "validation"):
            _replace(result["data"], field, folder, DataSpec.model_fields["train"].default)
    return result


def _replace(fields: dict[str, Any], field: str, folder: Path, built_in: str) -> None:
    value = fields.get(field)
    if not isinstance(value, str) or value in ("", built_in):
        return
    path = folder / Path(value).expanduser()
    if path.exists():
        fields[field] = str(path.resolve())

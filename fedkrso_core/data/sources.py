"""Reading a source: the built-in data set, a file, or the Hugging Face `datasets` library.

    pydocs                        the built-in data set
    rows.jsonl  rows.csv  ...     a file; the ending says what it is
    hf:ORG/NAME[/CONFIG][:SPLIT]  a data set of the hub, e.g. hf:nyu-mll/glue/sst2
    hf:SHORT[/CONFIG][:SPLIT]     the same by a short name of SHORT_NAMES, e.g. hf:glue/sst2
    hf:/FOLDER[:SPLIT]            a local folder of data files, or one of Dataset.save_to_disk
    upload:SHA256.ENDING          a file that was uploaded to the service, see fedkrso_core/uploads

So the part before the first slash is an organisation unless SHORT_NAMES lists it, and the split
begins at the first colon. Tables of Parquet files and of the hub are cached under
$FEDKRSO_HOME/cache/datasets, downloads where the hub's library keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedkrso_core.data import files, pydocs
from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.home import home
from fedkrso_core.uploads import ENDINGS, PREFIX, Uploaded, ending_of

BUILTIN = {"pydocs": "Docstrings of Python's standard library in 8 areas (the built-in data set)"}
SHORT_NAMES = {
    "glue": "nyu-mll/glue",
    "super_glue": "aps/super_glue",
    "tweet_eval": "cardiffnlp/tweet_eval",
}


@dataclass(frozen=True)
class Table:
    """The columns of one split as they were read; `classes` names the codes of a class column."""

    source: str
    columns: tuple[str, ...]
    rows: int
    column: Callable[[str], list[Any]]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read(source: str, where: str, split: str) -> Table:
    """The table that `source` names; `split` counts where a hub source names none.

    `where` is the field of the job file ("data.train" or "data.validation") that errors point at.

    Raises:
        SpecError: the source is of no known form, missing, unreadable, unreachable or empty.
    """
    if source in BUILTIN:
        return _read_builtin(source)
    table = _form(source)(source, where, split)
    if table.rows == 0:
        raise _refused(where, source, f"{source} has no rows")
    return table


def _form(source: str) -> Callable[[str, str, str], Table]:
    if source.startswith(PREFIX):
        return _read_upload
    return _read_hub if source.startswith("hf:") else _read_file


def _read_builtin(source: str) -> Table:
    areas = tuple(pydocs.AREAS)
    found = pydocs.rows()
    columns: dict[str, list[Any]] = {
        "text": [row.text for row in found],
        "label": [areas.index(row.label) for row in found],
        "group": [row.group for row in found],
    }
    return Table(source, tuple(columns), len(found), columns.__getitem__, {"label": areas})


def _read_file(source: str, where: str, _split: str) -> Table:
    path = Path(source).expanduser()
    ending = ending_of(path.name)
    if ending is None:
        allowed = f"{', '.join(BUILTIN)}, a file ending in {', '.join(ENDINGS)}, or hf:NAME"
        raise _refused(where, source, f"{source!r} is not a source; allowed: {allowed}")
    if not path.is_file():
        raise _refused(where, source, f"there is no file {source}")
    return _read_path(path, ending, source, where, lambda: _parquet(path))


def _read_upload(source: str, where: str, _split: str) -> Table:
    upload = Uploaded.of(source)
    if upload is None:
        allowed = f"{PREFIX}, 64 hex digits in small letters, and one of {', '.join(ENDINGS)}"
        raise _refused(where, source, f"{source!r} is not an upload; allowed: {allowed}")
    path = upload.path
    if not path.is_file():
        told = f"{source} is not on this machine; upload it to the service first"
        raise _refused(where, source, told)
    return _read_path(path, upload.ending, source, where, lambda: _parquet_in_memory(path))


def _read_path(
    path: Path, ending: str, source: str, where: str, parquet: Callable[[], Any]
) -> Table:
    try:
        if ending in files.READERS:
            return _of_columns(source, files.READERS[ending](path))
        return _table(source, parquet())
    except Exception as error:  # whatever the parsers raise, the file is what is wrong
        reason = "it has no rows" if _says_empty(error) else _reason(error)
        raise _refused(where, source, f"{source} cannot be read as {ending}: {reason}") from error


def _parquet(path: Path) -> Any:
    return _library().Dataset.from_parquet(str(path), cache_dir=_cache())


def _parquet_in_memory(path: Path) -> Any:
    """Without the library's cache: of rows that are deleted no copy must stay."""
    import pyarrow.parquet  # type: ignore[import-untyped]

    datasets = _library()
    return datasets.Dataset(datasets.table.InMemoryTable(pyarrow.parquet.read_table(path)))


def _of_columns(source: str, columns: files.Columns) -> Table:
    rows = len(next(iter(columns.values()), []))
    return Table(source, tuple(columns), rows, columns.__getitem__)


def _read_hub(source: str, where: str, split: str) -> Table:
    name, _, given = source.removeprefix("hf:").partition(":")
    open_it = _open_folder if name.startswith("/") else _open_repository
    try:
        return _table(source, open_it(name, given or split))
    except Exception as error:  # the library raises its own, the hub's, pyarrow's and the system's
        raise _refused(where, source, _hub_failure(source, error)) from error


def _open_folder(name: str, split: str) -> Any:
    folder = Path(name)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {name}")
    datasets = _library()
    if (folder / "dataset_dict.json").exists():
        splits = datasets.load_from_disk(name)
        if split not in splits:
            raise ValueError(f"no split {split!r}; allowed: {', '.join(splits)}")
        return splits[split]
    if (folder / "state.json").exists():  # one table saved without splits
        return datasets.load_from_disk(name)
    return datasets.load_dataset(name, split=split, cache_dir=_cache())


def _open_repository(name: str, split: str) -> Any:
    repository, config = repository_and_config(name)
    return _library().load_dataset(repository, config, split=split, cache_dir=_cache())


def repository_and_config(name: str) -> tuple[str, str | None]:
    """Hub id and configuration of NAME: glue/sst2 is nyu-mll/glue and sst2, a/b is a/b and None."""
    first, *rest = name.split("/")
    parts = [*SHORT_NAMES.get(first, first).split("/"), *rest]
    if not all(parts) or len(parts) > 3:
        raise ValueError(f"{name!r} is not ORG/NAME or ORG/NAME/CONFIG")
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None


def _table(source: str, dataset: Any) -> Table:
    features = dataset.features
    classes = {name: tuple(features[name].names) for name in features if _is_class(features[name])}
    return Table(source, tuple(features), len(dataset), lambda name: dataset[name][:], classes)


def _is_class(feature: Any) -> bool:
    return isinstance(feature, _library().ClassLabel)


def _library() -> Any:
    # takes seconds and 80 MB, so only who reads Parquet or the hub pays for it
    import datasets  # type: ignore[import-untyped]

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what it logs, we raise
    return datasets


def _cache() -> str:
    return str(home() / "cache" / "datasets")


def _says_empty(error: Exception) -> bool:
    return isinstance(error, StopIteration) or "corresponds to no data" in str(error)


def _hub_failure(source: str, error: Exception) -> str:
    if isinstance(error, ConnectionError):
        remedy = "name a local file, or set HF_HUB_OFFLINE=1 to use what is cached without waiting"
        return f"{source}: the hub cannot be reached ({_reason(error)}); {remedy}"
    return f"{source} cannot be read: {_reason(error)}"


def _reason(error: BaseException) -> str:
    """The innermost message in one line: the library wraps what went wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def _refused(where: str, source: str, message: str) -> SpecError:
    return SpecError([Problem(where, message, source)])

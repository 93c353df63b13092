"""What the server said about a job that it did not take. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboard.form_field import Field
from dashboard.words import plain

Json = Mapping[str, Any]
# where a session keeps the last one
REFUSAL = "refusal"


@dataclass(frozen=True)
class Refusal:
    """The server's errors and the values that they are about, by path."""

    detail: str
    errors: Sequence[Json] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    def messages(self, path: str, value: Any) -> list[str]:
        """What is wrong at a path; nothing once the value was changed."""
        if path not in self.values or self.values[path] != value:
            return []
        return [str(error["message"]) for error in self.errors if error["field"] == path]

    def summary(self, found: Sequence[Field]) -> str:
        """All that is wrong, as markdown: a line, then one for each wrong field."""
        if not self.errors:
            return plain(self.detail)
        labels = {item.path: item.label for item in found}
        count = "1 field is" if len(self.errors) == 1 else f"{len(self.errors)} fields are"
        lines = [f"The job was not accepted: {count} wrong.", ""]
        for error in self.errors:
            label = labels.get(error["field"], error["field"])
            lines.append(f"- **{plain(label)}**: {plain(error['message'])}")
        return "\n".join(lines)

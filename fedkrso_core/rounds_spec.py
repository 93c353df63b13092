"""RoundsSpec: how many rounds a job has, and when a round closes. Torch-free.

    sync       a round closes when all its clients have answered
    buffered   a round closes when `buffer` updates are in it; clients that are still at work go on
               and are counted in a later round (FedBuff, arXiv 2106.06639)

An update is s rounds stale if it is counted in round t and was trained from the model that round
t - s began with. Its weight is multiplied by

    polynomial   (1 + s)^-a, a the exponent; a = 1/2 is FedBuff's ("Staleness scaling")
    constant     1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails

_MOST = 100_000


class RoundsSpec(BaseModel):
    """How many rounds are trained, and when one closes. A whole number stands for {count: N}."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    count: int = Field(6, ge=1, le=_MOST, description="Rounds to train")
    mode: Literal["sync", "buffered"] = Field(
        "sync",
        description="sync: a round waits for all its clients; buffered: it closes when some "
        "updates are in it, and slow clients are counted later",
    )
    buffer: int | None = Field(
        None,
        ge=1,
        description="Updates that close a buffered round; empty: half of clients.per_round",
    )
    staleness: Literal["polynomial", "constant"] = Field(
        "polynomial",
        description="Weight of an update that is s rounds late: (1 + s)^-exponent, or 1",
    )
    staleness_exponent: float = Field(
        0.5, ge=0, le=10, description="Exponent of the polynomial weight; 0.5 is FedBuff's"
    )
    max_staleness: int | None = Field(
        None, ge=0, description="Updates that are later than this are refused; empty: none are"
    )

    @field_validator("buffer", "staleness", "staleness_exponent", "max_staleness")
    @classmethod
    def _only_buffered(cls, value: Any, info: ValidationInfo) -> Any:
        field = info.field_name
        assert field is not None
        default = cls.model_fields[field].default
        if info.data.get("mode") == "sync" and value != default:
            raise ValueError(f"{value!r} is for mode buffered; with mode sync leave it out")
        return value

    @property
    def buffered(self) -> bool:
        """Whether updates may be stale."""
        return self.mode == "buffered"

    def closes_at(self, per_round: int) -> int:
        """Updates that close a round of which `per_round` clients are at work."""
        if not self.buffered:
            return per_round
        return -(-per_round // 2) if self.buffer is None else self.buffer

    def weight(self, staleness: int) -> float:
        """What the weight of an update is multiplied by."""
        if self.staleness == "constant" or staleness == 0:
            return 1.0
        return float((1 + staleness) ** -self.staleness_exponent)

    def too_stale(self, staleness: int) -> str | None:
        """Why an update that is so stale must not be counted; None if it may be."""
        if self.max_staleness is None or staleness <= self.max_staleness:
            return None
        return f"{staleness} rounds stale, above rounds.max_staleness {self.max_staleness}"


_COUNT = TypeAdapter(RoundsSpec.model_fields["count"].rebuild_annotation())


def _of_a_number(value: Any) -> Any:
    """The whole number as the fields that it stands for; anything else as it is."""
    if isinstance(value, Mapping | RoundsSpec):
        return value
    return RoundsSpec(count=_COUNT.validate_python(value))


def of_stored(value: Any) -> RoundsSpec:
    """The RoundsSpec of a job file that was accepted: fields, or in an old one the number."""
    return RoundsSpec.model_validate(_of_a_number(value))


def _buffer_fits(rounds: RoundsSpec, info: ValidationInfo) -> RoundsSpec:
    """What a job's RoundsSpec must satisfy beside its clients; the error is that of `buffer`."""
    clients = info.data.get("clients")
    if clients is None or not rounds.buffered:
        return rounds
    most, least = clients.per_round, clients.min_clients or 1
    if rounds.buffer is not None and rounds.buffer > most:
        _refuse("buffer", rounds.buffer, f"of {most} clients at work; allowed: 1 to {most}")
    if rounds.closes_at(most) < least:
        rule = f"allowed with clients.min_clients {least}: from {least}"
        _refuse("buffer", rounds.closes_at(most), f"updates close a round; {rule}")
    if clients.select_extra:
        extra = f"has no use for clients.select_extra {clients.select_extra}; leave it out"
        _refuse("mode", rounds.mode, extra)
    return rounds


def _refuse(field: str, value: Any, why: str) -> None:
    error = ValueError(f"{value} {why}")
    line = InitErrorDetails(type="value_error", loc=(field,), input=value, ctx={"error": error})
    raise ValidationError.from_exception_data(RoundsSpec.__name__, [line])


class _AlsoANumber:
    """Says in the JSON schema that a whole number is allowed too."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        number = {"type": "integer", "minimum": 1, "maximum": _MOST}
        return {"anyOf": [{**number, "description": "Rounds to train"}, handler(schema)]}


Rounds = Annotated[
    RoundsSpec, BeforeValidator(_of_a_number), AfterValidator(_buffer_fits), _AlsoANumber()
]


def evaluates(number: int, every: int, rounds: int) -> bool:
    """Whether the global model after a round is measured: each `every` rounds, and at the end.

    A job that a budget ends before its last round is measured there as well.
    """
    return number % every == 0 or number == rounds

"""JobSpec: the job file, the REST body and the dashboard's form are this one model.

Free of torch, so that the API can start and the CLI can read a file without it. What needs the
model, the data or the method's code is checked by `fedkrso_core.check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from fedkrso_core.clients import ClientsSpec
from fedkrso_core.data_spec import DataSpec
from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.evaluate_spec import EvaluateSpec as EvaluateSpec
from fedkrso_core.options_spec import CorrectionSpec, ServerSpec, Weighting
from fedkrso_core.robust_spec import RobustSpec
from fedkrso_core.rounds_spec import Rounds, RoundsSpec
from fedkrso_core.sizes import Size
from fedkrso_core.strict import Strict as _Strict
from fedkrso_core.tasks import TASKS, TaskField
from fedkrso_core.wire_spec import WireSpec


class Iid(_Strict):
    """Rows are shuffled and dealt out evenly."""

    kind: Literal["iid"] = "iid"


class Dirichlet(_Strict):
    """Each label's rows are divided in proportions drawn from Dirichlet(alpha)."""

    kind: Literal["dirichlet"] = "dirichlet"
    alpha: float = Field(0.5, gt=0, description="Small: each client sees few labels")


class Shards(_Strict):
    """Rows sorted by label are cut into shards; each client gets the same number of them."""

    kind: Literal["shards"] = "shards"
    per_client: int = Field(2, ge=1, description="Shards for each client")


class ByColumn(_Strict):
    """Rows with the same value of a column stay with one client."""

    kind: Literal["by-column"] = "by-column"
    column: str = Field("group", min_length=1, description="Column that names the owner of a row")


PartitionSpec = Annotated[Iid | Dirichlet | Shards | ByColumn, Field(discriminator="kind")]


Precision = Literal["fp32", "medium", "bf16"]
MemoryOption = Literal[
    "dropout-bits",
    "attention-recompute",
    "gelu-8bit",
    "checkpointing",
    "checkpointing-mlp",
    "bf16-weights",
    "int8-weights",
    "nf4-weights",
    "fused-cross-entropy",
]
EXACT_MEMORY: tuple[MemoryOption, ...] = ("dropout-bits", "attention-recompute")
# what each option does, in the JSON schema for forms and editors
MEMORY: dict[MemoryOption, str] = {
    "dropout-bits": "keeps dropout masks as bits",
    "attention-recompute": "recomputes attention probabilities in the backward pass",
    "gelu-8bit": "keeps the derivative of GELU in 8 bit; rounds",
    "checkpointing": "recomputes each layer in the backward pass; slower",
    "checkpointing-mlp": "recomputes the MLP of each layer only; slower",
    "bf16-weights": "keeps frozen weights in bfloat16; rounds",
    "int8-weights": "keeps frozen weights in 8 bit, on CUDA with bitsandbytes; rounds",
    "nf4-weights": "keeps frozen weights in 4 bit, on CUDA with bitsandbytes; rounds",
    "fused-cross-entropy": "keeps only the gradient of the loss; pays with many labels",
}
# none or one of these
QUANTIZED: tuple[MemoryOption, ...] = ("int8-weights", "nf4-weights")
_Described = Annotated[
    MemoryOption, Field(json_schema_extra={"enumDescriptions": list(MEMORY.values())})
]


class LocalSpec(_Strict):
    """What a client does with its rows in a round."""

    steps: int = Field(10, ge=1, le=1_000_000, description="Optimizer steps in a round")
    batch_size: int = Field(8, ge=1, le=65_536, description="Rows in a step")
    micro_batch_size: int | None = Field(None, ge=1, description="Rows at a time; empty: all")
    max_length: int = Field(48, ge=4, le=1_048_576, description="Tokens kept of a text")
    lr: float = Field(1e-3, gt=0, description="Learning rate")
    head_lr: float | None = Field(
        None, gt=0, description="Learning rate of the classifier; empty: lr"
    )
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="Optimizer of the client")
    weight_decay: float = Field(0.0, ge=0, lt=1, description="Decoupled weight decay")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="Learning rate within a round; cosine warms up for 5 %"
    )
    precision: Precision = Field(
        "fp32",
        description="Arithmetic of the frozen products: fp32 is reproducible, medium (bfloat16 "
        "parts of fp32, TF32 on CUDA) and bf16 are faster",
    )
    memory: tuple[_Described, ...] = Field(
        EXACT_MEMORY,
        description="What saves activation memory; the default changes no number of the training",
    )

    @field_validator("memory")
    @classmethod
    def _memory_fits(cls, memory: tuple[MemoryOption, ...]) -> tuple[MemoryOption, ...]:
        if {"checkpointing", "checkpointing-mlp"} <= set(memory):
            raise ValueError("checkpointing includes checkpointing-mlp; give one of the two")
        if len({"bf16-weights", *QUANTIZED} & set(memory)) > 1:
            raise ValueError("weights are bf16-weights, int8-weights or nf4-weights; give one")
        return tuple(dict.fromkeys(memory))

    @field_validator("micro_batch_size")
    @classmethod
    def _part_of_a_batch(cls, rows: int | None, info: ValidationInfo) -> int | None:
        batch_size = info.data.get("batch_size")
        if rows is not None and batch_size is not None and rows > batch_size:
            raise ValueError(f"{rows} rows are no part of a batch; allowed: 1 to {batch_size}")
        return rows


class MethodSpec(BaseModel):
    """The method's name; its other fields are those of the method's own Config."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field("fedkrso", description="One of the registry: see /v1/methods")

    @property
    def options(self) -> dict[str, Any]:
        """The fields beside the name, unchecked."""
        return dict(self.model_extra or {})


class BudgetSpec(_Strict):
    """What a job may use: refused at submit when it cannot fit, stopped when it is used up."""

    bytes_up: Size | None = Field(None, description="Upload of all clients together: 50MB")
    memory: Size | None = Field(None, description="Peak memory of a client: 6GB")
    seconds: float | None = Field(None, gt=0, description="Time from the job's start")


# ten years: what is added to the time of day must stay a time of day
MAX_SECONDS = 315_360_000.0

EXAMPLE: dict[str, Any] = {
    "name": "demo",
    "model": "minilm",
    "task": "classification",
    "data": {"train": "pydocs"},
    "partition": {"kind": "dirichlet", "alpha": 0.5},
    "clients": {"count": 8, "per_round": 4},
    "rounds": 6,
    "local": {"steps": 30, "batch_size": 8, "max_length": 48, "lr": 6e-4, "head_lr": 3e-3},
    "method": {"name": "fedkrso", "rank": 16, "seeds": 10, "interval": 10},
    "seed": 0,
}


class JobSpec(_Strict):
    """A federated fine-tuning job."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    name: str = Field(..., min_length=1, max_length=100, description="What the job is called")
    model: str = Field("minilm", min_length=1, description="Preset, local folder or hub id")
    task: TaskField = Field(
        "classification",
        description="What the model learns: one of the labels, one number, or the next token",
    )
    data: DataSpec = DataSpec()
    partition: PartitionSpec = Dirichlet()
    clients: ClientsSpec = ClientsSpec()
    rounds: Rounds = Field(RoundsSpec(), description="Rounds to train: a number, or fields")
    round_timeout_s: float | None = Field(
        None, gt=0, le=MAX_SECONDS, description="Deadline of a round; empty: the service's"
    )
    local: LocalSpec = LocalSpec()
    method: MethodSpec = MethodSpec()
    server: ServerSpec = ServerSpec()
    correction: CorrectionSpec = CorrectionSpec()
    weighting: Weighting = Field(
        "examples", description="What a client's update weighs in the mean: its rows, or 1"
    )
    local_head: bool = Field(
        False, description="The classifier stays with the client and does not travel"
    )
    wire: WireSpec = WireSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    budget: BudgetSpec = BudgetSpec()
    robust: RobustSpec = RobustSpec()
    priority: int = Field(
        0, ge=-1000, le=1000, description="Jobs of a higher one are worked on first"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="All randomness derives from it")


def measured_of(spec: JobSpec) -> tuple[str, ...]:
    """The metrics that an evaluation of the job gives."""
    answers = spec.data.prompt is not None and spec.evaluate.answers > 0
    return tuple(m for m in TASKS[spec.task].metrics if answers or m != "exact_match")


_KINDS = ("iid", "dirichlet", "shards", "by-column")


def parse(data: Any) -> JobSpec:
    """A JobSpec of plain data, or a SpecError with a Problem for each wrong field."""
    if not isinstance(data, Mapping):
        raise SpecError([Problem("job", f"is a mapping of fields, not {type(data).__name__}")])
    try:
        return JobSpec.model_validate(data)
    except ValidationError as error:
        raise SpecError(problems_of(error.errors())) from None


def read(path: Path) -> JobSpec:
    """The JobSpec of a YAML (or JSON) file, or a SpecError that says what is wrong."""
    return parse(read_raw(path))


def read_raw(path: Path) -> Any:
    """The plain data of a YAML (or JSON) job file; whether it is a job is not checked."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise SpecError([Problem(str(path), f"is not YAML: {line}")]) from None


def problems_of(
    errors: list[Any], schema: type[BaseModel] = JobSpec, prefix: str = ""
) -> list[Problem]:
    """Problems of pydantic's error list; an unknown field lists the fields that exist."""
    return [_problem(error, schema, prefix) for error in errors]


def _problem(error: Mapping[str, Any], schema: type[BaseModel], prefix: str) -> Problem:
    # a discriminated union puts the chosen kind into the path: partition.dirichlet.alpha
    loc = [str(part) for part in error["loc"] if part not in ("body", *_KINDS)]
    field = ".".join([prefix, *loc] if prefix else loc) or "job"
    value = error.get("input")
    match error["type"]:
        case "extra_forbidden":
            known = ", ".join(_fields_beside(error["loc"], schema))
            message = f"no such field; allowed: {known}"
        case "missing":
            message, value = "is required", None
        case "value_error":
            message = str(error["msg"]).removeprefix("Value error, ")
        case "union_tag_invalid" | "union_tag_not_found":
            given = value.get("kind") if isinstance(value, Mapping) else value
            field, value = f"{field}.kind", given
            message = f"{given!r} is none of {', '.join(_KINDS)}"
        case _:
            message = f"{_short(value)}: {_lower_first(str(error['msg']))}"
    return Problem(field, message, value)


def _fields_beside(loc: tuple[Any, ...], schema: type[BaseModel]) -> list[str]:
    """Names of the fields of the model that `loc` is (wrongly) in."""
    union = {"iid": Iid, "dirichlet": Dirichlet, "shards": Shards, "by-column": ByColumn}
    model: Any = schema
    for part in loc[:-1]:
        if part in union:
            model = union[part]
        elif part in getattr(model, "model_fields", {}) and part != "partition":
            model = model.model_fields[part].annotation
    return list(getattr(model, "model_fields", {}))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]

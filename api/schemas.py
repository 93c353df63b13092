"""What the REST routes take and give. Times are UTC ISO 8601, sizes bytes, durations seconds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.examples import ESTIMATE
from fedkrso_core.forecast import Forecasts

JobSort = Literal["newest", "oldest", "name"]
JobState = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
RoundState = Literal["collecting", "aggregating", "closed", "failed"]
Evaluation = Literal["due", "done", "none"]
AssignmentState = Literal["pending", "leased", "done", "failed", "cancelled"]

# what the database's integers hold: a larger number in a request is refused before it gets there
Int32 = Annotated[int, Field(ge=0, lt=2**31)]
Int64 = Annotated[int, Field(ge=0, lt=2**63)]


class ProblemItem(BaseModel):
    """One wrong field of a request."""

    field: str
    message: str
    value: Any = None


class ProblemOut(BaseModel):
    """A problem document (RFC 9457), sent as application/problem+json."""

    type: str = Field(examples=["urn:fedkrso:problem:invalid-job"])
    title: str
    status: int
    detail: str
    errors: list[ProblemItem] = []


class WaitingOut(BaseModel):
    """One thing that a job waits for."""

    what: str = Field(examples=["client 3 waits for a worker"])
    since: datetime | None = None
    until: datetime | None = Field(None, description="Its deadline or the end of a lease")
    client: int | None = None


class JobOut(BaseModel):
    """A job as it stands now."""

    id: str = Field(examples=["f8207b594a4b"])
    project: str = Field("default", description="Seen by its members alone")
    created_by: str | None = Field(None, description="The user that submitted it")
    name: str = Field(examples=["demo"])
    state: JobState
    reason: str | None = Field(None, description="Why it failed, stopped early or has no room")
    waiting_for: str | None = Field(None, description="What it waits for right now, in words")
    waiting: list[WaitingOut] = Field([], description="The same, each with since and until when")
    priority: int = Field(0, description="Jobs of a higher one are worked on first")
    method: str = Field(examples=["fedkrso"])
    model: str = Field(examples=["minilm"])
    task: str = Field("classification", examples=["classification", "causal-lm"])
    headline: str = Field(
        "accuracy", description="The one of `metrics` that says how well the task goes"
    )
    higher_is_better: bool = Field(True, description="Of the headline; false for perplexity")
    rounds: int = Field(description="Rounds to train")
    rounds_closed: int
    metrics: dict[str, float] = Field({}, description="Of the last evaluated round")
    bytes_up: int
    bytes_down: int
    peak_memory_bytes: int = Field(description="Highest of any client so far")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    eta: datetime | None = Field(
        None, description="When a running job ends if its rounds take as long as so far"
    )
    base_sha256: str | None = Field(
        None, description="Digest of the weights that it begins with; null before it has started"
    )
    model_sha256: str | None = Field(None, description="Digest of the final model's weights")
    curve: list[tuple[int, float]] = Field(
        [], description="Round and headline of measured rounds; only where `curve` asks for it"
    )
    spec: dict[str, Any] = Field(description="The job file with every default filled in")


class JobPage(BaseModel):
    """A page of jobs, newest first."""

    items: list[JobOut]
    next: str | None = Field(None, description="Give it as `after` to get the next page")


class WorstOut(BaseModel):
    """The client whose hold-out has the worst value of a metric."""

    client: int
    value: float


class HoldoutOut(BaseModel):
    """The model that a round began with, on the clients' own hold-outs."""

    clients: int = Field(description="Clients that reported")
    num_examples: int = Field(description="Their rows together")
    mean: dict[str, float] = Field(description="Of each metric, weighted by rows")
    worst: dict[str, WorstOut]


class RoundOut(BaseModel):
    """A round of a job; the same object is a line of rounds.jsonl."""

    round: int
    state: RoundState
    metrics: dict[str, float] = Field(
        {},
        description="By task: accuracy, loss, f1, mcc; pearson, loss, spearman, mse; perplexity, "
        "loss, exact_match",
    )
    evaluation: Evaluation = Field(
        "none", description="due: the metrics come while the next round trains; none: not wanted"
    )
    bytes_up: int
    bytes_down: int
    peak_memory_bytes: int
    seconds: dict[str, float] = Field(
        {}, description="train (sum over clients), aggregate, evaluate"
    )
    clients: list[int]
    staleness: list[int] = Field(
        [], description="Of each of the clients: rounds since the model that it began with"
    )
    done: int = Field(description="Clients whose update was accepted")
    holdout: HoldoutOut | None = Field(None, description="null: no client has one")
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    deadline: datetime | None = None


class RoundClientOut(BaseModel):
    """What one client of a round is doing."""

    client: int
    round: int = Field(description="The round whose model it began with")
    counted_in: int | None = Field(None, description="The round that its update is part of")
    staleness: int | None = Field(None, description="Rounds between the two")
    weight: float | None = Field(None, description="What staleness multiplies its weight by")
    state: AssignmentState
    attempt: int = Field(description="Leases given out so far")
    worker: str | None = None
    step: int = Field(description="Optimizer steps done")
    steps: int
    num_examples: int | None = None
    metrics: dict[str, float] = {}
    holdout: dict[str, float] = Field({}, description="Metrics on the client's own hold-out")
    bytes_up: int
    bytes_down: int
    checkpoint: int | None = Field(
        None, description="The round whose weights it was offered in place of the states up to it"
    )
    bytes_lost: int = Field(description="Downloaded by attempts that came to nothing")
    bytes_up_lost: int = Field(0, description="Uploaded but refused, or sent again")
    peak_memory_bytes: int | None = None
    seconds: dict[str, float] = {}
    offered_at: datetime | None = Field(None, description="Since when it can be taken")
    leased_at: datetime | None = None
    heartbeat_at: datetime | None = None
    done_at: datetime | None = None
    error: str | None = None


class EventOut(BaseModel):
    """Something that happened to a job, in plain words."""

    id: int
    at: datetime
    kind: str = Field(examples=["round-closed"])
    text: str = Field(examples=["Round 3 closed: accuracy 0.612, 4 of 4 clients"])
    data: dict[str, Any] = {}


class MethodOut(BaseModel):
    """A method of the registry; `config` is the JSON schema that its form is drawn from."""

    name: str
    title: str
    paper: str
    summary: str = Field("", description="What it is, in a sentence")
    traffic: str = Field("", description="What goes up and down, with the formula of its bytes")
    config: dict[str, Any]


class ModelOut(BaseModel):
    """A model that is there without a download."""

    name: str
    title: str
    parameters: int | None = None


class DatasetOut(BaseModel):
    """A built-in data set."""

    name: str
    title: str
    text: str = Field(description="Column with the text")
    label: str = Field(description="Column with the label")


class EstimateOut(Forecasts):
    """What a job will take, by method, and which limits of its budget that is above."""

    model_config = ConfigDict(json_schema_extra={"example": ESTIMATE})

    over_budget: dict[str, list[ProblemItem]] = Field(
        description="Of each method that does not fit into the job's budget: the limits in the way"
    )


class PriorityIn(BaseModel):
    """What of a job can be changed after its submit."""

    model_config = ConfigDict(extra="forbid")

    priority: int = Field(ge=-1000, le=1000)


class BuildingOut(BaseModel):
    """The model folder is being built; ask again."""

    state: Literal["building"] = "building"


class HealthOut(BaseModel):
    """Liveness or readiness."""

    status: Literal["ok"] = "ok"
    checks: dict[str, str] = {}


class WorkerOut(BaseModel):
    """A worker process, or an external client, that held a lease in the last hour."""

    name: str
    heard_at: datetime
    busy: bool = Field(description="It holds a lease")


class ServiceOut(BaseModel):
    """How the service is."""

    version: str
    checks: dict[str, str] = Field(description="ok or what is wrong, by part of the service")
    queues: dict[str, int] = Field(description="Hints that wait; empty if the broker is away")
    workers: list[WorkerOut] = Field([], description="Last heard of first")
    jobs: dict[str, int] = Field({}, description="How many there are by state")

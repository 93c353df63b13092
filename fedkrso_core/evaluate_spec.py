"""EvaluateSpec: when a job is measured, and on what. Torch-free."""

from __future__ import annotations

from pydantic import Field

from fedkrso_core.strict import Strict


class EvaluateSpec(Strict):
    """When and how the global model is measured on the validation rows."""

    every: int = Field(1, ge=1, description="Rounds between evaluations; the last always counts")
    batch_size: int = Field(64, ge=1, le=65_536, description="Rows in an evaluation batch")
    own_rows: int | None = Field(
        None,
        ge=1,
        description="Validation rows that a client measures its own model on, where models are "
        "personal; empty: all",
    )
    answers: int = Field(
        16,
        ge=0,
        le=10_000,
        description="causal-lm with prompts: validation rows that are answered by greedy "
        "generation, for exact_match",
    )
    answer_tokens: int = Field(
        32, ge=1, le=4_096, description="causal-lm with prompts: most tokens of an answer"
    )

"""The data of a job: where its rows come from."""

from __future__ import annotations

from pydantic import Field

from fedkrso_core.strict import Strict


class DataSpec(Strict):
    """Where the rows come from and which columns hold what."""

    train: str = Field(
        "pydocs",
        min_length=1,
        description="pydocs, a path to .jsonl, .jsonl.gz, .csv, .tsv or .parquet, hf:glue/sst2, or "
        "upload:SHA256.ENDING",
    )
    validation: str | None = Field(
        None, description="Same forms; empty: a seeded tenth of train is held out"
    )
    text: str = Field(
        "text", min_length=1, description="Column with the text; of causal-lm, what is learnt"
    )
    text_pair: str | None = Field(None, description="Second text column of a pair task")
    prompt: str | None = Field(
        None,
        min_length=1,
        description="causal-lm: column of the prompt before the text, or a template of columns "
        "such as 'Q: {question} A: '; the prompt is not learnt",
    )
    label: str = Field(
        "label", min_length=1, description="Column with the label; of regression, the number"
    )
    max_rows: int | None = Field(None, ge=2, description="Seeded sample of train of this size")

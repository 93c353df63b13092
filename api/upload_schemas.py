"""What the routes about uploaded rows take and give."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class UploadOut(BaseModel):
    """Rows that jobs of a project may name."""

    source: str = Field(
        description="What a job's data.train or data.validation says",
        examples=[f"upload:{'5f0c6a1be2d34790' * 4}.jsonl"],
    )
    project: str
    name: str = Field(examples=["reviews.jsonl"])
    size: int = Field(description="Bytes of the file")
    rows: int
    columns: list[str] = Field(examples=[["text", "label"]])
    user: str | None = Field(None, description="Who uploaded it first")
    created_at: datetime


class Uploads(BaseModel):
    """Uploads, newest first."""

    items: list[UploadOut]

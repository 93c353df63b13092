"""How a job's rows are divided among its clients."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ShareOut(BaseModel):
    """The rows of one client."""

    client: int
    num_examples: int
    labels: list[int] = Field(description="Rows of each label, in the order of the job's `labels`")


class PartitionOut(BaseModel):
    """The division of a job's rows; external clients, which have their own, are not in it."""

    num_examples: int = Field(description="Rows that are divided")
    num_validation: int = Field(description="Rows that the model is evaluated on")
    labels: list[str] = Field(description="Names of the labels; empty where rows have none")
    num_clients: int
    clients: list[ShareOut] = Field(description="The first of them, as many as were asked for")

"""What is a secret by its form, in words that are told to users."""

from __future__ import annotations

import pytest

from telemetry.redact import redact

KEY = "fk_0123456789abcdef_" + "S-_3" * 11
OLD_KEY = "fk_" + "aB3-_" * 9
SECRETS = {
    f"key {KEY}.": "key fk_0123456789abcdef_***.",
    f"an old key {OLD_KEY}": "an old key fk_***",
    "postgresql+psycopg://ada:pa:ss@db:5432/x": "postgresql+psycopg://ada:***@db:5432/x",
    "redis://:pass@host/0": "redis://:***@host/0",
    "{'Authorization': 'Bearer abc.def-ghi'}": "{'Authorization': 'Bearer ***'}",
    "X-Lease-Token: keg4kuYurnRiXrmXDn": "X-Lease-Token: ***",
    "s3://b?access_key=abc&x=1": "s3://b?access_key=***&x=1",
}
HARMLESS = [
    "http://127.0.0.1:8000/v1/jobs?limit=20",
    "ada@lab.example asked at 12:30:01",
    "FOREIGN KEY constraint fk_assignments_job_id failed",
    "sha256 " + "ab" * 32,
]


@pytest.mark.parametrize(("text", "clean"), list(SECRETS.items()))
def test_a_secret_is_replaced_by_stars(text: str, clean: str) -> None:
    assert redact(text) == clean
    assert redact(clean) == clean


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text

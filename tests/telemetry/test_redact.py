"""Tries to get secrets into the log in every way that comes to mind."""

from __future__ import annotations

import io
import logging

import httpx
import pytest

from telemetry import facts, logs
from telemetry.redact import Redactor, passwords
from telemetry.settings import Settings

SECRET = "q7Zr-Ax_98kLmN0pQ"

TEXTS = [
    f"Authorization: Bearer {SECRET}",
    f"authorization=bearer {SECRET}",
    f"Basic {SECRET}",
    f"{{'Authorization': 'Bearer {SECRET}'}}",
    f"[(b'x-lease-token', b'{SECRET}')]",
    f"X-Lease-Token: {SECRET}",
    f'{{"lease_token": "{SECRET}", "id": 1}}',
    f"api_key={SECRET}",
    f"FEDKRSO_API_KEY={SECRET}",
    f"FEDKRSO_BOOTSTRAP_WORKER_KEY='{SECRET}'",
    f"password={SECRET} user=me",
    f"AWS_SECRET_ACCESS_KEY={SECRET}",
    f"postgresql+psycopg://fedkrso:{SECRET}@db:5432/fedkrso",
    f"redis://:{SECRET}@cache:6379/0",
    f"https://s3/bucket/x?X-Amz-Signature={SECRET}&X-Amz-Date=1",
    f"https://s3/bucket/x?X-Amz-Credential={SECRET}/eu/s3&X-Amz-Expires=9",
    f"https://blob/x?sig={SECRET}",
    f"fk_{SECRET}",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_in_a_text_is_not_written(text: str) -> None:
    cleaned = Redactor().text(f"before {text} after")
    assert SECRET not in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")


def test_what_is_no_secret_stays() -> None:
    for text in (
        "Round 3 closed: accuracy 0.612, 4 of 4 clients",
        "postgresql+psycopg://postgres@127.0.0.1:5432/db does not answer",
        "GET /v1/jobs/f8207b594a4b/events?after=3",
        "s3://bucket/prefix",
        "tokens per second: 1200",
    ):
        assert Redactor().text(text) == text


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_way_leads_a_secret_into_the_log(sink: io.StringIO, log_format: str) -> None:
    known = "plain-looking-word"
    settings = Settings(log_format=log_format, log_level="debug")
    logs.configure("test", settings, secrets=[known], stream=sink)
    log = logging.getLogger("api")
    for text in TEXTS:
        log.info(text)
        log.info("given %s", text)
        log.info("given %r", {"headers": text})
        log.info("nested", extra={"request": {"headers": [text, (text,)]}})
        log.info("odd", extra={"body": text.encode()})
    log.info("named", extra={"lease_token": SECRET, "Authorization": f"{SECRET}", "x": [known]})
    log.info("deep", extra={"headers": {"X-Lease-Token": SECRET, "Cookie": SECRET}})
    log.info("headers: %s", httpx.Headers({"Authorization": f"Bearer {SECRET}"}))
    log.info("headers: %s", httpx.Headers({"X-Lease-Token": SECRET}).raw)
    with facts.about(api_key=SECRET, database_url=f"postgresql://u:{SECRET}@h/d"):
        log.warning("facts of %s", known)
    try:
        raise RuntimeError(f"cannot connect to redis://:{SECRET}@h with {known}")
    except RuntimeError:
        log.exception("failed")
    written = sink.getvalue()
    assert len(written.splitlines()) >= 5 * len(TEXTS)
    assert SECRET not in written
    assert known not in written
    assert "***" in written


def test_passwords_of_urls_are_known_encoded_and_decoded() -> None:
    assert passwords("postgresql://me:p%40ss%2Fword@h/d", "sqlite:///x", "", "redis://h") == [
        "p%40ss%2Fword",
        "p@ss/word",
    ]

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from fedkrso_core.redact import install, redact

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


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    before, written = logging.getLogRecordFactory(), io.StringIO()
    install()
    handler = logging.StreamHandler(written)
    logger = logging.getLogger("test.redact")
    logger.addHandler(handler)
    yield written
    logger.removeHandler(handler)
    logging.setLogRecordFactory(before)


def test_no_log_record_has_a_secret_wherever_it_stands(log: io.StringIO) -> None:
    logger = logging.getLogger("test.redact")
    logger.warning("%s asks %s", "ada", KEY)
    logger.warning("message with " + KEY)
    logger.warning("%(key)s", {"key": KEY})
    logger.warning("%s", ConnectionError(f"redis://:pass@host with {KEY}"))
    try:
        raise RuntimeError(f"cannot use {KEY}")
    except RuntimeError:
        logger.exception("it failed")
    assert "ada asks fk_0123456789abcdef_***" in log.getvalue()
    assert "RuntimeError: cannot use fk_0123456789abcdef_***" in log.getvalue()
    assert KEY.split("_", 2)[2] not in log.getvalue()
    assert "pass@" not in log.getvalue()


def test_an_access_log_keeps_its_form(log: io.StringIO) -> None:
    from uvicorn.logging import AccessFormatter

    logger = logging.getLogger("test.redact")
    form = '%(client_addr)s "%(request_line)s" %(status_code)s'
    logger.handlers[-1].setFormatter(AccessFormatter(form, use_colors=False))
    args = ("127.0.0.1:5", "DELETE", f"/v1/keys/{KEY}", "1.1", 404)
    logger.warning('%s - "%s %s HTTP/%s" %d', *args)
    path = "/v1/keys/fk_0123456789abcdef_***"
    assert log.getvalue() == f'127.0.0.1:5 "DELETE {path} HTTP/1.1" 404 Not Found\n'


def test_numbers_keep_their_type_for_formatters(log: io.StringIO) -> None:
    logging.getLogger("test.redact").warning("%05d %.2f", 42, 0.5)
    assert log.getvalue() == "00042 0.50\n"

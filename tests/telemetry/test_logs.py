from __future__ import annotations

import contextvars
import io
import logging
import threading

import pytest
from pydantic import ValidationError

from telemetry import facts, logs
from telemetry.settings import Settings
from tests.telemetry.conftest import Lines

FOREIGN = ["uvicorn", "uvicorn.error", "celery.worker", "sqlalchemy.engine", "alembic", "anything"]


@pytest.mark.parametrize("name", FOREIGN)
def test_every_library_writes_the_same_form(as_json: Lines, name: str) -> None:
    logging.getLogger(name).warning("%d of %s", 3, "four")
    (line,) = as_json()
    assert (line["event"], line["level"], line["logger"]) == ("3 of four", "warning", name)
    assert (line["service"], line["timestamp"][-1]) == ("test", "Z")


def test_a_line_says_what_it_is_about(as_json: Lines) -> None:
    log = logging.getLogger("api")
    with facts.about(job="j1", request_id="r1"):
        facts.note(client=7)
        log.info("claimed", extra={"attempt": 2})
        with facts.about(round=3):
            log.info("inner")
        log.info("outer")
    log.info("outside")
    claimed, inner, outer, outside = as_json()
    assert [claimed[name] for name in ("job", "request_id", "client", "attempt")] == [
        "j1", "r1", 7, 2,
    ]  # fmt: skip
    assert (inner["round"], inner["client"], outer.get("round")) == (3, 7, None)
    assert not {"job", "client", "request_id"} & set(outside)


def test_what_a_thread_finds_out_is_on_the_later_lines_of_its_request(as_json: Lines) -> None:
    with facts.about(request_id="r1"):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(lambda: facts.note(job="j9"),))
        thread.start()
        thread.join()
        logging.getLogger("api").info("answered")
    assert as_json()[0]["job"] == "j9"


def test_a_traceback_is_one_line(as_json: Lines) -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("api").exception("failed")
    (line,) = as_json()
    assert "ValueError: odd" in line["exception"]


def test_a_terminal_gets_lines_for_people(sink: io.StringIO) -> None:
    logs.configure("api", Settings(log_format="console", log_level="info"), stream=sink)
    with facts.about(job="j1"):
        logging.getLogger("api").info("round opened")
    text = sink.getvalue()
    assert "round opened" in text
    assert "job=j1" in text
    assert not text.startswith("{")
    assert "\x1b" not in text  # colours are for terminals


def test_the_level_is_a_setting(sink: io.StringIO) -> None:
    logs.configure("api", Settings(log_format="json", log_level="error"), stream=sink)
    logging.getLogger("api").warning("not this")
    logging.getLogger("celery").error("but this")
    assert "not this" not in sink.getvalue()
    assert "but this" in sink.getvalue()


def test_talkative_libraries_are_heard_only_when_debugging(sink: io.StringIO) -> None:
    logs.configure("api", Settings(log_format="json", log_level="info"), stream=sink)
    logging.getLogger("httpx").info("HTTP Request: GET /")
    assert sink.getvalue() == ""
    logs.configure("api", Settings(log_format="json", log_level="debug"), stream=sink)
    logging.getLogger("httpx").info("HTTP Request: GET /")
    assert "HTTP Request" in sink.getvalue()


def test_configuring_again_does_not_double_the_lines(sink: io.StringIO) -> None:
    for _ in range(3):
        logs.configure("api", Settings(log_format="json", log_level="info"), stream=sink)
    logging.getLogger("api").info("once")
    assert len(sink.getvalue().splitlines()) == 1


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_LOG_FORMAT", "JSON")
    monkeypatch.setenv("FEDKRSO_LOG_LEVEL", "WARNING")
    assert (Settings().log_format, Settings().log_level) == ("json", "warning")
    monkeypatch.setenv("FEDKRSO_LOG_FORMAT", "xml")
    with pytest.raises(ValidationError, match="'console' or 'json'"):
        Settings()

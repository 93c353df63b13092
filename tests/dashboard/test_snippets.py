"""A job as text to take along."""

from __future__ import annotations

import shlex
from typing import Any

import httpx
import pytest
import yaml

from dashboard import snippets

JOB = {"name": 'it\'s ü "quoted" \\n $HOME', "rounds": {"count": 3}, "seed": None, "shared": True}


def test_the_yaml_is_the_job() -> None:
    assert yaml.safe_load(snippets.as_yaml(JOB)) == JOB


def test_a_shell_reads_the_body_as_it_is() -> None:
    words = shlex.split(snippets.as_curl(JOB, "http://a.b", "x y").replace("\\\n", ""))
    assert yaml.safe_load(words[words.index("-d") + 1]) == JOB
    assert "http://a.b/v1/jobs?project=x+y" in words


def test_the_program_sends_the_job_with_the_key_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: dict[str, Any] = {}

    def post(url: str, **options: Any) -> httpx.Response:
        sent.update(options, url=url)
        return httpx.Response(201, json={"id": "abc"}, request=httpx.Request("POST", url))

    monkeypatch.setattr(httpx, "post", post)
    monkeypatch.setenv("FEDKRSO_API_KEY", "k")
    exec(compile(snippets.as_python(JOB, "http://a.b"), "program", "exec"), {})
    assert sent["json"] == JOB
    assert sent["url"] == "http://a.b/v1/jobs"
    assert sent["headers"] == {"Authorization": "Bearer k"}
    assert capsys.readouterr().out == "abc\n"

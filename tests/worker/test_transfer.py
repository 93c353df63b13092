"""Transfers over connections that break: they go on where they stopped."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.worker.fake_service import BROKEN, Answer, FakeService, elsewhere, ok, problem
from tests.worker.test_api import ASSIGNMENT, DATA, DIGEST, REPORT
from worker.api import Api

TOTAL = len(DATA)


def rest(of: int, status: int = 206) -> Answer:
    return Answer(status, DATA[of:], headers={"Content-Range": f"bytes {of}-{TOTAL - 1}/{TOTAL}"})


def test_an_upload_goes_on_with_what_the_service_lacks(api: Api, service: FakeService) -> None:
    service.gives(BROKEN, ok({}))
    service.received = 8
    api.upload(ASSIGNMENT, DATA, REPORT)
    first, second = service.asked
    assert (first.body, second.body) == (DATA, DATA[8:])
    assert "Content-Range" not in first.headers
    assert second.headers["Content-Range"] == f"bytes 8-{TOTAL - 1}/{TOTAL}"
    assert second.headers["X-Content-SHA256"] == DIGEST
    assert second.path == first.path


def test_an_upload_that_is_all_there_is_only_finished(api: Api, service: FakeService) -> None:
    service.gives(problem(503, "the database is away"), ok({}))
    service.received = TOTAL
    api.upload(ASSIGNMENT, DATA, REPORT)
    assert service.asked[1].body == b""
    assert service.asked[1].headers["Content-Range"] == f"bytes */{TOTAL}"


def test_another_process_of_the_service_may_have_less(api: Api, service: FakeService) -> None:
    service.gives(BROKEN, problem(416, "0 bytes are here"), ok({}))
    service.received = 8
    api.upload(ASSIGNMENT, DATA, REPORT)
    assert [len(asked.body) for asked in service.asked] == [TOTAL, TOTAL - 8, TOTAL - 8]


def test_a_download_goes_on_where_it_broke(api: Api, service: FakeService, tmp_path: Path) -> None:
    service.gives(Answer(body=DATA, cut=5), BROKEN, rest(5))
    api.download(ASSIGNMENT, DIGEST, tmp_path / DIGEST)
    assert (tmp_path / DIGEST).read_bytes() == DATA
    assert [asked.headers.get("Range") for asked in service.asked] == [None] + ["bytes=5-"] * 2
    assert list(tmp_path.iterdir()) == [tmp_path / DIGEST]


def test_a_service_that_sends_all_again_is_believed(
    api: Api, service: FakeService, tmp_path: Path
) -> None:
    service.gives(Answer(body=DATA, cut=5), ok(DATA))
    api.download(ASSIGNMENT, DIGEST, tmp_path / DIGEST)
    assert (tmp_path / DIGEST).read_bytes() == DATA


def test_a_download_in_another_store_goes_on_there(
    api: Api, service: FakeService, blob_store: FakeService, tmp_path: Path
) -> None:
    service.gives(elsewhere(f"{blob_store.url}/blob"))
    blob_store.gives(Answer(body=DATA, cut=5), rest(5))
    api.download(ASSIGNMENT, DIGEST, tmp_path / DIGEST)
    assert (tmp_path / DIGEST).read_bytes() == DATA
    assert [asked.headers.get("Range") for asked in blob_store.asked] == [None, "bytes=5-"]
    # the service counts what it is asked for from the beginning
    assert [asked.headers.get("Range") for asked in service.asked] == [None, "bytes=5-"]


def test_a_part_of_something_else_is_thrown_away(
    api: Api, service: FakeService, tmp_path: Path
) -> None:
    service.gives(Answer(body=b"other" + DATA[5:], cut=5), rest(5), ok(DATA))
    api.download(ASSIGNMENT, DIGEST, tmp_path / DIGEST)
    assert (tmp_path / DIGEST).read_bytes() == DATA
    assert len(service.asked) == 3


def test_patience_is_for_bytes_that_do_not_move(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = [0.0]
    monkeypatch.setattr("worker.api.time.monotonic", lambda: now[0])
    slow = Api(service.url, "fk_worker", give_up_s=10)
    monkeypatch.setattr(slow._stop, "sleep", lambda _: now.__setitem__(0, now[0] + 6))
    # a byte for each connection, six seconds apart: longer than the patience in all
    pieces = [Answer(206, DATA[n:], cut=1, headers=rest(n).headers) for n in range(1, TOTAL - 1)]
    service.gives(Answer(body=DATA, cut=1), *pieces, rest(TOTAL - 1))
    slow.download(ASSIGNMENT, DIGEST, tmp_path / DIGEST)
    assert now[0] > 100
    service.gives(BROKEN)
    began, asked = now[0], len(service.asked)
    with pytest.raises(httpx.TransportError):
        slow.download(ASSIGNMENT, DIGEST, tmp_path / "other")
    assert now[0] - began == 12
    assert len(service.asked) - asked == 3
    slow.close()

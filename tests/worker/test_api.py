from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.worker.fake_service import BROKEN, Answer, FakeService, elsewhere, ok, problem
from worker.api import Api, LeaseLost, Refused
from worker.stop import Stop

ASSIGNMENT = {"id": "a1", "lease_token": "token-1"}
REPORT = {"peak_memory_bytes": 1000, "train_s": 0.5}
DATA = b"a state of the journal"
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_work_is_claimed_with_the_key_and_the_workers_name(api: Api, service: FakeService) -> None:
    service.gives(ok({"id": "a1"}))
    assert api.claim("gpu-1") == {"id": "a1"}
    (asked,) = service.asked
    assert (asked.method, asked.path) == ("POST", "/v1/assignments/claim")
    assert asked.headers["Authorization"] == "Bearer fk_worker"
    assert asked.body == b'{"worker":"gpu-1"}'


def test_no_work_is_no_error(api: Api, service: FakeService) -> None:
    service.gives(problem(204, ""))
    assert api.claim("gpu-1") is None


def test_an_upload_carries_lease_digest_and_report(api: Api, service: FakeService) -> None:
    service.gives(ok({}))
    api.upload(ASSIGNMENT, DATA, REPORT)
    (asked,) = service.asked
    assert asked.method == "PUT"
    assert urlsplit(asked.path).path == "/v1/assignments/a1/update"
    assert parse_qs(urlsplit(asked.path).query) == {
        "peak_memory_bytes": ["1000"],
        "train_s": ["0.5"],
    }
    assert asked.headers["X-Lease-Token"] == "token-1"
    assert asked.headers["X-Content-SHA256"] == DIGEST
    assert asked.body == DATA


@pytest.mark.parametrize(
    "failure", [problem(500, "oops"), problem(503, "restarting"), problem(429, "too many"), BROKEN]
)
def test_a_passing_failure_is_tried_again(api: Api, service: FakeService, failure: Any) -> None:
    service.gives(failure, failure, ok({}))
    api.upload(ASSIGNMENT, DATA, REPORT)
    assert [asked.body for asked in service.asked] == [DATA] * 3


@pytest.mark.parametrize(
    ("failure", "error"),
    [(problem(503, "restarting"), httpx.HTTPStatusError), (BROKEN, httpx.TransportError)],
)
def test_a_failure_that_stays_is_given_up(
    api: Api, service: FakeService, failure: Any, error: type[Exception]
) -> None:
    service.gives(failure)
    with pytest.raises(error):
        api.upload(ASSIGNMENT, DATA, REPORT)
    assert len(service.asked) > 1


def test_an_update_waits_for_room(service: FakeService) -> None:
    service.gives(problem(507, "no room on the service's disk"), BROKEN, ok({}))
    patient = Api(service.url, "fk_worker", give_up_s=600)
    patient.upload(ASSIGNMENT, DATA, REPORT)
    assert len(service.asked) == 3
    patient.close()


def test_an_upload_that_has_become_useless_is_not_tried_again(service: FakeService) -> None:
    service.gives(problem(503, "restarting"))
    patient = Api(service.url, "fk_worker", give_up_s=600)
    with pytest.raises(httpx.HTTPStatusError):
        patient.upload(ASSIGNMENT, DATA, REPORT, useless=lambda: len(service.asked) == 3)
    assert len(service.asked) == 3
    patient.close()


def test_a_process_that_is_to_end_does_not_wait_for_the_service(service: FakeService) -> None:
    service.gives(problem(503, "restarting"))
    stop = Stop()
    patient = Api(service.url, "fk_worker", give_up_s=600, stop=stop)
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(httpx.HTTPStatusError):
        patient.download(ASSIGNMENT, DIGEST, Path("/nowhere"))
    patient.close()


def test_a_state_is_written_when_it_is_whole(
    api: Api, service: FakeService, tmp_path: Path
) -> None:
    service.gives(ok(DATA))
    api.download(ASSIGNMENT, DIGEST, tmp_path / DIGEST)
    assert (tmp_path / DIGEST).read_bytes() == DATA
    assert service.asked[0].path == f"/v1/assignments/a1/blobs/{DIGEST}"
    assert list(tmp_path.iterdir()) == [tmp_path / DIGEST]


def test_a_state_in_another_store_is_fetched_there_without_key_and_lease(
    api: Api, service: FakeService, blob_store: FakeService, tmp_path: Path
) -> None:
    service.gives(elsewhere(f"{blob_store.url}/bucket/blob?X-Amz-Signature=abc"))
    blob_store.gives(ok(DATA))
    api.download(ASSIGNMENT, DIGEST, tmp_path / DIGEST)
    assert (tmp_path / DIGEST).read_bytes() == DATA
    (asked,) = blob_store.asked
    assert asked.path == "/bucket/blob?X-Amz-Signature=abc"
    assert {"authorization", "x-lease-token"} & {name.lower() for name in asked.headers} == set()


def test_a_link_that_ran_out_is_asked_for_again(
    api: Api, service: FakeService, blob_store: FakeService, tmp_path: Path
) -> None:
    service.gives(elsewhere(f"{blob_store.url}/old"), elsewhere(f"{blob_store.url}/new"))
    blob_store.gives(problem(403, "expired"), ok(DATA))
    api.download(ASSIGNMENT, DIGEST, tmp_path / DIGEST)
    assert [asked.path for asked in blob_store.asked] == ["/old", "/new"]


def test_a_store_that_refuses_is_named_without_its_link(
    api: Api, service: FakeService, blob_store: FakeService, tmp_path: Path
) -> None:
    service.gives(elsewhere(f"{blob_store.url}/blob?X-Amz-Signature=abc"))
    blob_store.gives(problem(403, "expired"))
    with pytest.raises(httpx.ReadError, match="answers 403") as given_up:
        api.download(ASSIGNMENT, DIGEST, tmp_path / DIGEST)
    assert "Signature" not in str(given_up.value)


def test_a_damaged_download_is_repeated(api: Api, service: FakeService, tmp_path: Path) -> None:
    service.gives(ok(b"damaged"), ok(DATA))
    api.download(ASSIGNMENT, DIGEST, tmp_path / DIGEST)
    assert (tmp_path / DIGEST).read_bytes() == DATA
    assert len(service.asked) == 2


def test_a_download_that_stays_damaged_leaves_no_file(
    api: Api, service: FakeService, tmp_path: Path
) -> None:
    service.gives(ok(b"damaged"))
    with pytest.raises(httpx.ReadError, match="arrived damaged"):
        api.download(ASSIGNMENT, DIGEST, tmp_path / DIGEST)
    assert list(tmp_path.iterdir()) == []


Call = Callable[[Api, Path], Any]
CALLS: dict[str, Call] = {
    "heartbeat": lambda api, _: api.heartbeat(ASSIGNMENT, 3),
    "download": lambda api, folder: api.download(ASSIGNMENT, DIGEST, folder / DIGEST),
    "upload": lambda api, _: api.upload(ASSIGNMENT, DATA, REPORT),
    "give back": lambda api, _: api.give_back(ASSIGNMENT, "stopping"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_conflict_means_that_the_lease_is_lost(
    api: Api, service: FakeService, tmp_path: Path, call: Call
) -> None:
    service.gives(problem(409, "assignment a1 is leased under another lease"))
    with pytest.raises(LeaseLost, match="under another lease"):
        call(api, tmp_path)
    assert len(service.asked) == 1
    assert service.asked[0].headers["X-Lease-Token"] == "token-1"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("status", [401, 404, 413, 422])
def test_a_refusal_is_not_tried_again(
    api: Api, service: FakeService, tmp_path: Path, call: Call, status: int
) -> None:
    service.gives(problem(status, "no"))
    with pytest.raises(Refused, match=r"^no$"):
        call(api, tmp_path)
    assert len(service.asked) == 1


def test_a_heartbeat_tells_when_the_next_is_due(api: Api, service: FakeService) -> None:
    service.gives(ok(b'{"lease_s": 30.0, "heartbeat_s": 4.5}'))
    assert api.heartbeat(ASSIGNMENT, 3) == 4.5


def test_a_refusal_without_a_problem_document_names_the_status(
    api: Api, service: FakeService
) -> None:
    service.gives(Answer(403, b"<html>"))
    with pytest.raises(Refused, match="HTTP 403"):
        api.claim("gpu-1")


def test_a_long_reason_is_cut_to_what_the_service_takes(api: Api, service: FakeService) -> None:
    service.gives(problem(204, ""))
    api.give_back(ASSIGNMENT, "x" * 5000)
    assert service.asked[0].body.count(b"x") == 2000

"""Uploaded rows of jobs: whose they are, who is given them, and when they go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, update

from api.blobs import FolderBlobs
from api.db.session import writing
from api.db.tables import Client
from api.services import collection, job_rows, work
from api.settings import Settings
from fedkrso_core.data_spec import DataSpec
from fedkrso_core.examine import divided_rows
from fedkrso_core.spec import parse
from fedkrso_core.uploads import Uploaded
from tests.api import people
from tests.api.exchange import lease
from tests.api.house import House
from tests.api.sending import ROWS, SOURCE, accepted, blobs, refused, send

Json = dict[str, Any]
MakeJob = Callable[..., Json]


@pytest.fixture
def uploaded(client: TestClient, tiny_files: Path, tiny_job: MakeJob) -> Json:
    """A job file whose rows were uploaded."""
    made = accepted(client, (tiny_files / "rows.jsonl").read_bytes())
    return tiny_job(data={"train": made["source"]})


def test_an_upload_is_of_one_project(client: TestClient, engine: Engine, tiny_job: MakeJob) -> None:
    for name in ("ours", "theirs"):
        people.project(engine, name)
    ours = people.bearer(people.user(engine, "o", "operator", "ours"))
    accepted(client, project="theirs")
    assert client.get("/v1/uploads", headers=ours).json() == {"items": []}
    assert client.get("/v1/uploads?project=theirs", headers=ours).status_code == 404
    assert client.delete(f"/v1/uploads/{SOURCE}", headers=ours).status_code == 404
    assert send(client, headers=ours, project="theirs").status_code == 404
    job = tiny_job(data={"train": "pydocs", "validation": SOURCE})
    for route in ("", ":estimate", ":partition"):
        answer = client.post(f"/v1/jobs{route}", json=job, headers=ours)
        assert answer.status_code == 422, route
        (error,) = answer.json()["errors"]
        assert error["field"] == "data.validation"
        assert error["message"].startswith(f"'{SOURCE}' is not an upload of project 'ours'")
    # an admin sees both projects, and a job's rows are those of its own all the same
    assert client.post("/v1/jobs?project=ours", json=job).status_code == 422


def test_what_is_no_upload_at_all_is_refused_in_the_same_way(
    client: TestClient, tiny_job: MakeJob, house: House
) -> None:
    """Above all the digest of a blob that is something else."""
    house.open_job()
    (state,) = blobs(house.engine)
    for source in (f"upload:{state}.jsonl", "upload:../../keys.csv"):
        answer = client.post("/v1/jobs:partition", json=tiny_job(data={"train": source}))
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "data.train"
    assert list(house.settings.home.glob("uploads/*")) == []


def test_a_division_is_that_of_the_file(
    client: TestClient, uploaded: Json, tiny_job: MakeJob
) -> None:
    told = client.post("/v1/jobs:partition", json=uploaded).json()
    shares = divided_rows(parse(tiny_job())).divided
    assert [share["num_examples"] for share in told["clients"]] == [len(rows) for rows in shares]


def test_another_process_gets_the_file_from_the_blobs(
    client: TestClient, uploaded: Json, settings: Settings
) -> None:
    upload = Uploaded.of(uploaded["data"]["train"])
    assert upload is not None
    content = upload.path.read_bytes()
    upload.path.unlink()
    assert client.post("/v1/jobs", json=uploaded).status_code == 201
    assert upload.path.read_bytes() == content
    upload.path.unlink()
    job_rows.place(FolderBlobs(settings.blob_folder), DataSpec(train=upload.source))
    assert upload.path.read_bytes() == content


def test_a_damaged_blob_is_not_put_in_place(
    client: TestClient, uploaded: Json, settings: Settings
) -> None:
    upload = Uploaded.of(uploaded["data"]["train"])
    assert upload is not None
    upload.path.unlink()
    FolderBlobs(settings.blob_folder).path(upload.digest).write_bytes(b"damaged")
    assert "cannot be put in place" in refused(client.post("/v1/jobs", json=uploaded), 503)
    assert not upload.path.exists()


def test_an_upload_stays_while_an_open_job_names_it(
    client: TestClient, engine: Engine, settings: Settings, uploaded: Json
) -> None:
    source, store = uploaded["data"]["train"], FolderBlobs(settings.blob_folder)
    upload = Uploaded.of(source)
    assert upload is not None
    job = client.post("/v1/jobs", json=uploaded).json()["id"]
    assert f"is used by job {job}" in refused(client.delete(f"/v1/uploads/{source}"), 409)
    assert sum(collection.clear(engine, store, -1.0)) == 0
    client.post(f"/v1/jobs/{job}/cancel")
    assert client.delete(f"/v1/uploads/{source}").status_code == 204
    assert not upload.path.exists()
    assert client.delete(f"/v1/uploads/{source}").status_code == 404
    assert sum(collection.clear(engine, store, -1.0)) > 0
    assert store.size(upload.digest) is None
    assert client.post("/v1/jobs", json=uploaded).status_code == 422


def test_rows_of_two_projects_stay_until_both_let_go(
    client: TestClient, engine: Engine, settings: Settings
) -> None:
    people.project(engine, "ours")
    store = FolderBlobs(settings.blob_folder)
    for project in ("default", "ours"):
        accepted(client, project=project)
    assert client.delete(f"/v1/uploads/{SOURCE}").status_code == 204
    assert sum(collection.clear(engine, store, -1.0)) == 0
    assert refused(client.delete("/v1/projects/ours"), 409).startswith("project 'ours' has 1 up")
    assert client.delete(f"/v1/uploads/{SOURCE}?project=ours").status_code == 204
    assert sum(collection.clear(engine, store, -1.0)) == len(ROWS)
    assert client.delete("/v1/projects/ours").status_code == 204


def test_a_failed_job_is_not_retried_without_its_rows(
    client: TestClient, house: House, uploaded: Json
) -> None:
    job = client.post("/v1/jobs", json=uploaded).json()["id"]
    house.set_job(job, state="failed")
    assert client.delete(f"/v1/uploads/{uploaded['data']['train']}").status_code == 204
    answer = client.post(f"/v1/jobs/{job}/retry")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "data.train"


def test_the_files_of_deleted_uploads_are_cleared_away(
    client: TestClient, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted(client)
    left = settings.home / "uploads" / f"{'0' * 64}.csv"
    left.write_bytes(b"of an upload that another machine deleted")
    job_rows.forget_deleted(engine)
    assert left.exists()  # it may be one that is just being uploaded
    monkeypatch.setattr(job_rows, "_KEEP_UNKNOWN_S", -60.0)
    job_rows.forget_deleted(engine)
    assert [path.name for path in left.parent.iterdir()] == [SOURCE.removeprefix("upload:")]


def test_only_workers_of_a_job_are_given_its_rows(
    client: TestClient, engine: Engine, house: House
) -> None:
    accepted(client)
    house.open_job(data={"train": SOURCE})
    seat = house.claim()
    held = lease({"lease_token": seat.lease_token})

    def ask(source: str, headers: dict[str, str]) -> Any:
        return client.get(f"/v1/assignments/{seat.id}/data/{source}", headers=headers)

    answer = ask(SOURCE, held)
    assert (answer.status_code, answer.content) == (200, ROWS)
    rest = ask(SOURCE, held | {"Range": "bytes=10-"})
    assert (rest.status_code, rest.content) == (206, ROWS[10:])
    assert house.seat(seat.id).bytes_down == house.seat(seat.id).bytes_lost == 0
    assert ask(f"upload:{'0' * 64}.csv", held).status_code == 404
    assert ask(SOURCE, held | {"X-Lease-Token": "wrong"}).status_code == 409


def test_rows_in_s3_are_behind_a_link_that_needs_no_key(
    blobs_in_s3: None, client: TestClient, house: House
) -> None:
    accepted(client)
    house.open_job(data={"train": SOURCE})
    seat = house.claim()
    held = lease({"lease_token": seat.lease_token})
    url = f"/v1/assignments/{seat.id}/data/{SOURCE}"
    answer = client.get(url, headers=held, follow_redirects=False)
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    link = answer.headers["Location"]
    assert httpx.get(link, trust_env=False).content == ROWS
    rest = httpx.get(link, headers={"Range": "bytes=10-"}, trust_env=False)
    assert (rest.status_code, rest.content) == (206, ROWS[10:])
    refused = client.get(url, headers=held | {"X-Lease-Token": "wrong"}, follow_redirects=False)
    assert refused.status_code == 409


def test_an_external_client_has_rows_of_its_own_and_is_given_no_others(
    client: TestClient, engine: Engine, house: House
) -> None:
    accepted(client)
    made = people.external(engine, "hospital-a")
    job = house.open_job(data={"train": SOURCE}, clients=2)
    with writing(engine) as session:
        session.execute(
            update(Client)
            .where(Client.job_id == job, Client.client == 0)
            .values(external=made.client.id)
        )
    seat = work.claim(engine, house.settings, "", made.client.id)
    assert seat is not None
    headers = people.bearer(made) | {"X-Lease-Token": seat.lease_token}
    answer = client.get(f"/v1/assignments/{seat.id}/data/{SOURCE}", headers=headers)
    assert answer.status_code == 404

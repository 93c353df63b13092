"""Unused blobs are cleared away, and never one that somebody needs or is about to."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from api.blobs import Blobs, FolderBlobs
from api.db import blobs as account
from api.db.session import reading, writing
from api.db.tables import Blob, Export, Table
from api.errors import ApiError
from api.services import collection, safekeeping
from api.services.safekeeping import Kept
from api.settings import Settings
from tests.api.house import House, is_refused

LATER = 1e12  # a moment by which every blob was touched long ago


@pytest.fixture
def blobs(settings: Settings) -> FolderBlobs:
    return FolderBlobs(settings.blob_folder)


def rows(engine: Engine) -> set[str]:
    with reading(engine) as session:
        return {row.digest for row in session.query(Blob)}


def stored(blobs: Blobs) -> set[str]:
    return {found.digest for found in blobs.listed()}


def clear(engine: Engine, blobs: Blobs, grace_s: float = 0.0) -> int:
    return sum(1 for _ in collection.clear(engine, blobs, grace_s))


def refer(engine: Engine, job_id: str, number: int, kept: Kept | None) -> None:
    """Makes an export the one that refers to a blob, or to none."""
    with writing(engine) as session:
        row = session.get(Export, (job_id, number))
        if row is None:
            row = Export(job_id=job_id, number=number, state="ready", requested_at=0.0)
            session.add(row)
        if kept is not None:
            safekeeping.refer(session, kept)
        row.digest = kept.digest if kept else None


def test_unused_blobs_are_cleared_away_with_their_rows(
    engine: Engine, blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "_AT_ONCE", 3)
    for number in range(7):
        safekeeping.put(engine, blobs, b"%d" % number)
    assert clear(engine, blobs) == 7
    assert stored(blobs) == rows(engine) == set()


def test_every_column_with_a_digest_counts_as_a_reference() -> None:
    """A new one that is forgotten here would lose its blobs."""
    columns = {c for t in Table.metadata.sorted_tables for c in t.c if c.name.endswith("digest")}
    known = {column.property.columns[0] for column in account.REFERENCES}
    assert columns - {Blob.__table__.c.digest} == known


def test_a_blob_is_left_alone_for_a_while(engine: Engine, blobs: FolderBlobs) -> None:
    digest = safekeeping.put(engine, blobs, b"just stored").digest
    assert clear(engine, blobs, grace_s=3600.0) == 0
    assert stored(blobs) == {digest}


def test_storing_a_blob_again_begins_its_time_anew(engine: Engine, blobs: FolderBlobs) -> None:
    digest = safekeeping.put(engine, blobs, b"old").digest
    with writing(engine) as session:
        session.get_one(Blob, digest).touched_at = time.time() - 7200.0
    safekeeping.put(engine, blobs, b"old")
    assert clear(engine, blobs, grace_s=3600.0) == 0


def test_states_updates_and_exports_keep_their_blobs(
    engine: Engine, blobs: FolderBlobs, house: House
) -> None:
    job_id = house.open_job(clients=2, rounds=2)
    house.finish_round(job_id)
    kept = safekeeping.put(engine, blobs, b"a zip")
    refer(engine, job_id, 1, kept)
    before = stored(blobs)
    assert clear(engine, blobs) == 0
    states = {row.digest for row in house.rounds(job_id) if row.digest}
    updates = {seat.digest for seat in house.seats(job_id) if seat.digest}
    assert before == stored(blobs) == rows(engine) == states | updates | {kept.digest}


def test_a_refused_update_is_cleared_away(engine: Engine, blobs: FolderBlobs, house: House) -> None:
    house.open_job()
    before = stored(blobs)
    safekeeping.put(engine, blobs, b"accepted by the door, then the lease was lost")
    assert clear(engine, blobs) == 1
    assert stored(blobs) == before


def test_a_blob_that_was_stored_before_there_was_an_account_is_found(
    engine: Engine, blobs: FolderBlobs
) -> None:
    digest = blobs.put(b"from an older version")
    known = safekeeping.put(engine, blobs, b"known").digest
    assert collection.adopt(engine, blobs) == 1
    assert collection.adopt(engine, blobs) == 0
    assert rows(engine) == {digest, known}


class SlowBlobs(FolderBlobs):
    """Waits in the middle of a removal, until it may go on."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.blob_folder)
        self.removing, self.go_on = threading.Event(), threading.Event()

    def delete(self, digest: str) -> None:
        self.removing.set()
        assert self.go_on.wait(60)
        super().delete(digest)


def in_thread(call: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_who_stores_a_blob_that_is_being_removed_waits_and_stores_it_again(
    engine: Engine, settings: Settings
) -> None:
    slow = SlowBlobs(settings)
    digest = safekeeping.put(engine, slow, b"wanted again").digest
    collector = in_thread(lambda: collection.remove(engine, slow, digest, LATER))
    assert slow.removing.wait(60)
    uploader = in_thread(lambda: safekeeping.put(engine, slow, b"wanted again"))
    uploader.join(0.3)
    assert uploader.is_alive()
    slow.go_on.set()
    collector.join(60)
    uploader.join(60)
    assert stored(slow) == rows(engine) == {digest}


def test_what_is_referred_to_after_it_was_looked_up_stays(
    engine: Engine, blobs: FolderBlobs, house: House
) -> None:
    job_id = house.job()
    kept = safekeeping.put(engine, blobs, b"needed after all")
    refer(engine, job_id, 1, kept)
    assert collection.remove(engine, blobs, kept.digest, LATER) is None
    assert kept.digest in stored(blobs)


def test_what_a_transaction_is_about_to_refer_to_stays(
    engine: Engine, blobs: FolderBlobs, house: House
) -> None:
    job_id, removed = house.job(), []
    kept = safekeeping.put(engine, blobs, b"about to be needed")
    digest = kept.digest
    with writing(engine) as session:
        session.add(Export(job_id=job_id, number=1, state="ready", requested_at=0.0, digest=digest))
        safekeeping.refer(session, kept)
        session.flush()
        collector = in_thread(
            lambda: removed.append(collection.remove(engine, blobs, digest, LATER))
        )
        collector.join(0.3)  # it has looked, or waits
    collector.join(60)
    assert removed == [None]
    assert digest in stored(blobs)


def test_what_was_cleared_away_before_it_was_used_is_refused(
    engine: Engine, blobs: FolderBlobs, house: House
) -> None:
    job_id = house.job()
    slow = safekeeping.put(engine, blobs, b"stored too slowly")
    clear(engine, blobs)
    is_refused(503, "not-ready", lambda: refer(engine, job_id, 1, slow))
    quick = safekeeping.put(engine, blobs, b"stored too slowly")
    is_refused(503, "not-ready", lambda: refer(engine, job_id, 1, slow))
    refer(engine, job_id, 1, quick)


def test_a_collector_that_dies_half_way_leaves_no_reference_to_nothing(
    engine: Engine, blobs: FolderBlobs, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = house.job()
    slow = safekeeping.put(engine, blobs, b"removed, but not from the account")

    def delete_and_die(self: FolderBlobs, digest: str) -> None:
        self.path(digest).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FolderBlobs, "delete", delete_and_die)
        with pytest.raises(KeyboardInterrupt):
            clear(engine, blobs)
    assert rows(engine) == {slow.digest}
    is_refused(503, "not-ready", lambda: refer(engine, job_id, 1, slow))
    again = safekeeping.put(engine, blobs, b"removed, but not from the account")
    refer(engine, job_id, 1, again)
    assert stored(blobs) == {slow.digest}


def test_nothing_that_is_referred_to_is_ever_removed(
    engine: Engine, blobs: FolderBlobs, house: House
) -> None:
    """Uploaders and collectors without any grace, all on the same few blobs."""
    job_id, over, errors = house.job(), threading.Event(), []

    def upload(number: int) -> None:
        draw = random.Random(number)
        try:
            for _ in range(30):
                kept = safekeeping.put(engine, blobs, b"%d" % draw.randrange(4))
                try:
                    refer(engine, job_id, number, kept)
                except ApiError:  # it was removed between the two: stored anew
                    continue
                assert blobs.size(kept.digest) is not None, "a blob in use was removed"
                refer(engine, job_id, number, None)
        except Exception as error:
            errors.append(error)

    def collect() -> None:
        while not over.is_set():
            clear(engine, blobs, grace_s=-1.0)

    collectors = [in_thread(collect) for _ in range(2)]
    uploaders = [in_thread(lambda n=n: upload(n)) for n in range(3)]
    for thread in uploaders:
        thread.join(120)
    over.set()
    for thread in collectors:
        thread.join(60)
    assert errors == []
    # stored after its row was cleared away: found again by listing
    collection.adopt(engine, blobs)
    clear(engine, blobs, grace_s=-1.0)
    assert stored(blobs) == rows(engine) == set()

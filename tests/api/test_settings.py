from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from api.settings import Settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"FEDKRSO_{name.upper()}", raising=False)
    monkeypatch.setenv("FEDKRSO_HOME", str(tmp_path / "home"))


def test_everything_lies_in_the_state_folder_by_default(tmp_path: Path) -> None:
    settings = Settings()
    assert settings.home == tmp_path / "home"
    assert settings.database == f"sqlite:///{tmp_path / 'home' / 'fedkrso.db'}"
    assert settings.blob_folder == tmp_path / "home" / "blobs"
    assert settings.queue_folder == tmp_path / "home" / "queue"


def test_a_state_folder_is_made_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDKRSO_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().home == tmp_path / ".fedkrso"
    assert (tmp_path / ".fedkrso").stat().st_mode & 0o777 == 0o700


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_DATABASE_URL", "postgresql+psycopg://db/fedkrso")
    monkeypatch.setenv("FEDKRSO_QUORUM", "0.75")
    assert Settings().database == "postgresql+psycopg://db/fedkrso"
    assert Settings().quorum == 0.75


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QUORUM", "0"),
        ("QUORUM", "1.5"),
        ("LEASE_S", "-1"),
        ("MAX_ATTEMPTS", "0"),
        ("UPLOAD_LIMIT_BYTES", "many"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"FEDKRSO_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_every_setting_is_described() -> None:
    undescribed = [name for name, f in Settings.model_fields.items() if not f.description]
    assert undescribed == ["home"] or undescribed == []


def test_blobs_may_lie_in_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDKRSO_BLOB_URL", f"file://{tmp_path}/large%20disk")
    assert Settings().blob_folder == tmp_path / "large disk"


def test_parts_of_blobs_in_s3_lie_in_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FEDKRSO_BLOB_URL", "s3://bucket/some/prefix")
    assert Settings().blob_folder == tmp_path / "home" / "blobs"


@pytest.mark.parametrize(
    "url",
    ["/folder", "file://host/folder", "file:///", "s3://", "s3://key:secret@bucket", "gs://b"],
)
def test_an_address_that_no_store_has_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FEDKRSO_BLOB_URL", url)
    with pytest.raises(ValidationError, match="file:///FOLDER"):
        Settings()

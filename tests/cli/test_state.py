from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cli.errors import CliError
from cli.state import DEFAULT_SERVER, AlreadyServed, Home, Server, default_server


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "deep" / "home")
    made.prepare()
    return made


def test_the_folder_is_the_one_the_environment_names(tmp_path: Path) -> None:
    assert Home.of({"FEDKRSO_HOME": str(tmp_path)}).path == tmp_path
    assert Home.of({}).path == Path("~/.fedkrso").expanduser()


def test_only_the_owner_can_read_the_folder_and_the_keys(home: Home) -> None:
    assert mode(home.path) == 0o700
    assert mode(home.logs) == 0o700
    assert mode(home.path / "api_key") == 0o600
    assert mode(home.path / "worker_key") == 0o600


def test_the_keys_are_long_differ_and_stay(home: Home) -> None:
    keys = home.secret("api_key"), home.secret("worker_key")
    assert all(key.startswith("fk_") and len(key) > 40 for key in keys)
    assert keys[0] != keys[1]
    home.prepare()
    assert keys == (home.secret("api_key"), home.secret("worker_key"))


def test_an_empty_key_file_is_refused_with_its_path(home: Home) -> None:
    (home.path / "api_key").write_text("")
    with pytest.raises(CliError, match="api_key: no key in it"):
        home.secret("api_key")


def test_a_folder_that_is_not_there_has_no_key_and_the_usual_server(tmp_path: Path) -> None:
    home = Home(tmp_path / "none")
    assert home.key("api_key") is None
    assert default_server(home) == DEFAULT_SERVER


def test_the_running_service_is_found_until_it_stops(home: Home) -> None:
    server = Server("http://127.0.0.1:8123", None, 42)
    home.write_server(server)
    assert home.server() == server
    assert default_server(home) == "http://127.0.0.1:8123"
    home.remove_server()
    assert home.server() is None


def test_a_broken_server_file_counts_as_none(home: Home) -> None:
    (home.path / "server.json").write_text('{"url": 1')
    assert home.server() is None


def test_a_second_supervisor_is_told_who_serves(home: Home) -> None:
    with home.lock():
        home.write_server(Server("http://127.0.0.1:8123", None, 42))
        with pytest.raises(AlreadyServed, match="already served at http"):
            home.lock().__enter__()
    with home.lock():
        pass

"""The deployment files agree with the code; they are not run, for that takes a Docker engine."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
OURS = ("api", "coordinator", "worker", "worker-gpu", "dashboard", "migrate")
ONCE = ("volumes", "bucket", "migrate")  # they end, so that they have no health
ALL_PROFILES = [f"--profile={name}" for name in ("cpu", "gpu", "tls", "observe")]
# set by the images or read by libraries, described where they are from
OF_OTHERS = re.compile(
    r"(AWS|OTEL|POSTGRES|MINIO|MC|GF)_|(OMP_NUM_THREADS|TOKENIZERS_PARALLELISM)$"
)


def compose_command() -> list[str]:
    """Docker's plugin, or the program that was before it; skips where there is neither."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = subprocess.run([*command, "version"], capture_output=True, check=False)
            if asked.returncode == 0:
                return command
    if os.environ.get("FEDKRSO_REQUIRE_SERVICES") == "1":
        pytest.fail("neither `docker compose` nor `docker-compose` is there")
    pytest.skip("neither `docker compose` nor `docker-compose` is there")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets") / "made"
    subprocess.run([DOCKER / "make-secrets.sh", folder], check=True)
    return folder


@pytest.mark.services
def test_compose_accepts_the_file(secrets: Path) -> None:
    command = [*compose_command(), "-f", str(DOCKER / "compose.yml"), *ALL_PROFILES, "config"]
    environ = os.environ | {"FEDKRSO_SECRETS": str(secrets)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(SERVICES)
    for name in secrets.iterdir():
        if len(secret := name.read_text()) > 16:
            assert secret not in done.stdout, name.name


def test_secrets_are_made_once_and_fit_together(secrets: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run([DOCKER / "make-secrets.sh", secrets], check=True)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    assert set(before) == set(COMPOSE["secrets"])
    assert before["POSTGRES_PASSWORD"] in before["FEDKRSO_DATABASE_URL"]
    assert before["REDIS_PASSWORD"] in before["FEDKRSO_BROKER_URL"]
    assert re.fullmatch("fk_user_[0-9a-f]{64}", before["FEDKRSO_BOOTSTRAP_API_KEY"])
    assert len(set(before.values())) == len(before)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700


def test_the_entrypoint_turns_secret_files_into_variables(tmp_path: Path) -> None:
    (tmp_path / "FEDKRSO_API_KEY").write_text("a key with 'quotes' and $signs")
    (tmp_path / "lowercase").write_text("not this")
    script = [str(DOCKER / "entrypoint.sh"), "sh", "-c", 'printf %s "$FEDKRSO_API_KEY"; exit 7']
    environ = {"PATH": os.environ["PATH"], "SECRETS_FOLDER": str(tmp_path)}
    done = subprocess.run(script, env=environ, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("a key with 'quotes' and $signs", 7)
    environ["SECRETS_FOLDER"] = str(tmp_path / "none")
    assert subprocess.run([script[0], "true"], env=environ, check=False).returncode == 0


def test_every_secret_is_declared_and_every_source_is_there() -> None:
    used = {s if isinstance(s, str) else s["source"]
            for service in SERVICES.values() for s in service.get("secrets", [])}  # fmt: skip
    assert used == set(COMPOSE["secrets"])
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DOCKER / source).exists(), (name, source)
            elif not source.startswith("$"):
                assert source in COMPOSE["volumes"], (name, source)


def test_no_secret_stands_in_the_files() -> None:
    text = (DOCKER / "compose.yml").read_text() + DOCKERFILE
    assert not re.search(r"(?i)(password|secret_access_key|api_key)\s*[:=]\s*[\w\"']{4,}", text)
    for service in SERVICES.values():
        for name, value in (service.get("environment") or {}).items():
            secret = re.search(r"KEY|PASSWORD|SECRET|TOKEN\b|DATABASE_URL|BROKER_URL", name)
            assert not secret or str(value).startswith("/run/secrets/"), name


def test_every_variable_is_a_documented_setting() -> None:
    documented = (ROOT / "docs/settings.md").read_text() + (ROOT / "docs/deploy.md").read_text()
    given = {name for service in SERVICES.values() for name in service.get("environment") or {}}
    given |= set(COMPOSE["secrets"]) | set(re.findall(r"\b([A-Z_]+)=", DOCKERFILE))
    given |= set(re.findall(r"\$\{([A-Z_]+)", (DOCKER / "compose.yml").read_text()))
    ours = {name for name in given if name.startswith("FEDKRSO_")}
    assert {n for n in ours if not re.search(rf"\b{n}\b", documented)} == set()
    known = re.compile(r"(FEDKRSO|PIP|PYTHON|TORCH|REDIS|GRAFANA)_?|PATH$|HOME$|CMD$")
    assert {n for n in given - ours if not OF_OTHERS.match(n) and not known.match(n)} == set()


def test_nothing_runs_as_root_or_with_rights_it_does_not_need() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        if name not in (*OURS, "volumes"):
            assert re.fullmatch(r"[1-9]\d*:\d+", service["user"]), name
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "network_mode" in SERVICES["volumes"]  # the one that is root touches volumes only


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^ARG PYTHON_IMAGE=(.+)$", DOCKERFILE, re.MULTILINE)
    for image in images:
        tag = image.rpartition(":")[2]
        assert re.search(r"\d+\.\d+|RELEASE\.\d{4}-\d{2}-\d{2}", tag), image


def test_everything_that_stays_has_a_health_check() -> None:
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) == (name not in ONCE), name
        assert (service.get("restart") == "unless-stopped") == (name not in ONCE), name


def test_routes_ports_and_programs_of_health_checks_exist() -> None:
    from api.coordinator.ticker import ALIVE_FILE
    from api.main import app

    checks = {name: " ".join(s["healthcheck"]["test"]) for name, s in SERVICES.items()
              if "healthcheck" in s}  # fmt: skip
    assert "http://127.0.0.1:8000/readyz" in checks["api"]
    assert "/readyz" in app.openapi()["paths"]
    assert f"/var/lib/fedkrso/{ALIVE_FILE}" in checks["coordinator"]
    for name in ("worker", "worker-gpu"):
        assert '-d "worker@$$(hostname)"' in checks[name]
        assert "worker@%h" in SERVICES[name]["command"]
        assert "--without-heartbeat" not in SERVICES[name]["command"]
    assert "--port=8501" not in checks["dashboard"]
    assert "127.0.0.1:8501/_stcore/health" in checks["dashboard"]
    assert '"--server.port=8501"' in DOCKERFILE
    assert '"--port", "8000"' in DOCKERFILE


def test_migrations_run_once_before_api_and_coordinator() -> None:
    for name in ("api", "coordinator"):
        assert SERVICES[name]["depends_on"]["migrate"] == {
            "condition": "service_completed_successfully"
        }
    assert SERVICES["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}


def test_workers_cannot_reach_the_database() -> None:
    in_store = {name for name, s in SERVICES.items() if "store" in s.get("networks", [])}
    assert in_store == {"postgres", "migrate", "api", "coordinator"}
    for name in ("worker", "worker-gpu", "dashboard"):
        assert not [s for s in SERVICES[name]["secrets"] if "DATABASE" in str(s)]


def test_what_the_dockerfile_copies_is_there_and_in_the_build_context() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source.rstrip("/") for line in copied for source in line.split()}
    assert {s for s in sources if not (ROOT / s).exists()} == set()
    assert sources <= allowed
    packages = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert packages is not None
    assert set(re.findall(r'"(\w+)"', packages[1])) <= sources


def test_targets_and_stages_of_the_dockerfile_exist() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    wanted = {s["build"]["target"] for s in SERVICES.values() if "build" in s}
    used = set(re.findall(r"^FROM ([a-z-]+) AS", DOCKERFILE, re.MULTILINE))
    used |= set(re.findall(r"--from=(\S+)", DOCKERFILE))
    assert wanted | used <= stages
    dashboard = DOCKERFILE[
        DOCKERFILE.index("AS build-dashboard") : DOCKERFILE.index("AS build-cpu")
    ]
    assert "torch" not in dashboard

"""The agent's decisions against a fake service: joins, refusals, pauses, failures and its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedkrso_core.spec import parse
from worker.agent import Agent
from worker.api import LeaseLost, Refused
from worker.ledger import Ledger
from worker.own_rows import OwnRows
from worker.own_site import OwnSite
from worker.policy import Policy
from worker.stop import Stop

Json = dict[str, Any]
LABELS = ["cold", "warm"]


class Service:
    """Offers jobs, gives work, and notes what it is told; `failures` come first."""

    def __init__(self) -> None:
        self.offers: list[Json] = []
        self.work: list[Json] = []
        self.failures: list[Exception] = []
        self.told: list[tuple[str, Any]] = []
        self.given_back: list[str] = []
        self.moved = 0
        self.when_idle: Callable[[], None] = lambda: None

    def ask(self, _method: str, path: str, body: Any = None) -> Any:
        if self.failures:
            raise self.failures.pop(0)
        if path == "/jobs":
            return {"items": self.offers}
        self.told.append((path, body))
        return {"client": 3}

    def claim(self, _name: str, _wait_s: float) -> Json | None:
        if self.work:
            return self.work.pop(0)
        self.when_idle()
        return None

    def give_back(self, _assignment: Json, reason: str) -> None:
        self.given_back.append(reason)
        raise LeaseLost("it is gone already")


class Process:
    """Notes what it is given to work on; each piece of work moves bytes."""

    def __init__(self, service: Service) -> None:
        self.name, self.stop = "hospital-a", Stop()
        self.stop.sleep = lambda _s: None  # type: ignore[method-assign]
        self.done: list[Json] = []
        self._service = service

    def work_on(self, assignment: Json) -> None:
        self.done.append(assignment)
        self._service.moved += 1000


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def process(service: Service) -> Process:
    return Process(service)


@pytest.fixture
def agent(service: Service, process: Process, tmp_path: Path) -> Callable[..., Agent]:
    rows = [{"note": "a", "code": LABELS[n % 2]} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(policy: Policy | None = None, memory: int = 0) -> Agent:
        allowed = policy or Policy()
        own = OwnRows(tmp_path / "rows.jsonl", "note", "code")
        site = OwnSite(own, allowed, service, lambda *_: None)  # type: ignore[arg-type]
        ledger = Ledger(tmp_path / "moved.json")
        made = Agent(service, process, site, allowed, ledger, dict, lambda *_: memory)  # type: ignore[arg-type]
        service.when_idle = made.end
        return made

    return make


def offer(job: str = "j1", labels: list[str] = LABELS, **spec: Any) -> Json:
    file = parse({"name": "a", "clients": {"external": {"min": 2}}, **spec})
    return {"job": job, "name": "a", "labels": labels, "spec": file.model_dump(mode="json")}


def test_it_joins_with_the_rows_that_it_trains_on(service: Service, agent: Any) -> None:
    service.offers = [offer()]
    agent().run()
    assert ("/jobs/j1/join", {"num_examples": 18}) in service.told


def test_it_says_hello_first(service: Service, agent: Any) -> None:
    agent().run()
    assert service.told == [("", {"status": None})]


@pytest.mark.parametrize(
    ("policy", "given", "reason"),
    [
        (Policy(methods=["fedavg"]), {}, "method 'fedkrso'; allowed here: fedavg"),
        (Policy(max_memory=10**9), {}, "a training takes 2.0 GB of memory; allowed here: 1.0 GB"),
        (Policy(), {"labels": ["cold", "hot"]}, "10 of 20 rows have labels that the job does not"),
        (Policy(), {"data": {"text_pair": "b"}}, "its rows or its machine do not fit the job"),
    ],
)
def test_what_it_refuses_it_says_once_with_the_reason(
    service: Service, process: Process, agent: Any, policy: Policy, given: Json, reason: str
) -> None:
    service.offers = [offer(**given)]
    service.work = [{"id": "a1", "job": "j1"}]
    agent(policy, memory=2 * 10**9).run()
    ((_, _hello), (path, said)) = service.told
    assert path == "/jobs/j1/refuse"
    assert said["reason"].startswith(reason)
    # and it does not work for a job that it does not take part in
    assert process.done == []
    assert service.given_back == ["this client does not take part in the job"]


def test_a_job_of_a_newer_service_is_refused_not_guessed(service: Service, agent: Any) -> None:
    newer = offer()
    newer["spec"]["quantum"] = True
    service.offers = [newer]
    agent().run()
    assert "does not know: quantum" in service.told[-1][1]["reason"]


def test_it_works_for_jobs_that_it_joined_and_counts_the_bytes(
    service: Service, process: Process, agent: Any, tmp_path: Path
) -> None:
    service.offers = [offer()]
    service.work = [{"id": "a1", "job": "j1"}, {"id": "a2", "job": "j1"}]
    agent().run()
    assert [one["id"] for one in process.done] == ["a1", "a2"]
    assert Ledger(tmp_path / "moved.json").today() == 2000


def test_it_comes_back_after_whatever_passes(service: Service, agent: Any) -> None:
    request = httpx.Request("GET", "http://x")
    away = httpx.HTTPStatusError("away", request=request, response=httpx.Response(503))
    refused = Refused("quarantined", 403)
    service.failures = [httpx.ConnectError("no route"), away, refused]
    service.offers = [offer()]
    agent().run()
    assert service.told[-1][0] == "/jobs/j1/join"


def test_a_key_that_is_void_ends_it(service: Service, agent: Any) -> None:
    service.failures = [Refused("the API key is unknown or revoked", 401)]
    with pytest.raises(Refused, match="revoked"):
        agent().run()


def test_while_its_owner_lets_it_rest_it_says_why_and_takes_nothing(
    service: Service, process: Process, agent: Any, tmp_path: Path
) -> None:
    Ledger(tmp_path / "moved.json").add(5000)
    made = agent(Policy(bytes_per_day=4000))
    process.stop.sleep = lambda _s: made.end()  # type: ignore[method-assign]
    service.work = [{"id": "a1", "job": "j1"}]
    made.run()
    assert service.told[-1][1]["status"].endswith("moved today; allowed here: 4.0 kB a day")
    assert process.done == []


def test_work_that_comes_when_it_is_told_to_end_is_handed_back(
    service: Service, process: Process, agent: Any
) -> None:
    service.offers = [offer()]
    made = agent()

    def claim(*_: Any) -> Json:
        process.stop.set()  # the signal came between the answer and the next line
        return {"id": "a1", "job": "j1"}

    service.claim = claim  # type: ignore[method-assign]
    made.run()
    assert (process.done, service.given_back) == ([], ["the client is stopping"])

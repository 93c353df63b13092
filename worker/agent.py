"""An external client: it asks for jobs and work, and needs no open port.

It comes back after any failure, with pauses that grow at random. What its owner's policy refuses
the service is told, with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import httpx
from pydantic import ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from fedkrso_core.errors import CoreError
from fedkrso_core.spec import JobSpec
from fedkrso_core.workload import Shares
from worker.api import Api, LeaseLost, Refused, passing
from worker.client import ClientProcess
from worker.ledger import Ledger
from worker.own_rows import UnknownLabels
from worker.own_site import OwnSite
from worker.policy import Policy
from worker.stop import Stop

_log = logging.getLogger("worker.agent")
WAIT_S = 20.0  # a claim waits this long for work
_LOOK_AGAIN_S = 30.0  # while the policy pauses
_LONGEST_PAUSE_S = 60.0

Forecast = Callable[[dict[str, Any], Shares], int]


class Ended(Exception):
    """The process was asked to end while it waited for work."""


class Agent:
    """Joins the jobs that its policy allows and works for them until it is stopped.

    `about` says what the client is and runs on; `forecast` gives the bytes that a training of a
    job with these rows will take, and is asked only if the policy limits them.
    """

    def __init__(
        self,
        api: Api,
        process: ClientProcess,
        site: OwnSite,
        policy: Policy,
        ledger: Ledger,
        about: Callable[[], dict[str, Any]],
        forecast: Forecast,
    ) -> None:
        self._api, self._process, self._site = api, process, site
        self._policy, self._ledger = policy, ledger
        self._about, self._forecast = about, forecast
        self._stop: Stop = process.stop
        self._joined: dict[str, bool] = {}  # by job: False if it was refused
        self._status: str | None = None
        self._waiting = False

    def end(self, *_: Any) -> None:
        """A signal handler: hands back what is at work; a wait for work ends at once."""
        self._stop.set()
        if self._waiting:
            raise Ended

    def run(self) -> None:
        """Works until `end` was called; Refused if the service does not know the key any more."""
        try:
            self._patiently(self._say_hello)
            while not self._stop.is_set():
                self._patiently(self.step)
        except Ended:
            pass
        except httpx.HTTPError:
            if not self._stop.is_set():
                raise

    def _patiently(self, work: Callable[[], None]) -> None:
        for attempt in Retrying(
            retry=retry_if_exception(_worth_another_try),
            wait=wait_random_exponential(multiplier=0.5, max=_LONGEST_PAUSE_S),
            stop=lambda _: self._stop.is_set(),
            sleep=self._stop.sleep,
            before_sleep=_say_why,
            reraise=True,
        ):
            with attempt:
                work()

    def _say_hello(self) -> None:
        self._api.ask("PUT", "", self._about() | {"status": self._status})

    def step(self) -> None:
        """Decides about new jobs, then works on one assignment if there is one."""
        for offer in self._api.ask("GET", "/jobs")["items"]:
            if offer["job"] not in self._joined:
                self._decide(offer)
        self._say_status(self._policy.pauses(datetime.now(), self._ledger.today()))
        if self._status is not None:
            self._stop.sleep(_LOOK_AGAIN_S)
            return
        assignment = self._claim()
        if assignment is not None:
            self._work_on(assignment)

    def _claim(self) -> dict[str, Any] | None:
        self._waiting = True
        try:
            if self._stop.is_set():
                return None
            return self._api.claim(self._process.name, WAIT_S)
        finally:
            self._waiting = False

    def _work_on(self, assignment: dict[str, Any]) -> None:
        if not self._joined.get(assignment["job"], False):
            self._give_back(assignment, "this client does not take part in the job")
            return
        if self._stop.is_set():
            self._give_back(assignment, "the client is stopping")
            return
        before = self._api.moved
        try:
            self._process.work_on(assignment)
        finally:
            self._ledger.add(self._api.moved - before)
        if assignment["job"] in self._site.left:
            self._joined[assignment["job"]] = False

    def _give_back(self, assignment: dict[str, Any], reason: str) -> None:
        with suppress(LeaseLost):
            self._api.give_back(assignment, reason)

    def _say_status(self, status: str | None) -> None:
        if status != self._status:
            self._status = status
            _log.info("%s", f"takes no work: {status}" if status else "takes work")
            self._say_hello()

    def _decide(self, offer: dict[str, Any]) -> None:
        job, name = offer["job"], offer["name"]
        found = self._examine(offer)
        if isinstance(found, str):
            self._api.ask("POST", f"/jobs/{job}/refuse", {"reason": found[:500]})
            _log.info("does not take part in job %s (%s): %s", job, name, found)
        else:
            told = self._join(job, found)
            if told is None:
                return  # no place is left, or the job has ended
            _log.info("takes part in job %s (%s) as client %d", job, name, told["client"])
        self._joined[job] = not isinstance(found, str)

    def _join(self, job: str, num_examples: int) -> dict[str, Any] | None:
        try:
            body = {"num_examples": num_examples}
            return dict(self._api.ask("POST", f"/jobs/{job}/join", body))
        except LeaseLost as error:  # what this protocol's 409 is to a client
            _log.info("job %s: %s", job, error)
            return None

    def _examine(self, offer: dict[str, Any]) -> int | str:
        """The rows to train on, or why not. What the rows hold is for this machine's log alone."""
        try:
            if (reason := self._policy.refuses(JobSpec.model_validate(offer["spec"]))) is not None:
                return reason
            shares = self._site.shares(offer["spec"], offer["labels"])
            if self._policy.max_memory is not None:
                peak = self._forecast(self._site.spec(offer["spec"]).model_dump(), shares)
                if (reason := self._policy.refuses_memory(peak)) is not None:
                    return reason
            return len(shares.train)
        except ValidationError as error:
            field = ".".join(map(str, error.errors()[0]["loc"]))
            return f"the job file has something that this version does not know: {field}"
        except UnknownLabels as error:
            _log.error("job %s: %s", offer["job"], error)
            return error.summary
        except CoreError as error:
            _log.error("job %s: %s", offer["job"], error)
            return "its rows or its machine do not fit the job; its own log says why"


def _worth_another_try(error: BaseException) -> bool:
    """Also a quarantine: an operator may end it."""
    return passing(error) or (isinstance(error, Refused) and error.status == 403)


def _say_why(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause_s = state.next_action.sleep if state.next_action else 0.0
    _log.warning("tries again in %.0f s: %s", pause_s, str(error).partition("\n")[0])

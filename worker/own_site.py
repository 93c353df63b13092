"""An external client's side of a job: its rows, its models, its hold-out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import torch

from fedkrso_core.errors import CoreError, WrongModel
from fedkrso_core.global_model import StateRef
from fedkrso_core.spec import JobSpec
from fedkrso_core.workload import Shares, Workload
from worker.api import Api, LeaseLost, Refused, Useless
from worker.client import Site
from worker.own_rows import OwnRows
from worker.policy import Policy

_log = logging.getLogger("worker.agent")
Tell = Callable[[dict[str, Any], int], None]


class OwnSite(Site):
    """Trains on rows of this machine; `tell` gets the assignment and each step that is done."""

    def __init__(self, rows: OwnRows, policy: Policy, api: Api, tell: Tell) -> None:
        self._rows, self._policy, self._api, self._tell = rows, policy, api, tell
        self._assignment: dict[str, Any] = {}
        self.left: set[str] = set()  # jobs

    def spec(self, given: dict[str, Any]) -> JobSpec:
        """The job file with this client's own copy of the model."""
        spec = JobSpec.model_validate(given)
        return spec.model_copy(update={"model": self._policy.model_for(spec.model)})

    def shares(self, given: dict[str, Any], labels: list[str], client: int = 0) -> Shares:
        """This client's rows as a job wants them."""
        return self._rows.shares(self.spec(given), labels, client)

    def fetch_rows(self, assignment: dict[str, Any], api: Api, useless: Useless) -> None:
        """Nothing: the rows are here."""

    def workload(self, assignment: dict[str, Any], folder: Path, device: torch.device) -> Workload:
        """The job's model and method, and rows of this machine."""
        shares = self.shares(assignment["spec"], assignment["labels"], assignment["client"])
        if len(shares.train) != assignment["num_examples"]:
            told, there = assignment["num_examples"], len(shares.train)
            raise CoreError(f"there are {there} rows by now, the service was told {told}")
        made = Workload(self.spec(assignment["spec"]), folder, device, shares)
        made.require_base(assignment.get("base_sha256"), assignment["spec"]["model"])
        return made

    def leaves(self, assignment: dict[str, Any], error: Exception) -> bool:
        """Leaves a job whose base model is not the one that is here, and says so."""
        if not isinstance(error, WrongModel):
            return False
        job = assignment["job"]
        _log.error("leaves job %s: %s", job, error)
        try:
            self._api.ask("POST", f"/jobs/{job}/refuse", {"reason": str(error)})
        except (httpx.HTTPError, Refused, LeaseLost) as failure:
            _log.warning("the service was not told: %s", failure)
            return False
        self.left.add(job)
        return True

    def before_training(
        self, assignment: dict[str, Any], workload: Workload, chain: list[StateRef]
    ) -> None:
        """Reports what the round's model is worth on the hold-out; a failure costs the report."""
        self._assignment = assignment
        self._tell(assignment, 0)
        count = len(workload.shares.validation)
        if not count:
            return
        workload.global_model.materialize(chain)
        metrics = workload.evaluate()
        try:
            self._api.report_holdout(assignment, count, metrics)
        except (httpx.HTTPError, Refused) as error:
            _log.warning("the hold-out's metrics were not reported: %s", error)

    def on_step(self, step: int) -> None:
        """Passes the step on."""
        self._tell(self._assignment, step)

"""The norm of an update is that of its change: a client that learnt nothing changed nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedkrso_core.expect import check_upload
from fedkrso_core.method import pack
from fedkrso_core.methods import METHODS
from fedkrso_core.payload import encode

IDLE = {"steps": 1, "lr": 1e-30, "optimizer": "sgd"}
# factors that begin anew in each round, and values of methods that cannot rebase an update
AS_SENT = {
    *("flora", "flexlora"),
    *("rolora", "fedex_lora", "slora", "fedtt_plus", "fedcybgd", "fedpeptao", "fedbpt"),
}


def reference_of(fed: Any, folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    path = folder / "reference"
    path.write_bytes(encode(fed.work.reference(fed.states[-1])))
    return load_file(path)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - AS_SENT))
def test_a_client_that_learns_nothing_changes_nothing(
    name: str, federation: Callable[..., Any], tmp_path: Path
) -> None:
    fed = federation(method={"name": name}, local={"steps": 2})
    fed.play(1)
    idle = federation(method={"name": name}, local=IDLE)
    for round_ in (1, 2):
        if round_ == 2:
            idle.go_on_from(fed)
        path = tmp_path / "upload"
        path.write_bytes(pack(idle.train(1)))
        expected = idle.method.expect(idle.config, idle.model, idle.states[-1])
        check_upload(path, expected, max_norm=1e-2, reference=reference_of(idle, tmp_path))

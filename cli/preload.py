"""The libraries that the service's processes are forked with; imported by the fork server alone."""

from __future__ import annotations

import gc
import signal
from importlib import import_module

from cli import tether

_LIBRARIES = (
    "celery.bin.celery",
    "celery.worker.worker",
    "fastapi",
    "fedkrso_core.check",
    "fedkrso_core.workload",
    "httpx",
    "sqlalchemy.orm",
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "uvicorn.main",
)

# its forks would keep it alive, and themselves with it: they hold the pipe that it watches
tether.end_with_parent(signal.SIGKILL)
for _name in _LIBRARIES:
    import_module(_name)
# a collection would write into every object, and each process would get pages of its own
gc.collect()
gc.freeze()

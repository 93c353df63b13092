"""What the methods of prompts are asked alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedkrso_core.attached import attachment_of


def output_of(fed: Any, state: Any) -> Tensor:
    """What the attachment of the model with this as its next state puts in (v, width)."""
    fed.weights_after(state)
    found = attachment_of(fed.model)
    assert found is not None
    with torch.no_grad():
        return found.source().clone()  # type: ignore[operator, no-any-return]


def mean_and_own(fed: Any) -> tuple[Tensor, Tensor]:
    """What a round puts in, and the mean of what its clients alone would."""
    updates = {client: fed.train(client) for client in range(3)}
    own = [output_of(fed, fed.aggregate({c: u})) for c, u in updates.items()]
    mean = sum(n * p for n, p in zip(fed.sizes, own, strict=True)) / sum(fed.sizes)
    return output_of(fed, fed.aggregate(updates)), mean


@torch.no_grad()
def logits_of(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    return model.eval()(input_ids=ids, attention_mask=mask).logits  # type: ignore[no-any-return]


def loaded(out: Path, auto: Any) -> Any:
    """The model of an output folder, as peft and transformers alone make it."""
    from peft import PeftModel

    return PeftModel.from_pretrained(auto.from_pretrained(out / "base"), out / "adapter").eval()


Make = Callable[..., Any]

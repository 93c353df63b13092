"""Prefix tuning (arXiv 2101.00190): keys and values before those of a text, averaged."""

from typing import Any

import pytest
import torch

from fedkrso_core.errors import MethodError
from fedkrso_core.ops.prefix import check_prefix
from tests.core.methods.prompts import Make, mean_and_own


def prefixed(federation: Make, **local: Any) -> Any:
    return federation(method={"name": "prefix_tuning", "tokens": 5}, local={"lr": 0.1, **local})


def test_the_mean_of_the_prefixes_is_the_prefix_of_the_model(federation: Make) -> None:
    together, mean = mean_and_own(prefixed(federation))
    assert together.shape == (5, 2 * 2 * 32)  # layers, key and value
    assert torch.allclose(together, mean, atol=1e-6)


def test_a_layer_attends_to_the_prefix_as_to_any_token(federation: Make) -> None:
    """softmax(q [K_p; K]^T / sqrt(s)) [V_p; V] in the first layer, by hand."""
    fed = prefixed(federation)
    fed.play(1)
    fed.global_weights()
    prefix = fed.states[-1].tensors["prompt/embedding.weight"].view(5, 2, 2, 2, 16)
    first = fed.model.bert.encoder.layer[0].attention.self
    seen: dict[str, torch.Tensor] = {}
    first.register_forward_hook(lambda _m, _a, out: seen.update(out=out[0]))
    for part in ("query", "key", "value"):
        getattr(first, part).register_forward_hook(
            lambda _m, _a, out, part=part: seen.update({part: out})
        )
    with torch.no_grad():
        ids = torch.tensor([[2, 7, 9, 3]])
        fed.model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
    q, k, v = (seen[n].view(4, 2, 16).transpose(0, 1) for n in ("query", "key", "value"))
    k = torch.cat([prefix[:, 0, 0].transpose(0, 1), k], 1)
    v = torch.cat([prefix[:, 0, 1].transpose(0, 1), v], 1)
    by_hand = torch.softmax(q @ k.transpose(1, 2) / 4, -1) @ v
    assert torch.allclose(seen["out"][0], by_hand.transpose(0, 1).reshape(4, 32), atol=1e-5)


def test_a_model_that_takes_no_keys_is_refused() -> None:
    import transformers

    config = transformers.DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2)
    with torch.device("meta"):
        model = transformers.DistilBertForSequenceClassification(config)
    with pytest.raises(MethodError, match=r"a distilbert takes no keys .* use prompt_tuning"):
        check_prefix(model)

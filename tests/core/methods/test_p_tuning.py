"""P-tuning (arXiv 2103.10385): the network that makes a soft prompt is averaged."""

import torch

from tests.core.methods.prompts import Make, mean_and_own, output_of


def p_tuned(federation: Make) -> object:
    method = {"name": "p_tuning", "tokens": 5, "hidden": 8}
    return federation(method=method, local={"lr": 1e-3})


def test_the_mean_of_networks_does_not_make_the_mean_of_prompts(federation: Make) -> None:
    together, mean = mean_and_own(p_tuned(federation))
    assert together.shape == (5, 32)
    assert not torch.allclose(together, mean, atol=1e-6)
    assert torch.allclose(together, mean, atol=0.1)


def test_the_model_has_the_output_of_the_network(federation: Make) -> None:
    fed = p_tuned(federation)
    fed.play(1)
    own = fed.states[-1].under("prompt/")
    hidden = own["embedding.weight"]
    for layer in (0, 2, 4):
        hidden = hidden @ own[f"mlp_head.{layer}.weight"].T + own[f"mlp_head.{layer}.bias"]
        hidden = hidden.relu() if layer < 4 else hidden
    found = output_of(fed, fed.states.pop())
    assert torch.allclose(found, hidden, atol=1e-5)

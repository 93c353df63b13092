"""The forecast of memory is the tracked peak of real training, for every method and option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from fedkrso_core.errors import MethodError, ModelError
from fedkrso_core.estimate.batch import Batch
from fedkrso_core.estimate.rehearsal import Rehearser
from fedkrso_core.estimate.tracker import LiveTensors
from fedkrso_core.forecast import Footprint, Forecasts
from fedkrso_core.lean import lean_model
from fedkrso_core.method import Client
from fedkrso_core.methods import METHODS
from fedkrso_core.models import config_of, from_config
from fedkrso_core.spec import EXACT_MEMORY, LocalSpec

LABELS = ("a", "b", "c")
BATCH = Batch(4, 12, ("input_ids", "token_type_ids", "attention_mask"))
ONE_ROUND = {"rounds": 1, "clients": {"per_round": 1}}


def tracked(config: Any, method: str, local: LocalSpec, batch: Batch = BATCH) -> LiveTensors:
    """Two real steps."""
    chosen, real = METHODS[method], from_config(config)
    batches = [batch.make() for _ in range(local.steps)]
    who = Client(0, 1, 0, local, 4, lambda: iter(batches))
    state = chosen.init(chosen.Config(), real, 0)
    with lean_model(real, local), LiveTensors() as live:
        live.count(real)
        live.count([tensor for batch in batches for tensor in batch.values()], "activations")
        chosen.train(chosen.Config(), real, state, who)
    return live


def rehearsed(config: Any, method: str, local: LocalSpec, batch: Batch = BATCH) -> int:
    rehearser = Rehearser(lambda: from_config(config))
    return rehearser.play(METHODS[method], METHODS[method].Config(), local, batch).peak_bytes


def footprint(found: Forecasts) -> Footprint:
    memory = found.forecasts[0].memory
    assert memory is not None
    return memory


@pytest.mark.parametrize("memory", [(), EXACT_MEMORY, ("checkpointing",), ("gelu-8bit",)])
@pytest.mark.parametrize("method", METHODS)
def test_the_forecast_is_the_tracked_peak(
    dropout_model: Any, method: str, memory: tuple[Any, ...]
) -> None:
    config, local = config_of(str(dropout_model), LABELS), LocalSpec(steps=2, memory=memory)
    real = tracked(config, method, local).peak_bytes
    assert rehearsed(config, method, local) == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize("memory", [(), EXACT_MEMORY, (*EXACT_MEMORY, "checkpointing")])
@pytest.mark.parametrize("method", ["fedkrso", "fedavg", "fedkseed"])
def test_the_forecast_follows_a_batch_in_parts(
    dropout_model: Any, method: str, memory: tuple[Any, ...]
) -> None:
    config = config_of(str(dropout_model), LABELS)
    local, batch = LocalSpec(steps=2, micro_batch_size=3, memory=memory), Batch(8, 12)
    real = tracked(config, method, local, batch).peak_bytes
    assert rehearsed(config, method, local, batch) == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize("precision", ["medium", "bf16"])
def test_the_forecast_follows_the_arithmetic(dropout_model: Any, precision: Any) -> None:
    config = config_of(str(dropout_model), LABELS)
    local = LocalSpec(steps=2, precision=precision, optimizer="sgd")
    real = tracked(config, "fedkrso", local).peak_bytes
    assert rehearsed(config, "fedkrso", local) == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize("kind", ["GPT2", "DebertaV2", "ModernBert", "Qwen2", "Albert"])
def test_other_models_are_forecast(kind: str) -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {
        "vocab_size": 100,
        "intermediate_size": 48,
        "pad_token_id": 0,
        "num_key_value_heads": 2,
    }
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1)
    config = getattr(transformers, f"{kind}Config")(**small, **special)
    local, batch = LocalSpec(steps=2), Batch(4, 12)
    real = tracked(config, "fedkrso", local, batch).peak_bytes
    assert rehearsed(config, "fedkrso", local, batch) == pytest.approx(real, rel=0.02)


def test_a_model_that_looks_at_values_is_refused(tiny_model: Any) -> None:
    class Picky(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[x > 0]

    rehearser = Rehearser(lambda: from_config(config_of(str(tiny_model), LABELS)))
    rehearser.model.set_submodule("bert.pooler.activation", Picky())
    with pytest.raises(MethodError, match="depends on the values"):
        rehearser.play(METHODS["fedavg"], METHODS["fedavg"].Config(), LocalSpec(), BATCH)
    with pytest.raises(ModelError, match="cannot be forecast"):
        Rehearser(lambda: Picky()(torch.ones(3)))  # type: ignore[arg-type,return-value]


# one of each kind: every method is held to it on a tiny model above
@pytest.mark.slow
@pytest.mark.parametrize("method", ["fedkrso", "fedavg", "fedit", "fedtt"])
def test_the_forecast_is_the_tracked_peak_of_minilm(method: str) -> None:
    config, local, batch = config_of("minilm", LABELS), LocalSpec(steps=2), Batch(16, 32)
    real = tracked(config, method, local, batch).peak_bytes
    assert rehearsed(config, method, local, batch) == pytest.approx(real, rel=0.05)


@pytest.mark.parametrize("name", ["fedkrso", "fedavg", "fedit"])
def test_a_later_round_with_many_steps_is_forecast(
    forecast: Callable[..., Forecasts], federation: Callable[..., Any], name: str
) -> None:
    options = {"interval": 1, "seeds": 40} if name == "fedkrso" else {}
    changes: dict[str, Any] = {"local": {"steps": 12}, "method": {"name": name, **options}}
    fed = federation(**changes)
    fed.play(1)
    peaks = []
    for client in range(3):
        with LiveTensors() as live:
            live.count(fed.model)
            live.count(fed.states[-1].tensors.values())
            fed.train(client)
        peaks.append(live.peak_bytes)
    peak = footprint(forecast(**changes)).peak
    assert max(peaks) * 0.95 <= peak <= max(peaks) * 1.05


def test_the_parts_add_up(forecast: Callable[..., Forecasts]) -> None:
    for one in forecast(["all"]).forecasts:
        memory = one.memory
        assert memory is not None
        parts = (memory.weights, memory.gradients, memory.optimizer, memory.activations)
        assert sum(parts) == memory.peak
        assert memory.process == memory.peak + 400_000_000
        assert min(parts) >= 0
        assert min(memory.weights, memory.optimizer, memory.activations) > 0


def test_full_fine_tuning_has_two_moments_for_each_weight(
    forecast: Callable[..., Forecasts], tiny_model: Any
) -> None:
    changes = {"method": {"name": "fedavg"}, "local": {"batch_size": 1}, **ONE_ROUND}
    memory = footprint(forecast(**changes))
    model = from_config(config_of(str(tiny_model), LABELS))
    trained = sum(p.nbytes for p in model.parameters())
    states = 2 * trained + 4 * len(list(model.parameters()))  # and each one's number of steps
    assert memory.weights == trained + sum(b.nbytes for b in model.buffers())
    assert memory.optimizer == pytest.approx(states, abs=64)  # and the losses


def test_what_a_client_received_counts_while_it_trains(
    forecast: Callable[..., Forecasts],
) -> None:
    one, two = (
        footprint(forecast(**{**ONE_ROUND, "rounds": n}, method={"name": "fedavg"})) for n in (1, 2)
    )
    assert two.weights == pytest.approx(2 * one.weights, rel=0.01)
    assert two.peak - one.peak == two.weights - one.weights


def test_subspaces_that_were_left_are_kept(
    forecast: Callable[..., Forecasts],
) -> None:
    def kept(steps: int) -> int:
        method = {"name": "fedkrso", "interval": 1, "seeds": 1000}
        return footprint(forecast(method=method, local={"steps": steps}, **ONE_ROUND)).optimizer

    # B (d_out, 4) of four layers 32 wide, of one with 48 and one with 32, twice, and of the pooler
    accumulators = 4 * 4 * (2 * (4 * 32 + 48 + 32) + 32)
    assert (kept(8) - kept(4)) % accumulators == 0
    assert 0 < kept(8) - kept(4) <= 4 * accumulators


def test_nothing_is_left_behind(dropout_model: Any) -> None:
    rehearser = Rehearser(lambda: from_config(config_of(str(dropout_model), LABELS)))
    kinds = {name: type(module) for name, module in rehearser.model.named_modules()}
    for method in METHODS.values():
        rehearser.play(method, method.Config(), LocalSpec(), BATCH)
    assert {name: type(module) for name, module in rehearser.model.named_modules()} == kinds
    assert torch.get_float32_matmul_precision() == "highest"
    assert isinstance(torch.ones(2).sum().item(), float)  # values are back

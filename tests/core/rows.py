"""What the conformance tests must be told of each method: a new one has its row here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedkrso_core.ops.tensor_train import modes_of


@dataclass(frozen=True)
class Sizes:
    """What the bytes of an upload of the second round may depend on; counts of numbers."""

    config: Any
    shapes: Sequence[tuple[int, int]]  # (d_out, d_in) of the layers that can be adapted
    head: int
    everything: int
    used: int  # seeds
    parameters: Mapping[str, int]  # each one's numbers

    @property
    def rank(self) -> int:
        """r."""
        return int(self.config.rank)

    @property
    def d_out(self) -> int:
        """Summed over the layers."""
        return sum(d_out for d_out, _ in self.shapes)

    @property
    def d_in(self) -> int:
        """Summed over the layers."""
        return sum(d_in for _, d_in in self.shapes)


@dataclass(frozen=True)
class Row:
    """A method as the conformance tests know it."""

    lr: float  # local learning rate at which the tiny problem is learnt
    upload_bytes: Callable[[Sizes], int]  # of the tensors
    exact: bool  # the model changes by the mean of what the clients changed
    means: bool = True  # its state is the mean of the uploads, tensor by tensor
    ends_in_its_weights: bool = False  # its client, exactly as the server rebuilds them
    sends_values: bool = True  # its upload; otherwise a change, or coordinates of one
    moves_everything: bool = False  # so that there is nothing to freeze in bfloat16
    only_losses: bool = False  # are seen, no gradients: one number a step, so that it takes many
    steps: int = 10  # of a round, in which the tiny problem is learnt
    share: float = 0.75  # of its start that the loss is below after four rounds


def ferret_coordinates(of: Sizes) -> int:
    """M of Ferret: max(2, round(K sqrt(d_l / max d))) of each parameter."""
    counts = of.parameters.values()
    most = max(counts)
    return sum(max(2, round(of.config.seeds * (d / most) ** 0.5)) for d in counts)


def under(of: Sizes, prefix: str) -> int:
    """Numbers of the parameters whose names begin so."""
    return sum(count for name, count in of.parameters.items() if name.startswith(prefix))


def cores(of: Sizes, numbers: Iterable[int]) -> int:
    """Numbers in these cores of all layers, r = 5 and six cores for each: r_{j-1} n_j r_j."""
    ends = {1: 5, 6: 5}
    modes = [modes_of(d_out, 3) + modes_of(d_in, 3) for d_out, d_in in of.shapes]
    return sum(own[j - 1] * ends.get(j, 25) for own in modes for j in numbers)


ROWS = {
    "fedkrso": Row(
        1e-2,
        lambda of: 4 * of.rank * of.d_out * of.used + 4 * of.head,
        exact=True,
        ends_in_its_weights=True,
    ),
    "fedavg": Row(
        3e-3,
        lambda of: 4 * of.everything,
        exact=True,
        ends_in_its_weights=True,
        moves_everything=True,
    ),
    "fedit": Row(1e-2, lambda of: 4 * of.rank * (of.d_in + of.d_out) + 4 * of.head, exact=False),
    "ffa_lora": Row(1e-2, lambda of: 4 * of.rank * of.d_out + 4 * of.head, exact=True),
    "flora": Row(
        1e-2, lambda of: 4 * of.rank * (of.d_in + of.d_out) + 4 * of.head, exact=True, means=False
    ),
    "flexlora": Row(
        1e-2, lambda of: 4 * of.rank * (of.d_in + of.d_out) + 4 * of.head, exact=False, means=False
    ),
    "fedex_lora": Row(
        1e-2, lambda of: 4 * of.rank * (of.d_in + of.d_out) + 4 * of.head, exact=True, means=False
    ),
    "fed_sb": Row(1e-2, lambda of: 4 * of.rank**2 * len(of.shapes) + 4 * of.head, exact=True),
    "slora": Row(  # the second round is the second of the sparse ones
        1e-2,
        lambda of: 4 * sum(round(0.01 * d_out * d_in) for d_out, d_in in of.shapes) + 4 * of.head,
        exact=False,
        means=False,
    ),
    "fedtt": Row(1e-2, lambda of: 4 * cores(of, range(1, 7)) + 4 * of.head, exact=False),
    "fedtt_plus": Row(  # the second round trains the second core
        3e-2, lambda of: 4 * cores(of, [2]) + 4 * of.head, exact=True
    ),
    "fedsa_lora": Row(1e-2, lambda of: 4 * of.rank * of.d_in, exact=False),
    "rolora": Row(1e-2, lambda of: 4 * of.rank * of.d_in + 4 * of.head, exact=True),
    "gradualdiff": Row(
        3e-3,
        lambda of: 4 * of.everything,
        exact=True,
        ends_in_its_weights=True,
        sends_values=False,
        moves_everything=True,
    ),
    "fedkseed": Row(
        1e-3,
        lambda of: 4 * of.config.seeds,
        exact=True,
        ends_in_its_weights=True,
        moves_everything=True,
        only_losses=True,
        steps=40,
        share=0.96,
    ),
    "ferret": Row(
        3e-3,
        lambda of: 4 * ferret_coordinates(of),
        exact=True,
        sends_values=False,
        moves_everything=True,
    ),
    "fedcybgd": Row(
        3e-3,
        lambda of: 4 * under(of, "bert.encoder.layer.0.") + 4 * of.head,
        exact=True,
        ends_in_its_weights=True,
        moves_everything=True,
    ),
    # a state also has how far its thresholds moved, which no upload has
    "spafl": Row(
        1e-3,
        lambda of: 4 * of.d_out,
        exact=True,
        means=False,
        moves_everything=True,
    ),
    # 16 virtual tokens; the model is 32 wide and has 2 layers
    "prompt_tuning": Row(
        1e-1, lambda of: 4 * 16 * 32 + 4 * of.head, exact=True, steps=40, share=0.8
    ),
    "p_tuning": Row(
        1e-3,
        lambda of: 4 * (16 * 32 + 2 * 32 * 128 + 128 * 128 + 2 * 128 + 32) + 4 * of.head,
        exact=False,
        steps=40,
        share=0.88,
    ),
    "prefix_tuning": Row(1e-1, lambda of: 8 * 16 * 2 * 32 + 4 * of.head, exact=True, steps=40),
    "bottleneck": Row(  # two places in each of 2 layers, 16 wide
        1e-2, lambda of: 4 * 4 * (2 * 16 * 32 + 16 + 32) + 4 * of.head, exact=False
    ),
    "fedbpt": Row(  # lr is the step size that the search begins with
        1.0,
        lambda of: 4 * of.config.dimension + 8,
        exact=False,
        means=False,
        only_losses=True,
        steps=40,
        share=0.96,
    ),
    # prefixes of 16 tokens of one of the 2 layers, and their controls
    "fedpeptao": Row(
        1e-1,
        lambda of: 16 * 16 * 32 + 4 * of.head,
        exact=False,
        means=False,
        steps=40,
    ),
}

"""Soft prompts: trained embeddings before those of a text.

    E(x) (n, l, d)  ->  [P; E(x)] (n, v + l, d),  P (v, d)

The forward pass is told of v more tokens before each row, so that masks, positions, labels and the
place of a decoder's last token come out right in any architecture; their embeddings are replaced by
P. The logits of a language model lose their first v positions again, so that they belong to the
text's own tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fedkrso_core.attached import Attachment
from fedkrso_core.lean.cross_entropy import IGNORED
from fedkrso_core.ops.peft_folder import peft_loading, save_prompt
from fedkrso_core.seeds import generator

Kwargs = dict[str, Any]


class SoftPrompt(Attachment):
    """P before each text; `source()` gives it, (v, d)."""

    def __init__(self, source: nn.Module, positions: int) -> None:
        super().__init__()
        self.source, self.positions = source, positions
        self._waiting: Tensor | None = None
        self._began = False

    def hook(self, model: nn.Module) -> list[RemovableHandle]:
        """Before the model, after its embedding, after the model."""
        return [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            _embedding(model).register_forward_hook(self._embedded),
            model.register_forward_hook(self._after),
        ]

    def _before(self, model: Any, args: tuple[Any, ...], given: Kwargs) -> tuple[Any, Kwargs]:
        self._began = not _goes_on(given)
        more = dict(given)
        if given.get("position_ids") is not None:
            more["position_ids"] = given["position_ids"] + self.positions
        if self._began:
            self._lengthen(more, _filler(model))
            self._waiting = self.source()
        elif given.get("attention_mask") is not None:
            more["attention_mask"] = self._longer(given["attention_mask"], 1)
        return args, more

    def _lengthen(self, given: Kwargs, filler: int) -> None:
        """Every input with a value for each token gets v more at its beginning."""
        values = {"input_ids": filler, "attention_mask": 1, "token_type_ids": 0, "labels": IGNORED}
        for name, value in values.items():
            tensor = given.get(name)
            if tensor is not None and tensor.dim() == 2:  # labels of rows have one dimension
                given[name] = self._longer(tensor, value)
        if given.get("position_ids") is not None:
            places = given["position_ids"]
            own = torch.arange(self.positions, device=places.device)
            given["position_ids"] = torch.cat([own.expand(len(places), -1), places], 1)

    def _longer(self, tensor: Tensor, value: int) -> Tensor:
        return torch.cat([tensor.new_full((len(tensor), self.positions), value), tensor], 1)

    def _embedded(self, _module: nn.Module, _args: Any, out: Tensor) -> Tensor | None:
        if self._waiting is None:
            return None
        prompt, self._waiting = self._waiting.to(out.dtype), None
        return torch.cat([prompt.expand(len(out), -1, -1), out[:, self.positions :]], 1)

    def _after(self, _module: nn.Module, _args: Any, out: Any) -> None:
        if self._began and out.logits.dim() == 3:
            out.logits = out.logits[:, self.positions :]

    def save(self, model: nn.Module, out: Path, base: str) -> None:
        """A folder of peft's prompt tuning."""
        save_prompt(model, out / self.folder, base, self.source(), self.positions)

    def loading(self, auto: str, base: str, options: str) -> list[str]:
        """peft on top of the base model."""
        return peft_loading(auto, base, options, self.folder)


def _embedding(model: Any) -> nn.Module:
    return model.get_input_embeddings()  # type: ignore[no-any-return]


def embeddings_of(model: nn.Module) -> Tensor:
    """The embeddings of the vocabulary (tokens, d)."""
    return _embedding(model).get_parameter("weight")


def vocabulary_rows(model: nn.Module, seed: int, count: int) -> Tensor:
    """Embeddings (count, d) of tokens that the seed draws: a prompt begins where texts are."""
    rows = embeddings_of(model)
    drawn = generator(seed, "prompt").integers(0, len(rows), count)
    return rows[torch.from_numpy(drawn).to(rows.device)].detach().float()


def _goes_on(given: Kwargs) -> bool:
    """Whether the call is for the next tokens of texts that the model has read."""
    past = given.get("past_key_values")
    return past is not None and past.get_seq_length() > 0


def _filler(model: Any) -> int:
    """A token that is no padding; its embedding is never used."""
    return 1 if getattr(model.config, "pad_token_id", None) == 0 else 0

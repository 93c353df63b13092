"""Batches for causal language models: token ids, and which of them count in the loss.

A row is [start] prompt text [end]. Start is there where the tokenizer itself begins texts with one.
The label of a token is the token itself, and -100 for the prompt, the start and the padding; the
model compares each label with what it predicted one place before.

A row of more than `max_length` tokens first loses the beginning of its prompt, down to half of
`max_length`, then the end of its text. Of every row at least one token counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedkrso_core.data import Examples
from fedkrso_core.lean.cross_entropy import IGNORED


@dataclass(frozen=True)
class LmEncoder:
    """Turns rows into a batch: padded on the right to the longest."""

    tokenizer: Any
    max_length: int
    device: torch.device

    def batch(self, examples: Examples, rows: np.ndarray) -> dict[str, Tensor]:
        """input_ids, attention_mask and labels, each (n, length)."""
        sequences = [_cut(*row, self.max_length) for row in self._rows(examples, rows)]
        longest = max(len(head) + len(text) for head, text in sequences)
        shape = len(sequences), longest
        ids = torch.full(shape, self.tokenizer.pad_token_id)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
        for row, (head, text) in enumerate(sequences):
            begin, end = len(head), len(head) + len(text)
            ids[row, :end] = torch.tensor(head + text)
            mask[row, :end] = 1
            labels[row, begin:end] = ids[row, begin:end]
        made = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        return {name: tensor.to(self.device) for name, tensor in made.items()}

    def prompts(self, examples: Examples, rows: np.ndarray, room: int) -> dict[str, Tensor]:
        """input_ids and attention_mask (n, length) of the prompts alone, padded on the left.

        Each keeps its last `room` tokens.
        """
        heads = [head[-room:] for head, _ in self._rows(examples, rows)]
        longest = max(map(len, heads))
        ids = torch.full((len(heads), longest), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, head in enumerate(heads):
            ids[row, longest - len(head) :] = torch.tensor(head)
            mask[row, longest - len(head) :] = 1
        return {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}

    def lengths(self, texts: list[str]) -> list[int]:
        """Tokens of each text, with the end token."""
        return [len(ids) + 1 for ids in self._ids(texts)]

    def _rows(self, examples: Examples, rows: np.ndarray) -> list[tuple[list[int], list[int]]]:
        """(start and prompt, text and end) of each row, uncut."""
        texts = self._ids([examples.texts[i] for i in rows])
        end = [self.tokenizer.eos_token_id]
        if examples.prompts is None:
            return [(self._start, text + end) for text in texts]
        prompts = self._ids([examples.prompts[i] for i in rows])
        pairs = zip(prompts, texts, strict=True)
        return [(self._start + prompt, text + end) for prompt, text in pairs]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=False)["input_ids"]  # type: ignore[no-any-return]

    @cached_property
    def _start(self) -> list[int]:
        """The token that the tokenizer puts before every text, if it does."""
        own, bos = self.tokenizer("a")["input_ids"], self.tokenizer.bos_token_id
        return own[:1] if bos is not None and own[:1] == [bos] else []


def _cut(head: list[int], text: list[int], most: int) -> tuple[list[int], list[int]]:
    room = max(most - len(text), most // 2)
    head = head[max(0, len(head) - room) :]
    return head, text[: most - len(head)]

"""Quality of a language model on the validation rows: perplexity, and answers word for word."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedkrso_core.attached import positions_before
from fedkrso_core.batches import evaluation_batches
from fedkrso_core.data import Examples
from fedkrso_core.evaluate import outputs
from fedkrso_core.lean.cross_entropy import IGNORED, next_tokens
from fedkrso_core.lm_batches import LmEncoder
from fedkrso_core.spec import EvaluateSpec

# logits of a batch in float32: of a vocabulary of 150,000 a thousand tokens
_LOGITS_BYTES = 512 * 2**20
_LARGEST_LOSS = 100.0  # e^100: a number that JSON can still hold


def evaluate_lm(
    model: nn.Module,
    encoder: LmEncoder,
    examples: Examples,
    spec: EvaluateSpec,
    before_batch: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """perplexity = e^loss, loss = mean nats over all tokens that count; exact_match with prompts.

    The mean is over tokens, not rows, whatever the batches. `before_batch` may end it by raising.
    """
    size = _rows_at_once(model, encoder.max_length, spec.batch_size)
    batches = evaluation_batches(encoder, examples, size)
    loss = token_loss(outputs(model, batches, before_batch))
    found = {"perplexity": math.exp(min(loss, _LARGEST_LOSS)), "loss": loss}
    if examples.prompts is not None and spec.answers:
        found["exact_match"] = exact_match(model, encoder, examples, spec, before_batch)
    return found


def token_loss(found: Iterator[tuple[Tensor, Tensor]]) -> float:
    """Mean cross-entropy of logits (n, length, vocabulary) and labels (n, length) that count."""
    total, count = 0.0, 0
    for logits, labels in found:
        wanted = next_tokens(labels)
        loss = cross_entropy(logits.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="sum")
        total += float(loss)
        count += int((wanted != IGNORED).sum())
    return total / max(count, 1)


def exact_match(
    model: nn.Module,
    encoder: LmEncoder,
    examples: Examples,
    spec: EvaluateSpec,
    before_batch: Callable[[], None] = lambda: None,
) -> float:
    """Share of answers that are the row's text, white space at both ends aside.

    `spec.answers` rows, evenly spaced, are answered greedily with at most `spec.answer_tokens`
    tokens each. A text that needs more tokens cannot be matched.
    """
    count = min(spec.answers, len(examples))
    rows = np.linspace(0, len(examples) - 1, count).round().astype(int)
    right = 0
    for start in range(0, count, spec.batch_size):
        before_batch()
        chosen = rows[start : start + spec.batch_size]
        texts = [examples.texts[row].strip() for row in chosen]
        said = _answers(model, encoder, examples, chosen, spec.answer_tokens)
        right += sum(one.strip() == text for one, text in zip(said, texts, strict=True))
    return right / count


@torch.inference_mode()
def _answers(
    model: Any, encoder: LmEncoder, examples: Examples, rows: np.ndarray, most: int
) -> list[str]:
    """What the model says after each prompt, as text."""
    longest = max(encoder.lengths([examples.texts[row] for row in rows]))
    tokens = min(most, longest + 1)
    limit = getattr(model.config, "max_position_embeddings", None) or encoder.max_length + tokens
    limit -= positions_before(model)
    room = min(encoder.max_length, max(1, limit - tokens))
    asked = encoder.prompts(examples, rows, room)
    said = greedy(model.eval(), asked, tokens, encoder.tokenizer.eos_token_id)
    return encoder.tokenizer.batch_decode(said, skip_special_tokens=True)  # type: ignore[no-any-return]


def greedy(model: Any, asked: dict[str, Tensor], tokens: int, end: int) -> list[list[int]]:
    """The likeliest next token of each row (n, length), again and again, up to `end`.

    Not `generate`: what a checkpoint's own settings ask for (sampling, penalties) must not change
    the measure.
    """
    ids, mask, cache = asked["input_ids"], asked["attention_mask"], None
    going, said = mask.new_ones(len(ids), dtype=torch.bool), []
    place = (mask.cumsum(1) - 1).clamp(min=0)
    for _ in range(tokens):
        found = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=place,
            past_key_values=cache,
            use_cache=True,
        )
        cache, ids = found.past_key_values, found.logits[:, -1:].argmax(-1)
        going = going & (ids[:, 0] != end)
        said.append(torch.where(going, ids[:, 0], end))
        if not going.any():
            break
        mask, place = torch.cat([mask, torch.ones_like(ids)], 1), place[:, -1:] + 1
    return [_until(row, end) for row in torch.stack(said, 1).tolist()]


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens


def _rows_at_once(model: Any, length: int, batch_size: int) -> int:
    row = 4 * length * int(model.config.vocab_size)
    return min(batch_size, max(1, _LOGITS_BYTES // row))

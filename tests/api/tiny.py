"""A real model and a real tokenizer of a few kilobytes, and rows that they can learn."""

from __future__ import annotations

import json
from pathlib import Path

WARM, COLD = ["red", "apple", "fire", "sun"], ["blue", "sea", "ice", "moon"]


def write_rows(path: Path) -> None:
    """48 rows: the first word decides the label."""
    words = WARM + COLD
    rows = [
        {"text": f"{first} {second}", "label": "warm" if first in WARM else "cold", "group": first}
        for first in words
        for second in words[:6]
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_model(folder: Path) -> None:
    """A BERT of two layers, 16 wide, and a tokenizer that knows eight words."""
    import torch
    import transformers

    transformers.logging.disable_progress_bar()
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertForSequenceClassification(config).save_pretrained(folder)


def _tokenizer():  # noqa: ANN202 - transformers hands out untyped objects
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WARM, *COLD]
    vocabulary = {word: number for number, word in enumerate(names)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    ends = {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **special, **ends)

"""Encoders of random weights with a real fast tokenizer, small enough to be quick."""

from __future__ import annotations

import shutil
from pathlib import Path

WORDS = ["red", "green", "blue", "sun", "moon", "tree", "river", "stone", "wind", "fire"]
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def tiny_model(folder: Path) -> Path:
    """Two layers, 32 wide: 20,000 weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {w: i for i, w in enumerate([*_SPECIAL, *WORDS])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
    ).save_pretrained(folder)
    _write_encoder(folder, width=32)
    return folder


def wider_model(like: Path, folder: Path) -> Path:
    """The same 128 wide: 200,000 weights, 0.8 MB."""
    shutil.copytree(like, folder)
    _write_encoder(folder, width=128)
    return folder


def _write_encoder(folder: Path, width: int) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(_SPECIAL) + len(WORDS),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=32,
    )
    BertForSequenceClassification(config).bert.save_pretrained(folder)

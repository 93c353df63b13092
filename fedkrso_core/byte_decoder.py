"""The preset `bytes`: a small decoder that needs no download, to try causal language models with.

Its tokens are the 256 bytes of UTF-8 and an end token, so it reads any text, and its vocabulary is
no larger than itself. It is untrained: a job starts from nothing, not from a language.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from fedkrso_core.home import home
from fedkrso_core.seeds import generator

END = "<end>"
WIDTH, LAYERS, HEADS, KEY_HEADS, INNER, LONGEST = 128, 4, 4, 2, 344, 1024
# the vocabulary, tied to the output; in each layer attention, MLP and two norms; the last norm
PARAMETERS = (
    257 * WIDTH
    + LAYERS * (WIDTH * WIDTH * (2 + 2 * KEY_HEADS // HEADS) + 3 * WIDTH * INNER + 2 * WIDTH)
    + WIDTH
)


def folder() -> Path:
    """The folder of the model, made in the state folder when it is first asked for."""
    place = home() / "cache" / "models" / "bytes-1"
    if not (place / "config.json").exists():
        _make(place)
    return place


def _make(place: Path) -> None:
    """Writes it beside its place and renames it: another process may be doing the same."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=place.parent, prefix=".bytes-"))
    try:
        _tokenizer().save_pretrained(part)
        _model().save_pretrained(part)
        os.rename(part, place)
    except OSError:
        if not (place / "config.json").exists():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab={**vocabulary, END: len(vocabulary)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, pad_token=END)


@torch.no_grad()
def _model() -> Any:
    import transformers

    transformers.logging.disable_progress_bar()
    config = transformers.LlamaConfig(
        vocab_size=257,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        intermediate_size=INNER,
        max_position_embeddings=LONGEST,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=256,
        pad_token_id=None,
    )
    model = transformers.LlamaForCausalLM(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:  # norms are ones as they come
            drawn = generator(0, "bytes", name).standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(drawn * config.initializer_range).float())
    return model

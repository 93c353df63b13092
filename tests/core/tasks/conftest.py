"""Tiny random decoders of three architectures, a tokenizer made here, rows for each task."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkrso_core.spec import JobSpec, parse

CAPITALS = {"france": "paris", "italy": "rome", "spain": "madrid", "peru": "lima", "cuba": "havana"}
WORDS = ["<pad>", "<unk>", "<s>", "</s>", "the", "capital", "of", "is", "?"]
WORDS += [word for pair in CAPITALS.items() for word in pair]
ARCHITECTURES = ["gpt2", "llama", "qwen2", "qwen3"]


def tokenizer(start: bool = False) -> Any:
    """Words of CAPITALS; with `start`, every text begins with <s>, as Llama's do."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if start:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 2)]
        )
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def letters() -> Any:
    """Qwen's tokenizer with single bytes for tokens: transformers makes a Qwen one of any other."""
    import transformers
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: i for i, char in enumerate(["<pad>", "<unk>", "<s>", "</s>", *alphabet])}
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
    return transformers.Qwen2Tokenizer(vocab=vocabulary, merges=[], **special)


def config_of(architecture: str) -> Any:
    """GPT-2: Conv1D, tied output. Llama: grouped keys, output of its own. Qwen: biases, norms."""
    import transformers

    size: dict[str, Any] = {"vocab_size": len(WORDS), "initializer_range": 0.15}
    size |= {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    if architecture == "gpt2":
        drop = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        return transformers.GPT2Config(
            n_embd=32, n_layer=2, n_head=4, n_positions=32, **size, **drop
        )
    kind = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}[architecture]
    size |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    size |= {"num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64}
    extra = {"head_dim": 8} if architecture == "qwen3" else {}
    if architecture != "llama":
        size["vocab_size"] = 260
    tied = architecture == "qwen2"
    return getattr(transformers, f"{kind}Config")(tie_word_embeddings=tied, **size, **extra)


@pytest.fixture(scope="session")
def decoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny decoder of an architecture."""
    import transformers

    made: dict[str, Path] = {}

    def folder(architecture: str) -> Path:
        if architecture not in made:
            place = tmp_path_factory.mktemp(architecture)
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(config_of(architecture))
            model.save_pretrained(place)
            own = letters() if "qwen" in architecture else tokenizer(architecture == "llama")
            own.save_pretrained(place)
            made[architecture] = place
        return made[architecture]

    return folder


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of capitals: question, answer, owner."""
    path = tmp_path_factory.mktemp("questions") / "capitals.jsonl"
    rows = [
        {"question": f"the capital of {country} is ?", "answer": city, "owner": f"o{i % 3}"}
        for i in range(8)
        for country, city in CAPITALS.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of texts whose number is how many of their words are animals."""
    path = tmp_path_factory.mktemp("ratings") / "ratings.jsonl"
    rng, rows = random.Random(0), []
    for i in range(60):
        animals = rng.randrange(5)
        words = ["cat"] * animals + ["rain"] * (5 - animals)
        rng.shuffle(words)
        rows.append({"text": " ".join(words), "label": animals / 2, "owner": f"o{i % 3}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def lm_job(decoders: Callable[[str], Path], questions: Path) -> Callable[..., JobSpec]:
    """Makes a causal-lm job; `data` and other fields replace the defaults."""

    def make(
        architecture: str = "llama", data: dict[str, Any] | None = None, **changes: Any
    ) -> Any:
        columns = {"train": str(questions), "prompt": "question", "text": "answer"}
        job: dict[str, Any] = {
            "name": "capitals",
            "task": "causal-lm",
            "model": str(decoders(architecture)),
            "data": {**columns, **(data or {})},
            "partition": {"kind": "iid"},
            "clients": {"count": 2, "per_round": 2},
            "rounds": 2,
            "local": {"steps": 4, "batch_size": 4, "max_length": 16, "lr": 1e-2},
        }
        if "qwen" in architecture:  # reads letters
            changes["local"] = {**job["local"], **changes.get("local", {}), "max_length": 48}
        return parse({**job, **changes})

    return make

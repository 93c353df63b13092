"""The work that is compared, in plain torch, transformers and peft: the same for every side.

BERT of 2 layers, 128 wide, 8192 words, 64 tokens; LoRA r = 8 on query and value, and the
classifier. 10 clients of 64 synthetic rows; 4 steps of 16 rows with AdamW in a round.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

CLIENTS, ROWS, VALIDATION = 10, 64, 256
VOCABULARY, LENGTH, STEPS, BATCH = 8192, 64, 4, 16
RANK, ALPHA, LR = 8, 16.0, 0.005
NOOP_NUMBERS = 250_000  # 1 MB of float32
_WORDS = 16  # that a label is told by: few enough to be learnt in a few rounds


def write_folder(folder: Path) -> None:
    """The model with its tokenizer, and the rows; the same bytes for every side."""
    torch.manual_seed(0)
    _write_model(folder / "model")
    rng = random.Random(0)
    _write_rows(folder / "train.jsonl", rng, CLIENTS * ROWS)
    _write_rows(folder / "validation.jsonl", rng, VALIDATION)


def _write_model(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = {name: i for i, name in enumerate(["[PAD]", "[UNK]"])}
    words |= {f"w{i}": i for i in range(2, VOCABULARY)}
    raw = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=LENGTH,
        # without dropout all sides can be held against each other's accuracy
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
    )
    BertForSequenceClassification(config).save_pretrained(folder)


def _write_rows(path: Path, rng: random.Random, count: int) -> None:
    """64 words; the label is which of two halves of the vocabulary most of them come from."""
    half = VOCABULARY // 2
    with path.open("w", encoding="utf-8") as file:
        for row in range(count):
            label = row % 2
            share = [rng.random() < 0.7 for _ in range(LENGTH)]
            ids = [2 + rng.randrange(_WORDS) + half * (label == one) for one in share]
            text = " ".join(f"w{i}" for i in ids)
            owner = f"c{row // 2 % CLIENTS}"  # both labels for every client
            line = {"text": text, "label": str(label), "client": owner}
            file.write(json.dumps(line) + "\n")


def read(path: Path, client: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (n, 64) and labels (n,) of a client, or of all rows."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    mine = [row for row in rows if client is None or row["client"] == f"c{client}"]
    ids = [[int(word[1:]) for word in row["text"].split()] for row in mine]
    return torch.tensor(ids), torch.tensor([int(row["label"]) for row in mine])


def lora_model(folder: Path) -> Any:
    """The classifier with adapters; what is trained is the same 8,450 numbers on every side."""
    from peft import LoraConfig, get_peft_model
    from transformers import BertForSequenceClassification

    torch.manual_seed(0)
    model = BertForSequenceClassification.from_pretrained(folder / "model")
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        target_modules=["query", "value"],
        modules_to_save=["classifier"],
        task_type="SEQ_CLS",
    )
    return get_peft_model(model, config)


def trained(model: Any) -> dict[str, torch.Tensor]:
    """What travels."""
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def put(model: Any, state: dict[str, torch.Tensor]) -> None:
    """What came."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in state.items():
            parameters[name].copy_(tensor)


def train(model: Any, folder: Path, client: int, number: int) -> dict[str, torch.Tensor]:
    """A client's round, one pass over its rows in an order of (round, client)."""
    ids, labels = read(folder / "train.jsonl", client)
    order = np.random.default_rng((0, number, client)).permutation(len(ids))
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=LR, weight_decay=0.0, fused=True
    )
    model.train()
    for step in range(STEPS):
        rows = order[step * BATCH : (step + 1) * BATCH]
        mask = torch.ones_like(ids[rows])
        loss = model(input_ids=ids[rows], attention_mask=mask, labels=labels[rows]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return trained(model)


@torch.inference_mode()
def evaluate(model: Any, folder: Path) -> float:
    """Accuracy on the validation rows."""
    ids, labels = read(folder / "validation.jsonl")
    model.eval()
    logits = [model(input_ids=part).logits for part in ids.split(64)]
    return float((torch.cat(logits).argmax(-1) == labels).float().mean())

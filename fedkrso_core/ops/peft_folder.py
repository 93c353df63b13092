"""Adapter folders that peft loads: written by peft itself, of a prompt or a prefix.

peft wants a model to write an adapter of. It gets the outline of one, with the weights that it
looks at: a second copy of a large model would not fit.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedkrso_core.attached import body_of


def save_prompt(model: nn.Module, folder: Path, base: str, prompt: Tensor, tokens: int) -> None:
    """Writes P (tokens, d) and the classifier."""
    import peft

    config = peft.PromptTuningConfig(
        num_virtual_tokens=tokens, token_dim=prompt.shape[1], **_of_model(model, base)
    )
    _save(model, folder, config, prompt)


def save_prefix(
    model: nn.Module, folder: Path, base: str, prefix: Tensor, shape: tuple[int, int, int]
) -> None:
    """Writes the keys and values (tokens, layers 2 heads size) and the classifier."""
    import peft

    layers, heads, size = shape
    config = peft.PrefixTuningConfig(
        num_virtual_tokens=len(prefix),
        num_layers=layers,
        num_attention_heads=heads,
        token_dim=heads * size,
        **_of_model(model, base),
    )
    _save(model, folder, config, prefix)


def _of_model(model: nn.Module, base: str) -> dict[str, Any]:
    heads = _heads(model)
    return {
        "task_type": "SEQ_CLS" if heads else "CAUSAL_LM",
        "base_model_name_or_path": base,
        "modules_to_save": heads or None,
        "num_transformer_submodules": 1,
    }


def _heads(model: nn.Module) -> list[str]:
    """Modules beside the body, but for the output layer of a language model."""
    ask: Any = getattr(model, "get_output_embeddings", lambda: None)
    output, body = ask(), body_of(model)
    return [
        name
        for name, child in model.named_children()
        if child is not body and child is not output and any(True for _ in child.parameters())
    ]


def _save(model: Any, folder: Path, config: Any, values: Tensor) -> None:
    import peft

    with torch.device("meta"):
        outline = type(model)(model.config)
    for name in _heads(model):
        outline.set_submodule(name, model.get_submodule(name))
    outline.name_or_path = config.base_model_name_or_path  # or peft would write another name
    with warnings.catch_warnings():  # peft asks transformers in a way that will not do in v6
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        made = peft.get_peft_model(outline, config)
    weight = nn.Parameter(values.detach().float().cpu().contiguous())
    made.prompt_encoder["default"].embedding.weight = weight
    made.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form that nobody filled in


def peft_loading(auto: str, base: str, options: str, folder: str) -> list[str]:
    """Python that loads the base model and the adapter on top of it."""
    return [
        "from peft import PeftModel",
        f"from transformers import {auto}, AutoTokenizer",
        "",
        f'base = {auto}.from_pretrained("{base}"{options})',
        f'model = PeftModel.from_pretrained(base, "{folder}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{folder}")',
    ]

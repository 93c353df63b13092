"""Prompt tuning (arXiv 2104.08691): a soft prompt before each text, averaged."""

import pytest
import torch

from fedkrso_core.attached import attachment_of
from fedkrso_core.errors import SpecError
from fedkrso_core.examine import check_method, config_of
from fedkrso_core.ops.soft_prompt import embeddings_of
from tests.core.methods.prompts import Make, mean_and_own


def prompted(federation: Make, **local: object) -> object:
    return federation(method={"name": "prompt_tuning", "tokens": 5}, local={"lr": 0.1, **local})


def test_the_mean_of_the_prompts_is_the_prompt_of_the_model(federation: Make) -> None:
    together, mean = mean_and_own(prompted(federation))
    assert together.shape == (5, 32)
    assert torch.allclose(together, mean, atol=1e-6)


def test_it_begins_with_embeddings_of_tokens(federation: Make) -> None:
    fed = prompted(federation, lr=1e-30, optimizer="sgd")
    start = fed.train(0).upload.tensors["prompt/embedding.weight"]
    vocabulary = embeddings_of(fed.model)
    assert all(any(torch.equal(row, own) for own in vocabulary) for row in start)


def test_nothing_of_the_base_model_changes_but_the_classifier(federation: Make) -> None:
    fed = prompted(federation)
    base = fed.weights()
    fed.play(1)
    changed = {n for n, w in fed.global_weights().items() if n not in base or (w != base[n]).any()}
    assert changed == {"bert.attached.source.values", "classifier.weight", "classifier.bias"}


def test_the_forward_pass_sees_what_prepended_embeddings_would_show(federation: Make) -> None:
    fed = prompted(federation)
    fed.play(1)
    fed.global_weights()
    prompt = attachment_of(fed.model).source()
    ids, mask = torch.tensor([[2, 7, 9, 3]]), torch.ones(1, 4, dtype=torch.long)
    with torch.no_grad():
        logits = fed.model.eval()(input_ids=ids, attention_mask=mask).logits
        fed.work.global_model.untrained()
        for name in ("weight", "bias"):
            own = fed.states[-1].tensors[f"dense/classifier.{name}"]
            fed.model.get_parameter(f"classifier.{name}").data.copy_(own)
        rows = torch.cat([prompt[None], embeddings_of(fed.model)[ids]], 1)
        plain = fed.model(inputs_embeds=rows, attention_mask=torch.ones(1, 9)).logits
    assert torch.allclose(logits, plain, atol=1e-6)


def test_padding_changes_nothing(federation: Make) -> None:
    fed = prompted(federation)
    fed.play(1)
    fed.global_weights()
    model, ids = fed.model.eval(), torch.tensor([[2, 7, 9, 3]])
    padded = torch.tensor([[2, 7, 9, 3, 0, 0]])
    with torch.no_grad():
        short = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        long = model(input_ids=padded, attention_mask=(padded > 0).long()).logits
    assert torch.allclose(short, long, atol=1e-6)


def test_more_tokens_than_the_model_has_positions_for_are_refused(federation: Make) -> None:
    fed = prompted(federation)
    job = fed.job.model_copy(update={"method": fed.job.method.model_copy(update={"tokens": 17})})
    with pytest.raises(SpecError, match=r"17 tokens before texts of up to 16 .* allowed: 1 to 16"):
        check_method(job.method, config_of(job.method), fed.model, job)

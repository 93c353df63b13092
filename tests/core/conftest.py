"""A tiny real model, tiny learnable rows, jobs on them, and a federation stepped by hand."""

from __future__ import annotations

import gc
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkrso_core import engine, spec
from fedkrso_core.global_model import StateRef
from fedkrso_core.method import Update, pack, unpack
from fedkrso_core.payload import Payload, decode, digest, encode
from fedkrso_core.spec import JobSpec
from fedkrso_core.stale import Counted, taken
from fedkrso_core.workload import Workload

TOPICS = {
    "animals": "cat dog horse bird fish cow sheep goat duck mouse",
    "tools": "saw hammer drill wrench nail screw axe file pliers chisel",
    "weather": "rain snow wind storm sun fog hail cloud frost thunder",
}
FILLERS = "the a of and in on with was is near old new big small red blue very some many one"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
OWNERS = [0] * 4 + [1] * 6 + [2] * 10  # of each 20 rows: the shares are unequal


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state folder for all tests, so that each data set is read from its file only once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module", autouse=True)
def _surroundings(home: Path) -> Iterator[None]:
    """State under a temporary folder, the CPU, one thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDKRSO_HOME", str(home))
        patch.setenv("FEDKRSO_DEVICE", "cpu")
        patch.setenv("FEDKRSO_THREADS", "1")
        torch.set_num_threads(1)
        gc.freeze()  # each measurement collects garbage: spare it all that was imported
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT, 32 wide, without a classifier and without dropout."""
    return _save_bert(tmp_path_factory.mktemp("tiny-model"), dropout=0.0)


@pytest.fixture(scope="session")
def dropout_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with dropout."""
    return _save_bert(tmp_path_factory.mktemp("dropout-model"), dropout=0.1)


def _save_bert(folder: Path, dropout: float) -> Path:
    import transformers

    transformers.logging.disable_progress_bar()
    config = transformers.BertConfig(
        vocab_size=100,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=32,
        initializer_range=0.15,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = SPECIALS + " ".join([*TOPICS.values(), FILLERS]).split()
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIALS, strict=True))
    special = {f"{name}_token": token for name, token in names.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl (120 rows) and validation.jsonl (30): the words tell the label."""
    folder = tmp_path_factory.mktemp("tiny-data")
    rng = random.Random(0)
    for name, count in (("train", 120), ("validation", 30)):
        lines = [json.dumps(_row(i, rng)) + "\n" for i in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def _row(index: int, rng: random.Random) -> dict[str, str]:
    label = list(TOPICS)[index % 3]
    words = rng.sample(TOPICS[label].split(), 3) + rng.sample(FILLERS.split(), 3)
    rng.shuffle(words)
    return {"text": " ".join(words), "label": label, "owner": f"owner {OWNERS[index % 20]}"}


@pytest.fixture
def raw_job(tiny_model: Path, tiny_data: Path) -> Callable[..., dict[str, Any]]:
    """Makes the plain data of a job file; nested mappings are merged into the defaults."""

    def make(**changes: Any) -> dict[str, Any]:
        data = {
            "name": "tiny",
            "model": str(tiny_model),
            "data": {
                "train": str(tiny_data / "train.jsonl"),
                "validation": str(tiny_data / "validation.jsonl"),
            },
            "partition": {"kind": "by-column", "column": "owner"},
            "clients": {"count": 3, "per_round": 3},
            "rounds": 2,
            "local": {"steps": 4, "batch_size": 4, "max_length": 16, "lr": 1e-3},
            "method": {"name": "fedkrso"},
            "seed": 7,
        }
        return _merged(data, changes)

    return make


def _merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(data)
    for name, value in changes.items():
        replaces = name in ("method", "partition", "rounds") or not isinstance(value, Mapping)
        merged[name] = value if replaces else _merged(merged.get(name, {}), value)
    return merged


@pytest.fixture
def job(raw_job: Callable[..., dict[str, Any]]) -> Callable[..., JobSpec]:
    """Makes a JobSpec; arguments as of `raw_job`."""
    return lambda **changes: spec.parse(raw_job(**changes))


class Federation:
    """A job's rounds stepped by hand, through the code that server and clients run."""

    def __init__(self, job: JobSpec, folder: Path) -> None:
        self.job, self.work = job, Workload(job, folder, torch.device("cpu"))
        self.method, self.config = self.work.method, self.work.config
        self.model = self.work.global_model.model
        self.states = [over_the_wire(self.work.initial_state())]
        self.memories: dict[int, Payload] = {}  # of each client's last update that counted
        self.server: Payload | None = None  # what the server's optimizer remembers

    @property
    def round(self) -> int:
        """The open round."""
        return len(self.states)

    @property
    def sizes(self) -> list[int]:
        """Examples of each client."""
        return [len(rows) for rows in self.work.shares.rows]

    def train(
        self,
        client: int,
        on_step: Callable[[int], None] = lambda _: None,
        began: int | None = None,
    ) -> Update:
        """The client's update as the server gets it; the model is left as training left it.

        `began` is the round whose model it begins with, the open one if not given.
        """
        number = began or self.round
        chain = [_state(self.states[n]) for n in engine.needed(self.method, self.config, number)]
        memory = self.memories.get(client)
        update = self.work.train(chain, client, number, on_step, memory).update
        return replace(unpack(pack(update)), memory=over_the_wire(update.memory))

    def go_on_from(self, other: Federation) -> None:
        """Takes over another federation's states, and what its clients remember."""
        self.states, self.memories = list(other.states), dict(other.memories)

    def aggregate_late(self, updates: Mapping[int, tuple[Update, int]]) -> Payload:
        """The new state of updates, given with the round that each client began with."""
        counted = [
            Counted(self.round - began, lambda update=update: update, self._began(began), client)
            for client, (update, began) in sorted(updates.items())
        ]
        return self.work.aggregate(self.states[-1], counted).state

    def _began(self, began: int) -> Callable[[], Payload]:
        return lambda: self.states[began - 1]

    def aggregate(self, updates: Mapping[int, Update]) -> Payload:
        """The new state of the updates, taken in the order of the clients."""
        return self.aggregate_late({client: (u, self.round) for client, u in updates.items()})

    def taken(self, update: Update) -> Update:
        """A fresh update as `Method.aggregate` takes it."""
        base, state = self.work.global_model.untrained, self.states[-1]
        return taken(self.method, self.config, base, state, update)

    def close(self, updates: Mapping[int, Update]) -> Payload:
        """Ends the open round; its clients remember what they kept with these updates."""
        self.memories |= {client: update.memory for client, update in updates.items()}
        counted = [_fresh(updates[client]) for client in sorted(updates)]
        after = self.work.aggregate(self.states[-1], counted, self.server)
        self.server = after.server
        self.states.append(over_the_wire(after.state))
        return self.states[-1]

    def play(self, rounds: int = 1) -> None:
        """Plays rounds with all clients."""
        for _ in range(rounds):
            self.close({client: self.train(client) for client in range(self.job.clients.count)})

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights that are in the model now."""
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def global_weights(self, last: int | None = None) -> dict[str, Tensor]:
        """The global model after the last closed round, or after an earlier one."""
        until = self.states if last is None else self.states[: last + 1]
        self.work.global_model.materialize([_state(state) for state in until])
        return self.weights()

    def weights_after(self, state: Payload) -> dict[str, Tensor]:
        """The global model if this state were the next."""
        self.work.global_model.materialize([_state(s) for s in (*self.states, state)])
        return self.weights()

    def own_weights(self, client: int) -> dict[str, Tensor]:
        """The client's own model, where models are personal."""
        chain, memory = [_state(state) for state in self.states], self.memories.get(client)
        self.work.global_model.personalize(chain, self.states[-1], memory or Payload())
        return self.weights()

    def loss(self, client: int | None = None) -> float:
        """The loss of the global model, or of a client's own, on the validation rows."""
        self.global_weights() if client is None else self.own_weights(client)
        return self.work.evaluate()["loss"]


def _fresh(update: Update) -> Counted:
    return Counted(0, lambda: update, Payload, 0)


def over_the_wire(payload: Payload) -> Payload:
    return decode(encode(payload))


def _state(payload: Payload) -> StateRef:
    return StateRef(digest(encode(payload)), lambda: payload)


@pytest.fixture
def federation(job: Callable[..., JobSpec], tmp_path: Path) -> Callable[..., Federation]:
    """Makes a Federation; arguments as of `raw_job`."""
    made: list[Federation] = []

    def make(**changes: Any) -> Federation:
        made.append(Federation(job(**changes), tmp_path / f"dense-{len(made)}"))
        return made[-1]

    return make

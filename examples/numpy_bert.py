"""The trainer of http_client.py: BERT forward, and SGD on what has short gradients, in numpy.

Those are the classifier, and of BERT the pooler. Words are tokens. It knows nothing of the
protocol; `w` are the weights by their names in the model, float32.
"""

import json
import math

import numpy as np

POOLER = "bert.pooler.dense"
PARTS = [f"attention.self.{x}" for x in ("query", "key", "value")]
PARTS += ["attention.output.dense", "intermediate.dense", "output.dense"]
erf = np.vectorize(math.erf, otypes=["f4"])


def layers_of(w):  # (d_out, d_in) of the Linear layers of BERT, in the model's order
    depth = sum(name.endswith("intermediate.dense.bias") for name in w)
    names = [f"bert.encoder.layer.{i}.{part}" for i in range(depth) for part in PARTS] + [POOLER]
    return {name: w[f"{name}.weight"].shape for name in names}


def hidden(w, base, texts, max_length):  # the hidden states of [CLS], (d,) of each text
    heads = json.loads((base / "config.json").read_text())["num_attention_heads"]
    words = json.loads((base / "tokenizer.json").read_text())["model"]["vocab"]
    for text in texts:
        tokens = ["[CLS]", *text.split()[: max_length - 2], "[SEP]"]
        yield first_hidden(w, [words.get(token, words["[UNK]"]) for token in tokens], heads)


def first_hidden(w, ids, heads):  # BERT's last hidden state of [CLS], (d,)
    def norm(x, at):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * w[f"{at}.LayerNorm.weight"] + w[f"{at}.LayerNorm.bias"]

    def linear(x, at):
        return x @ w[f"{at}.weight"].T + w[f"{at}.bias"]

    e, n = "bert.embeddings", len(ids)
    h = w[f"{e}.word_embeddings.weight"][ids] + w[f"{e}.token_type_embeddings.weight"][0]
    h = norm(h + w[f"{e}.position_embeddings.weight"][:n], e)  # (n, d)
    for i in range(len(layers_of(w)) // len(PARTS)):
        at = f"bert.encoder.layer.{i}"
        q, k, v = (
            linear(h, f"{at}.{part}").reshape(n, heads, -1).transpose(1, 0, 2) for part in PARTS[:3]
        )  # (heads, n, d / heads)
        score = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[2]))
        mixed = (score / score.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, -1)
        h = norm(h + linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output")
        inner = linear(h, f"{at}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        h = norm(h + linear(inner, f"{at}.output.dense"), f"{at}.output")
    return h[0]


def train(w, x, y, spec, subspaces, rng):
    """The weights after a round, the accumulator (d, r) of each subspace used, the mean loss.

    x (n, d) are the hidden states, y (n,) the labels, subspaces the P (r, d) of the pooler.
    """
    w, local, sums, losses = dict(w), spec["local"], {}, []
    for start in range(0, local["steps"], spec["method"]["interval"]):
        steps = min(spec["method"]["interval"], local["steps"] - start)
        k = int(rng.integers(len(subspaces)))
        b, seen = interval(w, np.array(x), np.array(y), subspaces[k], local, steps, rng)
        sums[k], losses = sums.get(k, 0) + b, losses + seen
    return w, sums, float(np.mean(losses))


def interval(w, x, y, p, local, steps, rng):  # steps in one subspace, into w; -> B, losses
    lr, head_lr = local["lr"], local["head_lr"] or local["lr"]
    wc, bc, wp = w["classifier.weight"], w["classifier.bias"], w[f"{POOLER}.weight"]
    b, losses = np.zeros((len(wp), len(p)), "f4"), []
    for _ in range(steps):
        rows = rng.choice(len(y), min(local["batch_size"], len(y)), replace=False)
        pooled = np.tanh(x[rows] @ (wp + b @ p).T + w[f"{POOLER}.bias"])
        soft = np.exp(pooled @ wc.T + bc)
        soft /= soft.sum(1, keepdims=True)
        losses.append(-np.log(soft[np.arange(len(rows)), y[rows]]).mean())
        d = (soft - np.eye(len(bc), dtype="f4")[y[rows]]) / len(rows)  # dL/dlogits
        inner = (d @ wc) * (1 - pooled**2)  # dL/dY of the pooler
        b = b - lr * (inner.T @ (x[rows] @ p.T))  # G_B = dL/dY^T (X P^T)
        wc, bc = wc - head_lr * (d.T @ pooled), bc - head_lr * d.sum(0)
    w |= {"classifier.weight": wc, "classifier.bias": bc, f"{POOLER}.weight": wp + b @ p}
    return b, losses

"""A training client that shares no code with the service: httpx, numpy, safetensors, the protocol.

    python examples/http_client.py SERVER TOKEN NAME ROWS.jsonl ROUNDS

It enrols, joins the first FedKRSO job it is offered and hands in ROUNDS updates. It trains in numpy
what has short gradients, exactly: the classifier, and of BERT the pooler, in the subspaces of the
round, by SGD and without dropout. The other layers it only applies; their accumulators are zero.
Words are tokens, as the tokenizer of the job's model must have it. See docs/http-protocol.md.
"""

import hashlib
import json
import math
import resource
import sys
import time
from pathlib import Path

import httpx
import numpy as np
from safetensors.numpy import load, load_file, save

MASK, POOLER = 2**64 - 1, "bert.pooler.dense"
erf = np.vectorize(math.erf, otypes=["f4"])


def mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def projection(seed, layer, r, d_in):  # (r, d_in), signs
    key = mix(seed ^ int.from_bytes(hashlib.sha256(layer.encode()).digest()[:8], "little"))
    count, s = r * d_in, np.float32(1 / r**0.5)
    words = [mix(key + (j + 1) * 0x9E3779B97F4A7C15 & MASK) for j in range(-(-count // 64))]
    bits = np.unpackbits(np.array(words, "<u8").view("u1"), bitorder="little")[:count]
    return np.where(bits, s, -s).reshape(r, d_in)


def layers_of(w):  # the Linear layers of BERT in the model's order
    parts = ("attention.self.query", "attention.self.key", "attention.self.value",
             "attention.output.dense", "intermediate.dense", "output.dense")  # fmt: skip
    depth = 1 + max(int(n.split(".")[3]) for n in w if n.startswith("bert.encoder.layer."))
    return [f"bert.encoder.layer.{i}.{part}" for i in range(depth) for part in parts] + [POOLER]


def scalars_of(body):
    (length,) = np.frombuffer(body[:8], "<u8")
    return json.loads(json.loads(body[8 : 8 + int(length)])["__metadata__"]["scalars"])


def apply_state(w, body, r):  # one state of the journal, put into the weights
    tensors, scalars = load(body), scalars_of(body)
    w.update({n[6:]: t for n, t in tensors.items() if n.startswith("dense/")})
    for layer in layers_of(w):
        name, d_in = f"{layer}.weight", w[f"{layer}.weight"].shape[1]
        used = [k for k in range(len(scalars.get("seeds", []))) if f"A/{k}/{layer}" in tensors]
        if used:
            a = np.hstack([tensors[f"A/{k}/{layer}"] for k in used])
            p = np.vstack([projection(scalars["seeds"][k], layer, r, d_in) for k in used])
            w[name] = np.float32(scalars["decay"]) * w[name] + a @ p
    return scalars


def first_hidden(w, ids, heads):  # BERT's last hidden state of [CLS], (d,)
    def norm(x, at):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * w[f"{at}.LayerNorm.weight"] + w[f"{at}.LayerNorm.bias"]

    def linear(x, at):
        return x @ w[f"{at}.weight"].T + w[f"{at}.bias"]

    e = "bert.embeddings"
    h = w[f"{e}.word_embeddings.weight"][ids] + w[f"{e}.token_type_embeddings.weight"][0]
    h = norm(h + w[f"{e}.position_embeddings.weight"][: len(ids)], e)  # (n, d)
    for i in range(len(layers_of(w)) // 6):
        at, n, d = f"bert.encoder.layer.{i}", *h.shape
        q, k, v = (
            linear(h, f"{at}.attention.self.{x}").reshape(n, heads, -1).transpose(1, 0, 2)
            for x in ("query", "key", "value")
        )
        score = q @ k.transpose(0, 2, 1) / math.sqrt(d // heads)
        score = np.exp(score - score.max(-1, keepdims=True))
        mixed = (score / score.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, d)
        h = norm(h + linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output")
        inner = linear(h, f"{at}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        h = norm(h + linear(inner, f"{at}.output.dense"), f"{at}.output")
    return h[0]


def fits(spec):  # whether this client can do what the job file asks for
    method, local, wire = spec["method"], spec["local"], spec.get("wire") or {}
    return (
        (spec["task"], method["name"], local["optimizer"]) == ("classification", "fedkrso", "sgd")
        and (method["distribution"], method["targets"]) == ("sign", "all-linear")
        and not (method["train_norm_bias"] or local["weight_decay"] or spec["local_head"])
        and spec["correction"]["kind"] == "none"
        and (wire.get("dtype", "fp32"), wire.get("compression", "none")) == ("fp32", "none")
    )


def train(w, hidden, labels, spec, seeds, rng, beat):  # -> tensors and scalars of the update
    local, r, interval = spec["local"], spec["method"]["rank"], spec["method"]["interval"]
    lr, head_lr, losses, sums = local["lr"], local["head_lr"] or local["lr"], [], {}
    wc, bc, wp = w["classifier.weight"], w["classifier.bias"], w[f"{POOLER}.weight"]
    for start in range(0, local["steps"], interval):
        k = int(rng.integers(len(seeds)))
        p, b = projection(seeds[k], POOLER, r, wp.shape[1]), np.zeros((len(wp), r), "f4")
        for _ in range(min(interval, local["steps"] - start)):
            rows = rng.choice(len(labels), min(local["batch_size"], len(labels)), replace=False)
            x, y = hidden[rows], labels[rows]
            pooled = np.tanh(x @ (wp + b @ p).T + w[f"{POOLER}.bias"])
            logits = pooled @ wc.T + bc
            soft = np.exp(logits - logits.max(1, keepdims=True))
            soft /= soft.sum(1, keepdims=True)
            losses.append(-np.log(soft[np.arange(len(y)), y]).mean())
            d = (soft - np.eye(len(bc), dtype="f4")[y]) / len(y)  # dL/dlogits
            inner = (d @ wc) * (1 - pooled**2)  # dL/dY of the pooler
            b = b - lr * (inner.T @ (x @ p.T))  # G_B = dL/dY^T (X P^T)
            wc, bc = wc - head_lr * (d.T @ pooled), bc - head_lr * d.sum(0)
        wp = wp + b @ p
        sums[k] = sums.get(k, 0) + b
        beat(start + 1)
    tensors, scalars = {"dense/classifier.weight": wc, "dense/classifier.bias": bc}, {"decay": 1.0}
    for k, total in sums.items():
        seen = hashlib.sha256()
        for layer in layers_of(w):
            d_out, d_in = w[f"{layer}.weight"].shape
            seen.update((projection(seeds[k], layer, r, d_in) > 0).tobytes())
            tensors[f"A/{k}/{layer}"] = total if layer == POOLER else np.zeros((d_out, r), "f4")
        scalars[f"P/{k}"] = seen.hexdigest()[:16]
    scalars |= {"num_examples": len(labels), "metrics": {"loss": float(np.mean(losses))}}
    return {n: np.ascontiguousarray(t, "<f4") for n, t in tensors.items()}, scalars


def main(server, token, name, path, wanted):
    http = httpx.Client(base_url=server, timeout=90, trust_env=False)

    def ask(method, url, **request):
        answer = http.request(method, f"/v1/{url}", **request)
        if answer.status_code == 307:  # the store of blobs must see neither key nor lease
            answer = httpx.get(answer.headers["Location"])
        answer.raise_for_status()
        return answer

    bearer = {"Authorization": f"Bearer {token}"}
    key = ask("POST", "enrolments", json={"name": name}, headers=bearer).json()["key"]
    http.headers["Authorization"] = f"Bearer {key}"
    ask("PUT", "client", json={"version": "http_client.py"})
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    journal, joined, done = {}, set(), 0
    while done < int(wanted):
        for offer in ask("GET", "client/jobs").json()["items"]:
            spec, at = offer["spec"], f"client/jobs/{offer['job']}"
            if fits(spec) and offer["job"] not in joined:
                ask("POST", f"{at}/join", json={"num_examples": len(rows)})
                joined.add(offer["job"])
            elif not fits(spec) and not offer["refused"]:
                ask(
                    "POST",
                    f"{at}/refuse",
                    json={"reason": "this client does plain FedKRSO with SGD"},
                )
        answer = ask("POST", "assignments/claim", json={"worker": name, "wait_s": 20})
        if answer.status_code == 204:
            continue
        work, began = answer.json(), time.monotonic()
        spec, at = work["spec"], f"assignments/{work['id']}"
        http.headers["X-Lease-Token"] = work["lease_token"]
        for state in work["states"]:
            if (digest := state["digest"]) not in journal:
                journal[digest] = ask("GET", f"{at}/blobs/{digest}").content
                assert hashlib.sha256(journal[digest]).hexdigest() == digest
        w = load_file(Path(spec["model"]) / "model.safetensors")
        for state in work["states"]:
            scalars = apply_state(w, journal[state["digest"]], spec["method"]["rank"])
        config = json.loads((Path(spec["model"]) / "config.json").read_text())
        words = json.loads((Path(spec["model"]) / "tokenizer.json").read_text())["model"]["vocab"]
        texts = [row["text"].split()[: spec["local"]["max_length"] - 2] for row in rows]
        ids = [[words.get(t, words["[UNK]"]) for t in ["[CLS]", *text, "[SEP]"]] for text in texts]
        hidden = np.array([first_hidden(w, one, config["num_attention_heads"]) for one in ids])
        labels = np.array([work["labels"].index(row["label"]) for row in rows])

        def beat(step, at=at):
            ask("POST", f"{at}/heartbeat", json={"step": step})

        rng = np.random.default_rng([spec["seed"], work["round"], work["client"]])
        tensors, scalars = train(w, hidden, labels, spec, scalars["next"], rng, beat)
        body = save(tensors, metadata={"scalars": json.dumps(scalars, sort_keys=True)})
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report = {"peak_memory_bytes": peak * 1024, "train_s": time.monotonic() - began}
        digest = {"X-Content-SHA256": hashlib.sha256(body).hexdigest()}
        ask("PUT", f"{at}/update", content=body, params=report, headers=digest)
        done += 1
        print(f"round {work['round']}: {len(body)} bytes, {scalars['metrics']}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

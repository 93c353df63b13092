"""A training client that shares no code with the service: httpx, numpy, safetensors, the protocol.

    python examples/http_client.py SERVER TOKEN NAME ROWS.jsonl ROUNDS

It enrols, joins the first FedKRSO job that it can train and hands in ROUNDS updates. Its trainer is
numpy_bert.py: the classifier and BERT's pooler, in the subspaces of the round; the accumulators of
all other layers are zero. What it leaves out (transfers that go on, checkpoints, refusals) is in
docs/http-protocol.md.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import numpy_bert as trainer
from safetensors.numpy import load, load_file, save

METHOD = {"name": "fedkrso", "distribution": "sign", "targets": "all-linear"}
PLAIN = {  # what it can do of a job file: FedKRSO by SGD, all in float32
    "task": "classification",
    "method": METHOD | {"train_norm_bias": False},
    "rounds": {"mode": "sync"},
    "local": {"optimizer": "sgd", "schedule": "constant", "weight_decay": 0.0},
    "wire": {"dtype": "fp32", "download": "fp32", "compression": "none"},
    "correction": {"kind": "none"},
    "local_head": False,
}


def fits(spec, able=PLAIN):
    both = [(spec.get(name), value) for name, value in able.items()]
    return all(fits(x, v) if isinstance(v, dict) else x == v for x, v in both)


def mix(z):  # uint64, modulo 2^64
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def projection(seed, layer, r, d_in):  # P (r, d_in), signs
    name = int.from_bytes(hashlib.sha256(layer.encode()).digest()[:8], "little")
    steps = np.arange(1, -(-r * d_in // 64) + 1, dtype="<u8") * np.uint64(0x9E3779B97F4A7C15)
    words, s = mix(mix(np.array([seed ^ name], "<u8")) + steps), np.float32(1 / r**0.5)
    bits = np.unpackbits(words.view("u1"), bitorder="little")[: r * d_in]
    return np.where(bits, s, -s).reshape(r, d_in)


def apply_state(w, body, r):  # puts one state of the journal into the weights; its scalars
    tensors, length = load(body), int.from_bytes(body[:8], "little")
    scalars = json.loads(json.loads(body[8 : 8 + length])["__metadata__"]["scalars"])
    w |= {n.removeprefix("dense/"): t for n, t in tensors.items() if n.startswith("dense/")}
    for layer, (_, d_in) in trainer.layers_of(w).items():
        for k, seed in enumerate(scalars.get("seeds", [])):
            if (a := tensors.get(f"A/{k}/{layer}")) is not None:
                w[f"{layer}.weight"] = w[f"{layer}.weight"] + a @ projection(seed, layer, r, d_in)
    return scalars


def update_of(w, sums, seeds, r, scalars):  # the payload: classifier, accumulators, checksums of P
    tensors = {f"dense/classifier.{x}": w[f"classifier.{x}"] for x in ("weight", "bias")}
    for k, total in sums.items():
        checksum = hashlib.sha256()
        for layer, (d_out, d_in) in trainer.layers_of(w).items():
            checksum.update((projection(seeds[k], layer, r, d_in) > 0).tobytes())
            tensors[f"A/{k}/{layer}"] = np.zeros((d_out, r), "f4")
        tensors[f"A/{k}/{trainer.POOLER}"] = total
        scalars[f"P/{k}"] = checksum.hexdigest()[:16]
    return save(tensors, metadata={"scalars": json.dumps(scalars, sort_keys=True)})


def main(server, token, name, path, rounds):
    http = httpx.Client(base_url=f"{server}/v1/", timeout=90, trust_env=False)

    def ask(method, url, **request):
        answer = http.request(method, url, **request)
        if answer.status_code == 307:  # the store of blobs must see neither key nor lease
            answer = httpx.get(answer.headers["Location"])
        return answer.raise_for_status()

    http.headers["Authorization"] = f"Bearer {token}"
    key = ask("POST", "enrolments", json={"name": name}).json()["key"]
    http.headers["Authorization"] = f"Bearer {key}"
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    while not (jobs := [x for x in ask("GET", "client/jobs").json()["items"] if fits(x["spec"])]):
        time.sleep(1)
    job, spec = jobs[0], jobs[0]["spec"]
    ask("POST", f"client/jobs/{job['job']}/join", json={"num_examples": len(rows)})
    base, r, states = Path(spec["model"]), spec["method"]["rank"], {}
    w, y = load_file(base / "model.safetensors"), [job["labels"].index(x["label"]) for x in rows]
    while rounds:
        answer = ask("POST", "assignments/claim", json={"worker": name, "wait_s": 20})
        if answer.status_code == 204:
            continue
        work, began = answer.json(), time.monotonic()
        at, http.headers["X-Lease-Token"] = f"assignments/{work['id']}", work["lease_token"]
        for digest in (x["digest"] for x in work["states"] if x["digest"] not in states):
            body = ask("GET", f"{at}/blobs/{digest}").content
            assert hashlib.sha256(body).hexdigest() == digest
            states[digest] = apply_state(w, body, r)
        seeds = states[work["states"][-1]["digest"]]["next"]
        hidden, length = [], spec["local"]["max_length"]
        for x in trainer.hidden(w, base, [row["text"] for row in rows], length):
            hidden.append(x)
            ask("POST", f"{at}/heartbeat", json={"step": 0})  # or the lease ends after lease_s
        rng = np.random.default_rng([spec["seed"], work["round"], work["client"]])
        p = [projection(seed, trainer.POOLER, r, hidden[0].size) for seed in seeds]
        trained, sums, loss = trainer.train(w, hidden, y, spec, p, rng)
        scalars = {"decay": 1.0, "num_examples": len(rows), "metrics": {"loss": loss}}
        body = update_of(trained, sums, seeds, r, scalars)
        report = {"peak_memory_bytes": 0, "train_s": time.monotonic() - began}
        digest = {"X-Content-SHA256": hashlib.sha256(body).hexdigest()}
        ask("PUT", f"{at}/update", content=body, params=report, headers=digest)
        rounds -= 1
        print(f"round {work['round']}: {len(body)} bytes, loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))

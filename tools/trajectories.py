#!/usr/bin/env python3
"""Losses of the same training in realign, f32 and mixed, and in PyTorch, float32 and under bfloat16 autocast: a real model, the same start,
the same order of the data, the same learning rates.

    tools/get_smollm2.py /tmp/smollm2
    tools/trajectories.py /tmp/smollm2 OUT [--steps 200] [--ways stage1 lora all] [--batch 4] [--device host] [--no-torch]

Stage 1 learns "the digit seven" from bundled embeddings of captions, stage 2 to answer "Which digit is this?" about those of images. OUT gets
trajectories.json, trajectories.svg with a panel for each way, and the held-out loss after the last step, all by the same evaluation (realign's, in f32, of what
each realign run wrote; PyTorch's own of its own). Needs the program (REALIGN names it, else that of `cargo build --release`), and for
PyTorch torch, numpy, tokenizers and safetensors. Low-rank additions are compared within realign alone.
"""

import argparse
import json
import math
import os
import struct
import subprocess
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TRAIN, HELD = 800, 48
MASK = (1 << 64) - 1


def bundled():
    """Embeddings of captions and images, and the digits."""
    folder = ROOT / "data/digits-embeddings"
    with open(ROOT / "data/digits.safetensors", "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        first, last = header["labels"]["data_offsets"]
        file.seek(8 + size + first)
        labels = list(file.read(last - first))
    return np.load(folder / "text_paired.npy"), np.load(folder / "image.npy"), labels


def write_adapter(path, inputs, hidden):
    """A fresh mlp2x_gelu, as PyTorch would start it, under LLaVA's names."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(1)
    tensors = {}
    for place, columns in ((0, inputs), (2, hidden)):
        bound = 1 / math.sqrt(columns)
        tensors[f"model.mm_projector.{place}.weight"] = rng.uniform(-bound, bound, (hidden, columns)).astype("f4")
        tensors[f"model.mm_projector.{place}.bias"] = rng.uniform(-bound, bound, hidden).astype("f4")
    save_file(tensors, path)


def write_data(out, labels, texts, images):
    def name(i):
        return f"d{i}"

    spans = {"train": range(TRAIN), "held": range(len(labels) - HELD, len(labels))}
    for span, rows in spans.items():
        lines = [json.dumps({"id": name(i), "text": f"the digit {WORDS[labels[i]]}"}) for i in rows]
        (out / f"{span}.jsonl").write_text("\n".join(lines) + "\n")
        turns = lambda i: [
            {"from": "human", "value": "<image>\nWhich digit is this?"},
            {"from": "gpt", "value": f"It is a {WORDS[labels[i]]}."},
        ]
        records = [{"id": name(i), "image": name(i), "conversations": turns(i)} for i in rows]
        (out / f"{span}.json").write_text(json.dumps(records))
    (out / "ids.txt").write_text("".join(f"{name(i)}\n" for i in range(len(labels))))
    np.save(out / "text.npy", texts)
    np.save(out / "image.npy", images)


def realign(args, out, way, precision):
    """Runs a way, and gives its log and its held-out loss in f32."""
    run = out / f"{way}-{precision}"
    stage1 = way == "stage1"
    suffix = "jsonl" if stage1 else "json"
    command = [args.program, "train", "stage1" if stage1 else "stage2", "--model", args.model, "--data", out / f"train.{suffix}"]
    command += ["--embeddings", out / ("text.npy" if stage1 else "image.npy"), "--ids", out / "ids.txt", "--out", run, "--force"]
    command += ["--init-adapter", out / "adapter.safetensors", "--batch-size", args.batch, "--accumulate", 1, "--window", 1]
    command += ["--max-steps", args.steps, "--precision", precision, "--device", args.device, "--checkpoint-every", 0]
    command += ["--lr", args.lr or {"stage1": 2e-4, "lora": 2e-4, "all": 2e-5}[way]]
    command += ["--aligner", "none"] if stage1 else ["--train", way]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    ask = [args.program, "score", "--model", args.model if stage1 else run / "model", "--adapter", run / "adapter.safetensors"]
    ask += ["--data", out / f"held.{suffix}", "--embeddings", out / ("text.npy" if stage1 else "image.npy")]
    ask += ["--ids", out / "ids.txt", "--device", args.device, "--json"]
    done = subprocess.run([str(word) for word in ask], check=True, capture_output=True, text=True)
    return log, json.loads(done.stdout)["token_nll"]


class Order:
    """The order of realign's `train::DataOrder` with a window of one batch."""

    def __init__(self, lengths, size, seed=0):
        self.lengths, self.size, self.seed, self.epoch = lengths, size, seed, 0

    @staticmethod
    def numbers(state):
        while True:
            state = (state + 0x9E3779B97F4A7C15) & MASK
            z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
            yield z ^ (z >> 31)

    def passes(self):
        while True:
            start = next(self.numbers(self.seed)) ^ (self.epoch * 0xD1B54A32D192ED03 & MASK)
            random = self.numbers(start)

            def shuffle(items):
                for i in range(len(items) - 1, 0, -1):
                    j = (next(random) * (i + 1)) >> 64
                    items[i], items[j] = items[j], items[i]

            samples = list(range(len(self.lengths)))
            shuffle(samples)
            batches = [samples[i : i + self.size] for i in range(0, len(samples), self.size)]
            batches = [sorted(batch, key=lambda s: (self.lengths[s], s)) for batch in batches]
            full = batches[: len(samples) // self.size]
            shuffle(full)
            yield from full + batches[len(full) :]
            self.epoch += 1


def samples(model, out, way, span, labels):
    """Entries of each sample: (token or None for the image, whether it is a target); and its row."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    rows = range(TRAIN) if span == "train" else range(len(labels) - HELD, len(labels))
    config = json.loads((Path(model) / "tokenizer_config.json").read_text())
    all_samples = []
    for row in rows:
        if way == "stage1":
            bos = encode(config["bos_token"]) if config.get("add_bos_token") else []
            entries = [(token, False) for token in bos] + [(None, False)]
            entries += [(token, True) for token in encode(f"the digit {WORDS[labels[row]]}\n")]
        else:
            system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
            before = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n"
            after = "\nWhich digit is this?<|im_end|>\n<|im_start|>assistant\n"
            answer = f"It is a {WORDS[labels[row]]}.<|im_end|>"
            entries = [(token, False) for token in encode(before)] + [(None, False)]
            entries += [(token, False) for token in encode(after)] + [(token, True) for token in encode(answer)]
            entries += [(token, False) for token in encode("\n")]
        all_samples.append((entries, row))
    return all_samples


def torch_run(args, out, way, autocast, rates, labels, embeddings):
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    decoder = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    state = load_file(out / "adapter.safetensors")
    weights = [torch.nn.Parameter(state[f"model.mm_projector.{name}"]) for name in ("0.weight", "0.bias", "2.weight", "2.bias")]
    for p in decoder.parameters():
        p.requires_grad = way == "all"
    trained = weights + ([p for p in decoder.parameters()] if way == "all" else [])
    optimizer = torch.optim.AdamW(trained, lr=1.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    table = decoder.get_input_embeddings()
    embeddings = torch.tensor(np.asarray(embeddings))

    def nll(batch):
        """The sum over all targets, and how many they are."""
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            x = embeddings[[row for _, row in batch]]
            hidden = torch.nn.functional.gelu(torch.nn.functional.linear(x, weights[0], weights[1]))
            visual = torch.nn.functional.linear(hidden, weights[2], weights[3]).float()
            length = max(len(entries) for entries, _ in batch)
            inputs, targets, mask = [], [], []
            for (entries, _), image in zip(batch, visual):
                rows = [image if token is None else table.weight[token] for token, _ in entries]
                padding = length - len(entries)
                inputs.append(torch.stack(rows + [torch.zeros_like(image)] * padding))
                after = [token if target else -100 for token, target in entries[1:]] + [-100]
                targets.append(after + [-100] * padding)
                mask.append([1] * len(entries) + [0] * padding)
            logits = decoder(inputs_embeds=torch.stack(inputs), attention_mask=torch.tensor(mask)).logits
        targets = torch.tensor(targets)
        total = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
        return total, int((targets >= 0).sum())

    data = samples(args.model, out, way, "train", labels)
    batches = Order([len(entries) for entries, _ in data], args.batch).passes()
    losses = []
    for rate in rates:
        total, count = nll([data[i] for i in next(batches)])
        optimizer.zero_grad()
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(total.item() / count)
    held = samples(args.model, out, way, "held", labels)
    with torch.no_grad():
        autocast = False
        parts = [nll(held[i : i + 8]) for i in range(0, len(held), 8)]
    return losses, sum(total.item() for total, _ in parts) / sum(count for _, count in parts)


COLOURS = {"realign f32": "#1b6ca8", "realign mixed": "#d1495b", "PyTorch f32": "#8aa29e", "PyTorch bf16": "#edae49"}


def smooth(losses, count=10):
    """Means over the last `count` steps: a batch of few short texts is as noisy as it is small."""
    return [sum(losses[max(0, i + 1 - count) : i + 1]) / min(i + 1, count) for i in range(len(losses))]


def panel(way, curves, down):
    """Losses by step, logarithmic; the thinner a line, the later it is drawn."""
    width, height, left, top = 720, 240, 60, down + 24
    curves = {name: smooth([x for x in losses if x]) for name, losses in curves.items()}
    every = [x for losses in curves.values() for x in losses]
    low, high = math.log10(min(every)), math.log10(max(every))
    steps = max(len(losses) for losses in curves.values())
    x = lambda i: left + (width - left - 20) * i / max(1, steps - 1)
    y = lambda v: top + (height - 64) * (high - math.log10(max(v, 1e-9))) / max(1e-9, high - low)
    parts = [f'<text x="{left}" y="{down + 16}" font-weight="bold">{way}</text>']
    for value in [k * 10.0**e for e in range(-3, 3) for k in (1, 2, 5)]:
        if low <= math.log10(value) <= high:
            parts.append(f'<path d="M{left} {y(value):.1f}H{width - 20}" stroke="#ddd"/>')
            parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for i in range(0, steps + 1, max(1, steps // 4)):
        parts.append(f'<text x="{x(i):.1f}" y="{down + height - 22}" text-anchor="middle">{i}</text>')
    for rank, (name, losses) in enumerate(curves.items()):
        points = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(losses))
        stroke = 3.2 - 0.7 * rank
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="{stroke:.1f}"/>')
        parts.append(f'<text x="{width - 120}" y="{top + 16 * (rank + 1)}" fill="{COLOURS[name]}">{name}</text>')
    return parts, height


def chart(path, results):
    """All ways below each other."""
    parts, down = [], 0
    for way, result in results.items():
        drawn, height = panel(way, result["losses"], down)
        parts, down = parts + drawn, down + height
    parts.append(f'<text x="360" y="{down + 12}" text-anchor="middle">step (loss, mean of 10 steps, logarithmic)</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {down + 20}" font-family="sans-serif" font-size="12">'
    path.write_text("\n".join([head, f'<rect width="720" height="{down + 20}" fill="#fff"/>'] + parts + ["</svg>"]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lr", type=float, help="learning rate of every way, in place of its own (2e-4, 2e-5 for all); at higher ones two runs part in f32, too")
    parser.add_argument("--ways", nargs="+", choices=("stage1", "lora", "all"), default=["stage1", "lora", "all"])
    parser.add_argument("--device", default="host")
    parser.add_argument("--no-torch", action="store_true")
    args = parser.parse_args()
    args.program = os.environ.get("REALIGN", ROOT / "target/release/realign")
    args.out.mkdir(parents=True, exist_ok=True)
    texts, images, labels = bundled()
    hidden = json.loads((Path(args.model) / "config.json").read_text())["hidden_size"]
    write_adapter(args.out / "adapter.safetensors", texts.shape[1], hidden)
    write_data(args.out, labels, texts, images)
    result_path = args.out / "trajectories.json"
    results = json.loads(result_path.read_text()) if result_path.exists() else {}
    for way in args.ways:
        curves, held = {}, {}
        for precision in ("f32", "mixed"):
            log, held[f"realign {precision}"] = realign(args, args.out, way, precision)
            curves[f"realign {precision}"] = [line["loss"] for line in log]
            rates = [line["lr"] for line in log]
        if not args.no_torch and way != "lora":
            for name, autocast in (("PyTorch f32", False), ("PyTorch bf16", True)):
                embeddings = texts if way == "stage1" else images
                curves[name], held[name] = torch_run(args, args.out, way, autocast, rates, labels, embeddings)
        results[way] = {"steps": args.steps, "batch": args.batch, "held_out": held, "losses": curves}
        result_path.write_text(json.dumps(results, indent=1) + "\n")
        chart(args.out / "trajectories.svg", results)
        print(way, json.dumps(held))


if __name__ == "__main__":
    main()

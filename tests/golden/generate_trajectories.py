#!/usr/bin/env python3
"""training/trajectories.json: 50 steps of AdamW of both stages with the tiny models, in float64 with PyTorch alone.

For each stage and model a list of [loss, norm of the gradient before clipping, learning rate]. A step sees all twelve samples, so
that the order of the data and the number of batches that a step is made of are of no account. Nothing of Transformers runs:
its models compute norms, rotary embedding and softmax in float32 whatever their type. Needs torch, numpy, safetensors, tokenizers.

usage: generate_trajectories.py [OUT.json]
"""
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

HERE = Path(__file__).parent
STEPS, WARMUP_RATIO, CLIP = 50, 0.03, 1.0
LLAMA = "<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>", "", "<|begin_of_text|>"
CHATML = "<|im_start|>{role}\n", "<|im_end|>", "\n", ""
torch.set_default_dtype(torch.float64)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def realign(text, image):
    """Anchor, trace and one centroid step, as the paper has them."""
    text, image = unit(text.astype(np.float64)), unit(image.astype(np.float64))
    mean = text.mean(0), image.mean(0)
    trace = [((rows - m) ** 2).sum(1).mean() for rows, m in zip((text, image), mean)]
    moved = unit(math.sqrt(trace[1] / (trace[0] + 1e-10)) * (text - mean[0]) + mean[1])
    return unit(moved - moved.mean(0) + mean[1])


class Model:
    """Adapter and decoder; samples are lists of (token, visual row, is a target)."""

    def __init__(self, kind):
        self.config = json.loads((HERE / f"models/{kind}.config.json").read_text())
        weights = load_file(HERE / f"models/{kind}.safetensors")
        self.weights = {name: w.double().requires_grad_(True) for name, w in weights.items()}
        self.tokenizer = Tokenizer.from_file(str(HERE / f"tokenizers/{kind}/tokenizer.json"))
        self.chat = LLAMA if kind == "llama" else CHATML
        self.bos = self.encode("<|begin_of_text|>") if kind == "llama" else []

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def caption(self, text, visual):
        entries = [(token, False, False) for token in self.bos] + [(0, True, False)] * visual
        return entries + [(token, False, True) for token in self.encode(text.strip() + "\n")]

    def conversation(self, turns, visual):
        header, end, after, start = self.chat
        entries = [(token, False, False) for token in self.encode(start)]
        for turn in turns:
            answer = turn["from"] == "gpt"
            entries += [(token, False, False) for token in self.encode(header.format(role="assistant" if answer else "user"))]
            for i, part in enumerate(turn["value"].split("<image>")):
                entries += [(0, True, False)] * (visual if i else 0)
                entries += [(token, False, answer) for token in self.encode(part)]
            entries += [(token, False, answer) for token in self.encode(end)]
            entries += [(token, False, False) for token in self.encode(after)]
        return entries

    def linear(self, x, name):
        y = x @ self.weights[name + ".weight"].T
        return y + self.weights[name + ".bias"] if name + ".bias" in self.weights else y

    def norm(self, x, name):
        eps = self.config["rms_norm_eps"]
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * self.weights[name + ".weight"]

    def rotate(self, x):
        """x [heads, n, width]."""
        width = x.shape[-1]
        frequencies = self.config["rope_theta"] ** (-torch.arange(0, width, 2) / width)
        angles = torch.arange(x.shape[1])[:, None] * frequencies
        a, b = x[..., : width // 2], x[..., width // 2 :]
        return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)

    def attention(self, x, name):
        heads, shared = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        split = lambda part, count: self.linear(x, f"{name}.{part}_proj").view(len(x), count, -1).transpose(0, 1)
        q, k = self.rotate(split("q", heads)), self.rotate(split("k", shared))
        k, v = (t.repeat_interleave(heads // shared, 0) for t in (k, split("v", shared)))
        hidden = torch.full((len(x), len(x)), -math.inf).triu(1)
        p = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + hidden, -1)
        return self.linear((p @ v).transpose(0, 1).reshape(len(x), -1), f"{name}.o_proj")

    def nll(self, entries, embedding):
        """The sum over a sample's targets, and how many it has."""
        x = self.linear(embedding, "model.mm_projector.0")
        visual = self.linear(0.5 * x * (1 + torch.erf(x / math.sqrt(2))), "model.mm_projector.2")
        table = self.weights["model.embed_tokens.weight"]
        x = torch.stack([visual if seen else table[token] for token, seen, _ in entries])
        for layer in range(self.config["num_hidden_layers"]):
            p = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, p + "input_layernorm"), p + "self_attn")
            a = self.norm(x, p + "post_attention_layernorm")
            gate = torch.nn.functional.silu(self.linear(a, p + "mlp.gate_proj"))
            x = x + self.linear(gate * self.linear(a, p + "mlp.up_proj"), p + "mlp.down_proj")
        output = table if self.config["tie_word_embeddings"] else self.weights["lm_head.weight"]
        scores = torch.log_softmax(self.norm(x, "model.norm") @ output.T, -1)
        targets = [(i - 1, token) for i, (token, _, target) in enumerate(entries) if target and i > 0]
        return -sum(scores[i, token] for i, token in targets), len(targets)


def rate(step, base):
    """Transformers' cosine schedule; steps count from 0."""
    warmup = math.ceil(STEPS * WARMUP_RATIO)
    if step < warmup:
        return base * step / warmup
    return base * max(0.0, 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (STEPS - warmup))))


def train(model, samples, trains, base, decay):
    parameters = [w for name, w in model.weights.items() if trains(name)]
    optimizer = torch.optim.AdamW(parameters, lr=base, weight_decay=decay, betas=(0.9, 0.999), eps=1e-8)
    steps = []
    for step in range(STEPS):
        optimizer.zero_grad()
        losses = [model.nll(*sample) for sample in samples]
        loss = sum(nll for nll, _ in losses) / sum(count for _, count in losses)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.param_groups[0]["lr"] = rate(step, base)
        optimizer.step()
        steps.append([loss.item(), norm.item(), rate(step, base)])
    return steps


def stage1(kind):
    model = Model(kind)
    rows = torch.from_numpy(realign(*(np.load(HERE / f"training/{side}.npy") for side in ("text", "image"))))
    ids = (HERE / "training/text_ids.txt").read_text().split()
    texts = [json.loads(line) for line in (HERE / "training/texts.jsonl").read_text().splitlines()]
    samples = [(model.caption(t["text"], 2), rows[ids.index(t["id"])]) for t in texts]
    return train(model, samples, lambda name: "mm_projector" in name, 5e-3, 0.0)


def stage2(kind):
    model = Model(kind)
    rows = torch.from_numpy(np.load(HERE / "training/image.npy")).double()
    ids = json.loads((HERE / "training/image_ids.json").read_text())
    records = json.loads((HERE / "training/conversations.json").read_text())
    samples = [(model.conversation(r["conversations"], 1), rows[ids.index(r["image"])]) for r in records]
    return train(model, samples, lambda name: True, 1e-3, 0.1)


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "training/trajectories.json"
    kinds = ("llama", "qwen2")
    text = json.dumps({f"{stage.__name__}_{kind}": stage(kind) for stage in (stage1, stage2) for kind in kinds})
    out.write_text(text.replace("]], ", "]],\n") + "\n")

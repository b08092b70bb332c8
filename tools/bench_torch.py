"""The training steps of `benches/training.rs` in plain PyTorch, the same shapes: by default float32, eager, on the CPU.

    python tools/bench_torch.py [--device cuda] [--bf16] [--compile] SECONDS CASE [key=value ...]

CASE is stage1 (the decoder frozen), stage2 (everything trains; with rank=N low-rank additions and the adapter alone) or adapter;
--bf16 computes under autocast and keeps a frozen decoder in bfloat16. Prints one JSON object: rows (tokens, or the adapter's rows) per
second of the wall and of the CPU, and the GPU's peak memory in bytes.
`cargo bench --bench training` calls it with its own shapes when REALIGN_BENCH_PYTHON names a Python that has torch, and
`tools/measure_gpu.sh` with those of real models.
"""

import argparse
import contextlib
import json
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


class RmsNorm(nn.Module):
    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class LowRank(nn.Module):
    """A frozen linear layer and its low-rank addition, scaled by 2."""

    def __init__(self, inputs, outputs, rank):
        super().__init__()
        self.base = nn.Linear(inputs, outputs, bias=False)
        self.a, self.b = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)

    def forward(self, x):
        return self.base(x) + 2.0 * self.b(self.a(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.width = c["heads"], c["kv_heads"], c["hidden"] // c["heads"]
        h, kv, i = c["hidden"], self.kv_heads * self.width, c["intermediate"]
        self.norm1, self.norm2 = RmsNorm(h), RmsNorm(h)
        rank = c.get("rank", 0)
        linear = lambda a, b: LowRank(a, b, rank) if rank else nn.Linear(a, b, bias=False)
        self.q, self.k, self.v, self.o = linear(h, h), linear(h, kv), linear(h, kv), linear(h, h)
        self.gate, self.up, self.down = linear(h, i), linear(h, i), linear(i, h)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        a = self.norm1(x)
        split = lambda y, heads: y.view(b, t, heads, self.width).transpose(1, 2)
        q, k, v = split(self.q(a), self.heads), split(self.k(a), self.kv_heads), split(self.v(a), self.kv_heads)

        def turn(y):
            left, right = y.chunk(2, -1)
            return y * cos + torch.cat((-right, left), -1) * sin

        times = self.heads // self.kv_heads
        k, v = (y.repeat_interleave(times, 1) for y in (turn(k), v))
        mixed = F.scaled_dot_product_attention(turn(q), k, v, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).reshape(b, t, -1))
        a = self.norm2(x)
        return x + self.down(F.silu(self.gate(a)) * self.up(a))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.table = nn.Embedding(c["vocabulary"], c["hidden"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["layers"]))
        self.norm, self.head = RmsNorm(c["hidden"]), nn.Linear(c["hidden"], c["vocabulary"], bias=False)
        if c.get("tied"):
            self.head.weight = self.table.weight
        self.recompute = bool(c.get("recompute"))
        width = c["hidden"] // c["heads"]
        angles = torch.outer(torch.arange(c["length"]).float(), 10000.0 ** (-torch.arange(0, width, 2) / width))
        self.register_buffer("cos", torch.cat((angles, angles), -1).cos())
        self.register_buffer("sin", torch.cat((angles, angles), -1).sin())

    def forward(self, visual, ids):
        x = torch.cat((visual[:, None], self.table(ids).to(visual.dtype)), 1)
        for layer in self.layers:
            if self.recompute:
                x = checkpoint(layer, x, self.cos, self.sin, use_reentrant=False)
            else:
                x = layer(x, self.cos, self.sin)
        return self.head(self.norm(x[:, :-1]))


def mlp(c):
    return nn.Sequential(nn.Linear(c["input"], c["hidden"]), nn.GELU(), nn.Linear(c["hidden"], c["hidden"]))


def language(c, frozen, how):
    with torch.device(how.device):
        adapter, decoder = mlp(c), Decoder(c)
        x = torch.randn(c["batch"], c["input"])
        ids = torch.randint(c["vocabulary"], (c["batch"], c["length"] - 1))
    for name, p in decoder.named_parameters():
        p.requires_grad = not frozen and (not c.get("rank") or ".a." in name or ".b." in name)
        if how.bf16 and not p.requires_grad:
            p.data = p.data.to(torch.bfloat16)
    trained = [p for p in [*adapter.parameters(), *decoder.parameters()] if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
    forward = torch.compile(decoder) if how.compile else decoder
    cast = torch.autocast(how.device, torch.bfloat16) if how.bf16 else contextlib.nullcontext()

    def step():
        optimizer.zero_grad()
        with cast:
            logits = forward(adapter(x), ids)
            loss = F.cross_entropy(logits.flatten(0, 1).float(), ids.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        return loss.item()

    return step, c["batch"] * c["length"]


def adapter(c, how):
    model = mlp(c).to(how.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    x, upstream = (torch.randn(c["batch"], c[width], device=how.device) for width in ("input", "hidden"))

    def step():
        optimizer.zero_grad()
        model(x).backward(upstream)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step, c["batch"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("seconds", type=float)
    parser.add_argument("case", choices=("stage1", "stage2", "adapter"))
    parser.add_argument("sizes", nargs="*")
    how = parser.parse_args()
    c = {key: int(value) for key, value in (pair.split("=") for pair in how.sizes)}
    torch.manual_seed(1)
    step, rows = adapter(c, how) if how.case == "adapter" else language(c, how.case == "stage1", how)
    wait = torch.cuda.synchronize if how.device == "cuda" else lambda: None
    for _ in range(2):
        step()
    wait()
    start, cpu, steps = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < how.seconds:
        step()
        steps += 1
        wait()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    rates = {"rows_per_s": steps * rows / wall, "rows_per_cpu_s": steps * rows / cpu}
    memory = torch.cuda.max_memory_allocated() if how.device == "cuda" else None
    print(json.dumps({**rates, "threads": torch.get_num_threads(), "memory": memory}))


if __name__ == "__main__":
    main()

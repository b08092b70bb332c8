"""The training steps of `benches/training.rs` in plain PyTorch on the CPU: float32, eager, the same shapes.

    python tools/bench_torch.py SECONDS CASE [key=value ...]

CASE is stage1 (the decoder frozen), stage2 (everything trains) or adapter; prints one JSON object: rows (tokens, or the
adapter's rows) per second of the wall and of the CPU.
`cargo bench --bench training` calls it with its own shapes when REALIGN_BENCH_PYTHON names a Python that has torch.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class RmsNorm(nn.Module):
    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.width = c["heads"], c["kv_heads"], c["hidden"] // c["heads"]
        h, kv, i = c["hidden"], self.kv_heads * self.width, c["intermediate"]
        self.norm1, self.norm2 = RmsNorm(h), RmsNorm(h)
        linear = lambda a, b: nn.Linear(a, b, bias=False)
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
        width = c["hidden"] // c["heads"]
        angles = torch.outer(torch.arange(c["length"]).float(), 10000.0 ** (-torch.arange(0, width, 2) / width))
        self.cos, self.sin = torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin()

    def forward(self, visual, ids):
        x = torch.cat((visual[:, None], self.table(ids)), 1)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return self.head(self.norm(x[:, :-1]))


def mlp(c):
    return nn.Sequential(nn.Linear(c["input"], c["hidden"]), nn.GELU(), nn.Linear(c["hidden"], c["hidden"]))


def language(c, frozen):
    adapter, decoder = mlp(c), Decoder(c)
    for p in decoder.parameters():
        p.requires_grad = not frozen
    trained = [p for p in [*adapter.parameters(), *decoder.parameters()] if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)
    x = torch.randn(c["batch"], c["input"])
    ids = torch.randint(c["vocabulary"], (c["batch"], c["length"] - 1))

    def step():
        optimizer.zero_grad()
        logits = decoder(adapter(x), ids)
        F.cross_entropy(logits.flatten(0, 1), ids.flatten()).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return step, c["batch"] * c["length"]


def adapter(c):
    model = mlp(c)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    x, upstream = torch.randn(c["batch"], c["input"]), torch.randn(c["batch"], c["hidden"])

    def step():
        optimizer.zero_grad()
        model(x).backward(upstream)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step, c["batch"]


def main():
    seconds, case = float(sys.argv[1]), sys.argv[2]
    c = {key: int(value) for key, value in (pair.split("=") for pair in sys.argv[3:])}
    torch.manual_seed(1)
    step, rows = adapter(c) if case == "adapter" else language(c, case == "stage1")
    for _ in range(2):
        step()
    start, cpu, steps = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        step()
        steps += 1
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    rates = {"rows_per_s": steps * rows / wall, "rows_per_cpu_s": steps * rows / cpu}
    print(json.dumps({**rates, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()

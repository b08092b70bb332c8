"""What statistics of 10⁹ rows and data-parallel training cost on many machines, by arithmetic: prints the tables of docs/scale.md.

Rates with `measured` are realign's own, with the command in the page; those of wires and of tensor cores are of data sheets.
"""

from __future__ import annotations

import math

# --- statistics: rows of 1280 columns in f16
ROWS, WIDTH, BYTES = 1e9, 1280, 2
#: Rows a second of a core, and bytes of a value: measured.
CORE = {"`Moments`": (490e3, 31_515), "`Covariance`, exact": (4.2e3, 26_287_575), "`Covariance`, fast": (26e3, 13_149_239), "`Ranking`": (5.1e3, 34_153_420)}
#: Rows a second through a GPU: 4 GB/s from the host's memory, measured on an H100. There alone it takes 67 million rows a second.
GPU = 4e9 / (WIDTH * BYTES)
#: Seconds to take a value in: unpickling and adding, measured.
MERGE = {"`Moments`": 1e-4, "`Covariance`, exact": 0.117, "`Covariance`, fast": 0.02, "`Ranking`": 0.055}
#: Bytes a second: of a worker's network card of 25 Gb/s, and of a storage that all workers share.
CARD, STORE = 25e9 / 8, 100e9
#: Values that one task adds.
FAN_IN = 8

# --- training: Llama-3-8B
LAYERS, HIDDEN, MLP, KEYS, VOCABULARY, HEADS_OUT = 32, 4096, 14336, 1024, 128256, 4096
RANK, EMBEDDING = 16, 1280
TOKENS = 16_384  # of a GPU in a step
#: FLOP/s that a GPU reaches: f32 products and tensor cores as measured on an H100 (benchmarks.md), and 40% of its data sheet's 989 TFLOP/s.
SPEEDS = {"29 TFLOP/s (f32, measured)": 29e12, "50 TFLOP/s (f16, measured)": 50e12, "400 TFLOP/s (40% of the data sheet)": 400e12}
#: Bytes a second out of a GPU, and into it at the same time, by data sheet.
WIRES = {"NVLink 4, 450 GB/s": 450e9, "400 Gb/s": 50e9, "100 Gb/s": 12.5e9}
#: Seconds of a message.
LATENCY = 20e-6


def si(x: float, unit: str) -> str:
    """Three digits and a prefix."""
    for size, prefix in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]:
        if x >= size:
            return f"{x / size:.3g} {prefix}{unit}"
    return f"{x:.3g} {unit}"


def time(seconds: float) -> str:
    for size, unit in [(86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")]:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def reading(workers: int, rate: float) -> float:
    """Seconds until `workers`, each of which counts `rate` rows a second, have read all rows."""
    row = WIDTH * BYTES
    return ROWS * row / min(workers * min(rate * row, CARD), STORE)


def merging(workers: int, bytes: int, seconds: float) -> float:
    """Seconds of a tree of merges, whose tasks take in FAN_IN values each, one after the other, over a network card."""
    levels = math.ceil(math.log(workers, FAN_IN)) if workers > 1 else 0
    return levels * FAN_IN * (bytes / CARD + seconds)


def statistics() -> str:
    rows = []
    for name, (rate, size) in CORE.items():
        for workers in [16, 256, 4096]:
            read, merge = reading(workers, rate), merging(workers, size, MERGE[name])
            rows.append([name, f"{workers} cores", time(read), si(workers * size, "B"), time(merge), time(read + merge)])
    for gpus in [8, 64]:
        read, merge = reading(gpus, GPU), merging(gpus, CORE["`Moments`"][1], MERGE["`Moments`"])
        rows.append(["`Moments`", f"{gpus} GPUs", time(read), si(gpus * CORE["`Moments`"][1], "B"), time(merge), time(read + merge)])
    head = ["10⁹ rows × 1280, f16 (" + si(ROWS * WIDTH * BYTES, "B") + ")", "workers", "count", "partial sums", "merge", "together"]
    return table(head, rows)


def ends() -> str:
    rows = []
    row = WIDTH * BYTES
    for name, (rate, size) in CORE.items():
        store = STORE / min(rate * row, CARD)
        # More workers than make counting as short as merging gain nothing.
        workers = next((2**k for k in range(1, 31) if ROWS / (2**k * min(rate, CARD / row)) < merging(2**k, size, MERGE[name])), None)
        rows.append([name, si(rate * row, "B/s"), f"{store:,.0f}", "none below 10⁹" if workers is None else f"{workers:,}"])
    return table(["", "a core reads", f"cores that fill {STORE / 1e9:.0f} GB/s of storage", "cores from which merging takes longer than counting"], rows)


def parameters() -> dict[str, int]:
    """Numbers that are trained, and so sent, in each kind of training."""
    attention = 2 * HIDDEN * HEADS_OUT + 2 * HIDDEN * KEYS
    block = attention + 3 * HIDDEN * MLP + 2 * HIDDEN
    everything = LAYERS * block + 2 * VOCABULARY * HIDDEN + HIDDEN
    adapter = EMBEDDING * HIDDEN + HIDDEN + HIDDEN * HIDDEN + HIDDEN
    sides = 2 * (HIDDEN + HEADS_OUT) + 2 * (HIDDEN + KEYS) + 3 * (HIDDEN + MLP)
    return {"adapter": adapter, f"LoRA {RANK} + adapter": LAYERS * RANK * sides + adapter, "all": everything + adapter}


def reduction(ranks: int, bytes: float, wire: float) -> float:
    """Seconds of slices that are summed in the order of ranks where they belong, and sent to all: to and from all others at once."""
    return 2 * (ranks - 1) * (bytes / ranks / wire + LATENCY)


def training(bytes_of_number: int) -> str:
    decoder = parameters()["all"] - parameters()["adapter"]
    rows = []
    for name, count in parameters().items():
        work = (6 if name == "all" else 4) * decoder * TOKENS
        for ranks in [8, 64]:
            cells = [name, si(count * bytes_of_number, "B"), f"{ranks}", si(2 * (ranks - 1) / ranks * count * bytes_of_number, "B")]
            sent = [reduction(ranks, count * bytes_of_number, wire) for wire in WIRES.values()]
            cells += [time(seconds) for seconds in sent]
            cells += [" / ".join(f"{100 / (1 + seconds / (work / speed)):.0f}" for seconds in sent) for speed in SPEEDS.values()]
            rows.append(cells)
    head = ["learns", "gradients", "GPUs", "sent by each", *WIRES, *(f"% of the time at work, {speed}" for speed in SPEEDS)]
    return table(head, rows)


def strong() -> str:
    """GPUs beyond which a step of a fixed batch spends more time in sending than in computing."""
    decoder = parameters()["all"] - parameters()["adapter"]
    batch = 64 * TOKENS
    rows = []
    for name, count in parameters().items():
        work = (6 if name == "all" else 4) * decoder * batch
        cells = [name]
        for wire in WIRES.values():
            found = [next((n for n in range(2, 100_000) if work / n / speed < reduction(n, 4 * count, wire)), 100_000) for speed in SPEEDS.values()]
            cells.append(" / ".join(f"{n:,}" for n in found))
        rows.append(cells)
    return table([f"learns, {batch:,} tokens a step", *WIRES], rows)


def main() -> None:
    print(statistics())
    print(ends())
    print(training(4))
    print(strong(), end="")


if __name__ == "__main__":
    main()

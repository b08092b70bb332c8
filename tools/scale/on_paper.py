"""What statistics of 10⁹ rows and data-parallel training cost on many machines, by arithmetic: prints the tables of docs/scale.md.

usage: on_paper.py [statistics|ends|training|strong ...]

Rates with `measured` are realign's own, with the command in the page; those of wires and of tensor cores are of data sheets.
"""

from __future__ import annotations

import math
import sys

# --- statistics: rows of 1280 columns in f16
ROWS, WIDTH, BYTES = 1e9, 1280, 2
#: Rows a second of a core (of f16 for `Moments`, of f32 for the others, which arithmetic bounds), and bytes of a value: measured.
CORE = {"`Moments`": (816e3, 31_515), "`Covariance`, exact": (4.4e3, 26_287_575), "`Covariance`, fast": (19e3, 13_149_239), "`Ranking`": (3.4e3, 34_153_420)}
#: Cores of a machine, and bytes a second of its network card: 25 Gb/s.
CORES, CARD = 16, 25e9 / 8
#: Bytes a second to a GPU from the host's memory, measured on an H100, and of the network card of a machine with eight of them: 400 Gb/s.
GPU, GPU_CARD, GPUS = 4e9, 50e9, 8
#: Bytes a second of a storage that all share.
STORE = 100e9
#: Seconds to take a value in: unpickling and adding, measured.
MERGE = {"`Moments`": 3e-5, "`Covariance`, exact": 0.076, "`Covariance`, fast": 0.025, "`Ranking`": 0.074}
#: Values that one task adds.
FAN_IN = 8

# --- training: Llama-3-8B
LAYERS, HIDDEN, MLP, KEYS, VOCABULARY, HEADS_OUT = 32, 4096, 14336, 1024, 128256, 4096
RANK, EMBEDDING = 16, 1280
TOKENS = 16_384  # of a GPU in a step
NUMBER = 4  # bytes of a gradient's number
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


def machine(rate: float) -> float:
    """Bytes a second that a machine reads and counts, whose cores take `rate` rows each."""
    return min(CORES * rate * WIDTH * BYTES, CARD)


def reading(machines: int, each: float) -> float:
    """Seconds until all rows were read, by machines that take `each` bytes a second."""
    return ROWS * WIDTH * BYTES / min(machines * each, STORE)


def merging(machines: int, bytes: int, seconds: float) -> float:
    """Seconds of a tree of merges, whose tasks take in FAN_IN values each, one after the other, over a network card; a machine has added its own."""
    levels = math.ceil(math.log(machines, FAN_IN)) if machines > 1 else 0
    return levels * FAN_IN * (bytes / CARD + seconds)


def statistics() -> str:
    rows = []
    for name, (rate, size) in CORE.items():
        for machines in [1, 8, 64]:
            read, merge = reading(machines, machine(rate)), merging(machines, size, MERGE[name])
            rows.append([name, f"{machines}, {CORES} cores each", time(read), si(machines * size, "B"), time(merge), time(read + merge)])
    name, each = "`Moments`", min(GPUS * GPU, GPU_CARD)
    for machines in [1, 8]:
        read, merge = reading(machines, each), merging(machines, CORE[name][1], MERGE[name])
        rows.append([name, f"{machines}, {GPUS} GPUs each", time(read), si(machines * CORE[name][1], "B"), time(merge), time(read + merge)])
    head = [f"10⁹ rows × 1280, f16 ({si(ROWS * WIDTH * BYTES, 'B')})", "machines", "read and count", "partial sums", "merge", "together"]
    return table(head, rows)


def ends() -> str:
    rows = []
    for name, (rate, size) in CORE.items():
        each = machine(rate)
        # More machines than make counting as short as merging gain nothing, whatever the storage gives.
        most = next(2**k for k in range(1, 40) if ROWS * WIDTH * BYTES / (2**k * each) < merging(2**k, size, MERGE[name]))
        rows.append([name, f"{si(each, 'B/s')} ({'the card' if each == CARD else 'its cores'})", f"{STORE / each:,.0f}", f"{most:,}"])
    return table(["", "a machine reads", f"machines that use up {si(STORE, 'B/s')} of storage", "machines from which merging takes longer than counting"], rows)


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


def training() -> str:
    decoder = parameters()["all"] - parameters()["adapter"]
    rows = []
    for name, count in parameters().items():
        work = (6 if name == "all" else 4) * decoder * TOKENS
        for ranks in [8, 64]:
            cells = [name, si(count * NUMBER, "B"), f"{ranks}", si(2 * (ranks - 1) / ranks * count * NUMBER, "B")]
            sent = [reduction(ranks, count * NUMBER, wire) for wire in WIRES.values()]
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
            found = [next((n for n in range(2, 100_000) if work / n / speed < reduction(n, NUMBER * count, wire)), 100_000) for speed in SPEEDS.values()]
            cells.append(" / ".join(f"{n:,}" for n in found))
        rows.append(cells)
    return table([f"learns, {batch:,} tokens a step", *WIRES], rows)


TABLES = {"statistics": statistics, "ends": ends, "training": training, "strong": strong}


def main() -> None:
    print("\n".join(TABLES[name]() for name in sys.argv[1:] or TABLES), end="")


if __name__ == "__main__":
    main()

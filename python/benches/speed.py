"""What Python costs: against the library on slices, against NumPy, and for small batches.

    cargo build --release --example align_in_turns
    python python/benches/speed.py target/release/examples/align_in_turns

Each is run in turns with the other, with the threads of this process (RAYON_NUM_THREADS, OMP_NUM_THREADS, OPENBLAS_NUM_THREADS).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import realign

ROWS, WIDTH, TURNS = 100_000, 1280, 7


def cloud(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((ROWS, WIDTH), dtype=np.float32)
    rows += rng.standard_normal(WIDTH, dtype=np.float32)
    return rows


def published(text: Any, image: Any) -> Any:
    """ReAlign as its script has it, in NumPy and float32."""

    def unit(rows: Any) -> Any:
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-10)

    y, x = unit(text), unit(image)
    mean, target = y.mean(axis=0), x.mean(axis=0)
    spread = [np.mean(np.sum((rows - middle) ** 2, axis=1)) for rows, middle in ((y, mean), (x, target))]
    moved = unit(target + np.sqrt(spread[1] / (spread[0] + 1e-10)) * (y - mean))
    return unit(moved - moved.mean(axis=0) + target)


def seconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    text, image = cloud(1), cloud(2)
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in (("text", text), ("image", image)):
            np.save(Path(folder) / f"{name}.npy", rows)
        arguments = [sys.argv[1], f"{folder}/text.npy", f"{folder}/image.npy"]
        rust = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert rust.stdin and rust.stdout and rust.stdout.readline() == "ready\n"
        found: dict[str, list[float]] = {"python": [], "library": [], "numpy": []}
        for turn in range(TURNS + 1):
            rust.stdin.write("\n")
            rust.stdin.flush()
            library = float(rust.stdout.readline().split()[0])
            mine = seconds(lambda: realign.fit(text, image, device="host").apply(text, device="host"))
            if turn > 0:
                # The first of each warms up.
                found["python"].append(mine)
                found["library"].append(library)
            if 0 < turn <= 3:
                found["numpy"].append(seconds(lambda: published(text, image)))
        rust.stdin.close()
        rust.wait()
    middle = {name: statistics.median(times) for name, times in found.items()}
    print({name: [round(t, 3) for t in times] for name, times in found.items()})
    ratio = statistics.median([p / r for p, r in zip(found["python"], found["library"], strict=True)])
    print(f"fit + apply of {ROWS} x {WIDTH}: {middle['python']:.3f} s, {ratio:.3f} x the library on slices, NumPy takes {middle['numpy'] / middle['python']:.2f} x")
    batch = text[:1000].copy()
    sums = realign.Moments(WIDTH)
    # A batch without rows costs what a call costs.
    for rows, name in ((batch, "1,000 rows of 1280"), (batch[:0], "no rows, the call alone")):
        times = [seconds(lambda: sums.update(rows)) for _ in range(2000)]
        print(f"Moments.update of {name}: median {1e6 * statistics.median(times):.1f} us, least {1e6 * min(times):.1f} us")


main()

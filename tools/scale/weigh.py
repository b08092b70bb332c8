"""What values of 1280 columns weigh and take, for docs/scale.md: RAYON_NUM_THREADS=1 python weigh.py"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import realign

ROWS, WIDTH, TURNS = 20_000, 1280, 5


def best(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of a few turns."""
    seconds = []
    for _ in range(TURNS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    rows = np.random.default_rng(0).normal(0.3, 1.0, size=(ROWS, WIDTH)).astype(np.float32)
    kinds: dict[str, Callable[[], Any]] = {
        "Moments": lambda: realign.Moments.of(rows),
        "Covariance, exact": lambda: realign.Covariance.of(rows, device="host"),
        "Covariance, fast": lambda: realign.Covariance.of(rows, mode="fast", device="host"),
        "Ranking": lambda: realign.Ranking.fit({"text": rows}, device="host"),
    }
    for name, count in kinds.items():
        value = count()
        data = pickle.dumps(value)
        other = pickle.loads(data)
        seconds = [best(call) for call in (lambda: pickle.dumps(value), lambda: pickle.loads(data), lambda: value.__ior__(other))]
        shown = ", ".join(f"{what} {1e3 * s:.2f} ms" for what, s in zip(["pickle", "unpickle", "add"], seconds))
        print(f"{name}: {len(data):,} bytes, {ROWS / best(count):,.0f} rows/s; {shown}", flush=True)
    st = realign.fit(rows, -rows, device="host")
    print(f"Statistics: {len(pickle.dumps(st)):,} bytes, apply {ROWS / best(lambda: st.apply(rows, device='host')):,.0f} rows/s")


if __name__ == "__main__":
    main()

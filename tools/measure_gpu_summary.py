"""The short table at the end of `tools/measure_gpu.sh`, and summary.json beside it.

    python tools/measure_gpu_summary.py OUT
"""

import json
import sys
from pathlib import Path


def load(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def steps(out, parts):
    """Tokens per second of each model, stage and program; None for what failed."""
    table = {}
    for name, code, _ in parts:
        if "-stage" not in name:
            continue
        torch = name.startswith("torch-")
        shape, stage, way = name.removeprefix("torch-").split("-")
        row = table.setdefault(f"{shape}, {stage.replace('stage', 'stage ')}", {})
        rate = None
        if code == 0 and torch:
            last = (out / f"{name}.out").read_text().splitlines()[-1]
            rate = json.loads(last)["rows_per_s"]
        elif code == 0:
            cases = (load(out / f"{name}.json") or {}).get("results", [])
            rate = next((c["items_per_s"] for c in cases if c.get("items_per_s")), None)
        row[f"PyTorch bf16 {way}" if torch else f"realign {way}"] = rate
    return table


def kernels(bench):
    """Name, rate as a share of what the device can do at most."""
    cases = (bench or {}).get("results", [])
    return {c["name"]: c.get("fraction_of_roofline") for c in cases if c.get("kind") == "kernel"}


def main():
    out = Path(sys.argv[1])
    lines = [line.rsplit(" ", 2) for line in (out / "parts.txt").read_text().splitlines()]
    parts = [(name, int(code), int(seconds)) for name, code, seconds in lines]
    bench = load(out / "bench.json")
    summary = {
        "parts": [{"name": n, "exit_code": c, "seconds": s} for n, c, s in parts],
        "device": (bench or {}).get("device"),
        "kernels_share_of_roofline": kernels(bench),
        "tokens_per_second": steps(out, parts),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    text = []
    for name, share in summary["kernels_share_of_roofline"].items():
        if share is not None:
            text.append(f"{name:<44} {100 * share:6.1f}% of the roofline")
    for name, row in summary["tokens_per_second"].items():
        cells = [f"{way} {'failed' if rate is None else f'{rate:,.0f}'}" for way, rate in row.items()]
        text.append(f"{name:<20} tokens/s: " + ", ".join(cells))
    for name, code, seconds in parts:
        if code != 0:
            text.append(f"{name}: failed with {code} after {seconds} s; see {name}.err")
    (out / "summary.txt").write_text("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()

"""The cases of `realign bench` in NumPy, PyTorch and other Rust libraries, on the same shapes, beside realign's own results in one run.

    python tools/bench_peers.py REALIGN [--device host] [--peer NAME]... [--torch-device cpu|cuda] [--quick] [--encoders] [--out DIR]

Peers: numpy (the default), torch, and, with `cargo build --release --manifest-path tools/peers/Cargo.toml` done before, burn, candle, faer and
nalgebra. REALIGN is the program; it runs first and after the peers, and the better of the two counts. Prints a table of ratios and writes one
results file for each peer, of the form that `realign bench --compare` reads. With --encoders it is image towers of real shapes instead, in
Transformers with PyTorch (peer torch); --filter takes those whose name contains a text.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))


def numpy_cases(s):
    rng = np.random.default_rng(1)
    n, d, m, t, h = s["rows"], s["width"], s["side"], s["tokens"], s["hidden"]
    rows = (rng.random((n, d), dtype=np.float32) * 2 - 0.9).astype(np.float32)
    a, b = rng.random((m, m), dtype=np.float32), rng.random((m, m), dtype=np.float32)
    v = (rng.random(d, dtype=np.float32) - 0.5) / 50
    unit = lambda x: x / np.sqrt(np.einsum("ij,ij->i", x, x))[:, None]

    def apply():
        y = unit(rows)
        y -= v
        y *= np.float32(0.75)
        y += v
        return unit(y)

    def covariance():
        x = unit(rows)
        x -= x.mean(0, dtype=np.float64).astype(np.float32)
        return x.T @ x / n

    queries, base = unit(rows[: s["neighbours"]]), unit(rows[-s["neighbours"] :])

    def neighbours():
        found = []
        for first in range(0, len(queries), 1000):
            c = queries[first : first + 1000] @ base.T
            found.append(np.argpartition(-c, 10, axis=1)[:, :10])
        return np.concatenate(found)

    logits = rng.random((t, s["vocabulary"]), dtype=np.float32)
    square = np.linalg.qr(rng.standard_normal((d, d)))[0]
    square = square / np.arange(1, d + 1) @ square.T
    # In f64, which rounds where realign's are exact: products of f64, and both singular value decompositions that angles need.
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    frames = [np.linalg.qr(rng.standard_normal((d, min(16, d))))[0].T for _ in range(2)]

    def angles():
        inside = frames[0] @ frames[1].T
        outside = frames[1] - inside.T @ frames[0]
        return np.linalg.svd(inside, compute_uv=False), np.linalg.svd(outside, compute_uv=False)

    return {
        "normalize": lambda: unit(rows),
        "apply": apply,
        "exact product Aᵀ B": lambda: wide_a.T @ wide_b,
        "principal angles": angles,
        "product A B": lambda: a @ b,
        "product A Bᵀ": lambda: a @ b.T,
        "product Aᵀ B": lambda: a.T @ b,
        "covariance": covariance,
        "64 leading eigenvectors": lambda: np.linalg.eigh(square),
        "10 nearest neighbours": neighbours,
        "cross entropy": lambda: np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)),
    }


def torch_cases(s, device):
    import torch
    import torch.nn.functional as F

    from bench_torch import adapter, language

    torch.set_default_device(device)
    n, d, m, t, h = s["rows"], s["width"], s["side"], s["tokens"], s["hidden"]
    rows, a, b = torch.rand(n, d) * 2 - 0.9, torch.rand(m, m), torch.rand(m, m)
    v, x, w = (torch.rand(d) - 0.5) / 50, torch.rand(t, h) * 2 - 1, torch.rand(h)
    other = torch.rand(t, h)
    leaf = x.clone().requires_grad_()
    activated = F.gelu(leaf)
    labels = torch.arange(t) * 13 % s["vocabulary"]
    logits = torch.rand(t, s["vocabulary"])
    length = min(256, t)
    heads = h // 64
    q = torch.rand(t // length, heads, length, 64)
    k, val = torch.rand(t // length, heads // 4, length, 64), torch.rand(t // length, heads // 4, length, 64)
    unit = lambda y: F.normalize(y, dim=1)
    p, g, first, second = x.clone(), other, torch.zeros(t, h), torch.zeros(t, h)

    def covariance():
        y = unit(rows)
        y -= y.mean(0)
        return y.T @ y / n

    def adamw():
        first.lerp_(g, 0.1)
        second.mul_(0.999).addcmul_(g, g, value=0.001)
        p.addcdiv_(first, second.sqrt().add_(1e-8), value=-1e-4)

    queries, base = unit(rows[: s["neighbours"]]), unit(rows[-s["neighbours"] :])
    shape = {"layers": 6, "heads": 4, "kv_heads": 2, "intermediate": 688, "vocabulary": 11000, "length": 128}
    small = {**shape, "input": 1024, "hidden": 256, "batch": s["batch"]}
    wide = {**shape, "input": 1280, "hidden": 2048, "batch": 256}
    how = argparse.Namespace(device=device, bf16=False, compile=False)
    with torch.device(device):
        steps = {
            "adapter step": adapter(wide, how)[0],
            "stage 1 step": language(small, True, how)[0],
            "stage 2 step": language(small, False, how)[0],
        }
    return {
        "normalize": lambda: unit(rows),
        "apply": lambda: unit((unit(rows) - v) * 0.75 + v),
        "product A B": lambda: a @ b,
        "product A Bᵀ": lambda: a @ b.T,
        "product Aᵀ B": lambda: a.T @ b,
        "gelu": lambda: F.gelu(x),
        "gelu backward": lambda: torch.autograd.grad(activated, leaf, other, retain_graph=True),
        "silu gate": lambda: F.silu(x) * other,
        "rms norm": lambda: F.rms_norm(x, (h,), w),
        "layer norm": lambda: F.layer_norm(x, (h,), w, w),
        "cross entropy": lambda: F.cross_entropy(logits, labels, reduction="none"),
        "gradient norm": lambda: torch.linalg.vector_norm(x),
        "adamw": adamw,
        "attention": lambda: F.scaled_dot_product_attention(q, k, val, is_causal=True, enable_gqa=True),
        "covariance": covariance,
        "10 nearest neighbours": lambda: [(queries[i : i + 4000] @ base.T).topk(10) for i in range(0, len(queries), 4000)],
        **steps,
    }


def encoder_cases(device, quick):
    """CLIP's image tower in Transformers, random weights, f32, PyTorch's own attention."""
    import torch
    import transformers

    b = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, image_size=224, patch_size=32, projection_dim=512)
    l = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, image_size=336, patch_size=14, projection_dim=768)
    shapes = {"ViT-B/32": (b, (1, 32)), "ViT-L/14-336": (l, (1,) if quick else (1, 32))}
    cases = {}
    for name, (shape, counts) in shapes.items():
        model = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**shape)).eval().to(device)
        for count in counts:
            pixels = torch.rand(count, 3, shape["image_size"], shape["image_size"], device=device)

            def call(model=model, pixels=pixels):
                with torch.inference_mode():
                    return model(pixel_values=pixels).image_embeds.cpu()

            cases[f"{name}-shaped encoder of {count} image{'s' * (count > 1)}"] = call
    return cases


def measure(call, wait, seconds):
    start = time.perf_counter()
    call()
    wait()
    # What takes seconds is warm after one call, and needs no three.
    long = time.perf_counter() - start > 5 * seconds
    for _ in range(0 if long else 1):
        call()
    wait()
    samples, begin = [], time.perf_counter()
    while len(samples) < (2 if long else 3) or (time.perf_counter() - begin < seconds and len(samples) < 200):
        start = time.perf_counter()
        call()
        wait()
        samples.append(time.perf_counter() - start)
    return np.quantile(samples, [0.25, 0.5, 0.75]).tolist()


def rust_cases(peer, s, seconds):
    """Version, device, and quartiles of seconds by case, of a library that tools/peers runs."""
    program = pathlib.Path(__file__).parent / "peers/target/release/realign-peers"
    if not program.exists():
        sys.exit(f"{program} is not there; run: cargo build --release --manifest-path tools/peers/Cargo.toml")
    done = subprocess.run([program, peer, *(str(s[key]) for key in ("side", "rows", "width")), str(seconds)], check=True, stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    return found["version"], found["device"], {case["name"]: case["seconds"] for case in found["cases"]}


def results(name, version, device, cases, ours, wait, seconds):
    """A results file; a case is a call to be timed, or the quartiles that it took."""
    shapes = {r["name"]: r["shape"] for r in ours["results"]}
    out = []
    for case, call in cases.items():
        if case in shapes:
            q1, median, q3 = measure(call, wait, seconds) if callable(call) else call
            out.append({"name": case, "shape": shapes[case], "seconds": median, "seconds_q1": q1, "seconds_q3": q3, "timer": "wall"})
    return {"schema": 1, "tool": name, "version": version, "device": {"name": device}, "results": out}


def realign(program, args, names, path):
    line = [program, "bench", "--device", args.device, "--json", str(path), "--force", "--filter", ",".join(names)]
    subprocess.run(line + (["--quick"] if args.quick else []), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads(path.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("realign")
    parser.add_argument("--device", default="auto", help="of realign")
    parser.add_argument("--peer", action="append", choices=["numpy", "torch", "burn", "candle", "faer", "nalgebra"])
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--encoders", action="store_true", help="image towers alone, of peer torch")
    parser.add_argument("--filter", default="", help="towers whose name contains this")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    seconds = 0.2 if args.quick else 1.0
    # The sizes are realign's.
    sizes = realign(args.realign, args, ["gradient norm"], args.out / "realign.json")["sizes"]
    peers = {}
    for peer in ["torch"] if args.encoders else args.peer or ["numpy"]:
        if peer == "numpy":
            peers[peer] = (np.__version__, "cpu", numpy_cases(sizes), lambda: None)
        elif peer != "torch":
            peers[peer] = (*rust_cases(peer, sizes, seconds), None)
        else:
            import torch

            wait = torch.cuda.synchronize if args.torch_device == "cuda" else lambda: None
            where = torch.cuda.get_device_name() if args.torch_device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
            cases = encoder_cases(args.torch_device, args.quick) if args.encoders else torch_cases(sizes, args.torch_device)
            cases = {name: call for name, call in cases.items() if args.filter in name}
            peers[peer] = (torch.__version__, where, cases, wait)
    names = list(dict.fromkeys(case for _, _, cases, _ in peers.values() for case in cases))
    ours = realign(args.realign, args, names, args.out / "realign.json")
    files = {}
    for peer, (version, device, cases, wait) in peers.items():
        files[peer] = results(peer, version, device, cases, ours, wait, seconds)
        (args.out / f"{peer}.json").write_text(json.dumps(files[peer], indent=1, ensure_ascii=False) + "\n")
    again = realign(args.realign, args, names, args.out / "again.json")
    best = {r["name"]: r["seconds"] for r in ours["results"] if "seconds" in r}
    for r in again["results"]:
        best[r["name"]] = min(best.get(r["name"], np.inf), r.get("seconds", np.inf))
    print(f"realign {ours['version']} on {ours['device']['name']}; its rate over the peer's (above 1: realign is faster)")
    print(f"{'case':40} " + " ".join(f"{peer + ' ' + file['version']:>16}" for peer, file in files.items()) + "   ms")
    for name in names:
        if name in best:
            theirs = [next((r["seconds"] for r in f["results"] if r["name"] == name), None) for f in files.values()]
            print(f"{name:40} " + " ".join(f"{t / best[name]:16.2f}" if t else f"{'–':>16}" for t in theirs) + f"   {1e3 * best[name]:.2f}")


if __name__ == "__main__":
    main()

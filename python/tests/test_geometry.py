"""Measurements, comparisons, calibrations and frames."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import realign

from .conftest import GOLDEN, cloud, every_device, unit


def test_measure(text: Any, image: Any, tmp_path: Path) -> None:
    st = realign.fit(text, image, centroid="exact")
    found = realign.measure(text, image, st.apply(text))
    assert found["before"]["gap"] == pytest.approx(np.linalg.norm(unit(text).mean(axis=0) - unit(image).mean(axis=0)), abs=1e-6)
    assert found["gap"] < 1e-6 and (found["rows_source"], found["rows_target"], found["width"]) == (300, 250, 24)
    assert dict(found) == json.loads(json.dumps(dict(found))) and "device" in found and len(found) > 15
    assert found.html.startswith("<!DOCTYPE html>") and "<svg" in found.html
    shown = found._repr_html_()
    assert shown.startswith("<iframe") and "&lt;svg" in shown and '"' not in shown.split('srcdoc="')[1].split('"')[1].replace(' style=', "")
    assert all(svg.startswith("<") for svg in found.svgs.values()) and len(found.svgs) >= 3
    found.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == found.html
    alone = realign.measure(text, image)
    assert "before" not in alone and alone["gap"] == pytest.approx(st.gap)


def test_measure_of_pairs_and_frames(text: Any, image: Any) -> None:
    paired = realign.measure(text[:250], image, paired=True)
    assert set(paired) > set(realign.measure(text, image))
    with pytest.raises(ValueError, match="300 rows"):
        realign.measure(text, image, paired=True)
    frame = realign.Frame(text, image, rank=5)
    assert realign.measure(text, image, frame=frame)["frame_rank"] == 5
    with pytest.raises(ValueError, match="energy, rank"):
        realign.measure(text, image, frame=frame, rank=3)
    with pytest.raises(ValueError, match="mixing_k"):
        realign.measure(text[:10], image[:10])


def test_golden_numbers() -> None:
    """Numbers of independent NumPy code, as the library's own tests have them."""
    folder = GOLDEN / "geometry"
    for name, wanted in json.loads((folder / "expected.json").read_text()).items():
        if not (folder / f"{name}_text.npy").exists():
            continue
        found = realign.measure(folder / f"{name}_text.npy", folder / f"{name}_image.npy")
        for key in ("gap", "frechet_mean", "trace_source", "trace_target", "alpha_source", "effective_rank_source", "spectral_correlation"):
            assert found[key] == pytest.approx(wanted["measure"][key], rel=1e-5), (name, key)


def test_compare(text: Any, image: Any) -> None:
    found = realign.compare(text, image)
    assert set(found["methods"]) >= {"none", "realign", "ot", "anisoalign"} and "ridge" not in found["methods"]
    assert found["methods"]["realign"]["gap"] < found["methods"]["none"]["gap"]
    assert found["fitted_rows_source"] == 150 and "<svg" in found.html
    few = realign.compare(text[:250], image, methods=["none", "ridge"], paired=True)
    assert list(few["methods"]) == ["none", "ridge"]
    with pytest.raises(ValueError, match="sigma: is no option of none"):
        realign.compare(text, image, methods=["none"], sigma=0.1)


def test_calibrate(text: Any, image: Any) -> None:
    study = realign.calibrate(text, image, sizes=[20, 100], trials=3, domains={"a": (text, image), "b": (image, text)})
    assert [size["rows"] for size in study["sizes"]] == [20, 100] and len(study["sizes"][0]["gaps"]) == 3
    assert np.array(study["transfer"]["gap"]).shape == (2, 2) and study["method"] == "realign"
    st = realign.fit(text, image)
    assert not realign.calibrate(statistics=st, batch=cloud(1, 300, 24))["drift"]["recalibrate"]
    assert realign.calibrate(statistics=st, batch=image)["drift"]["recalibrate"]
    assert not realign.calibrate(statistics=st, batch=image, side="image")["drift"]["recalibrate"]
    for bad, said in [
        ({}, "nothing to do"),
        ({"text": text}, "needs both"),
        ({"batch": text}, "needs both"),
        ({"domains": {"a": (text, image)}}, "two or more"),
        ({"domains": {"a": text}}, "give a pair"),
        ({"statistics": st, "batch": text, "significance": 2.0}, "significance"),
        ({"statistics": st, "batch": text, "side": "left"}, "side"),
        ({"statistics": st, "batch": text, "sigma": 0.1}, "sigma"),
    ]:
        with pytest.raises(ValueError, match=said):
            realign.calibrate(**bad)


@pytest.mark.parametrize("device", every_device())
def test_frame(device: str, text: Any, image: Any, tmp_path: Path) -> None:
    frame = realign.Frame(text, image, rank=4, device=device)
    total = np.cov(unit(text).T, bias=True) + np.cov(unit(image).T, bias=True)
    values, vectors = np.linalg.eigh(total)
    leading = vectors[:, ::-1][:, :4].T
    assert frame.directions.shape == (4, 24)
    np.testing.assert_allclose(np.abs(frame.directions @ leading.T), np.eye(4), atol=1e-7)
    assert frame.energy == pytest.approx(values[::-1][:4].sum() / values.sum(), rel=1e-7)
    counted = [realign.Covariance.of(rows, device=device) for rows in (text, image)]
    assert realign.Frame(*counted, rank=4, device=device) == frame
    beta, gamma = frame.split(np.ones(24))
    np.testing.assert_allclose(beta + gamma, np.ones(24), atol=1e-12)
    np.testing.assert_allclose(frame.directions @ gamma, 0, atol=1e-12)
    radians, sine = frame.angles(realign.Frame(image, cloud(9, 300, 24), rank=4), device=device)
    assert radians.shape == (4,) and sine == pytest.approx(np.sin(radians.max()), abs=1e-9)
    frame.save(tmp_path / "f.safetensors")
    for twin in (realign.Frame.load(tmp_path / "f.safetensors"), pickle.loads(pickle.dumps(frame))):
        np.testing.assert_array_equal(twin.directions, frame.directions)
    assert (realign.Frame(text, image).energy or 0) >= 0.9
    with pytest.raises(ValueError, match="give one of them"):
        realign.Frame(text, image, energy=0.5, rank=3)
    with pytest.raises(ValueError, match="width"):
        realign.Frame(text, image[:, :5].copy())

"""Fits and applications against NumPy's formulas, and between devices."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import realign

from .conftest import cloud, every_device, unit


def formula(text: Any, image: Any) -> Any:
    """ReAlign in three lines, as published: anchor, trace, centroid."""
    y, x = unit(text), unit(image)
    scale = np.sqrt((x.var(axis=0).sum()) / (y.var(axis=0).sum() + 1e-10))
    moved = unit(x.mean(axis=0) + scale * (y - y.mean(axis=0)))
    return unit(moved - moved.mean(axis=0) + x.mean(axis=0))


@pytest.mark.parametrize("device", every_device())
@pytest.mark.parametrize(("dtype", "bound"), [(np.float16, 2e-3), (np.float32, 5e-7), (np.float64, 5e-7)])
def test_the_formula(device: str, dtype: Any, bound: float) -> None:
    text, image = cloud(1, 300, 24, dtype), cloud(2, 250, 24, dtype)
    st = realign.fit(text, image, device=device)
    assert (st.method, st.centroid, st.width, st.rows) == ("realign", "1", 24, (300, 250))
    aligned = st.apply(text, device=device)
    assert aligned.dtype == dtype and aligned.shape == text.shape and aligned.flags.c_contiguous
    np.testing.assert_allclose(aligned.astype(np.float64), formula(text, image), atol=bound)
    np.testing.assert_allclose(st.mean_text, unit(text).mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(st.mean_image, unit(image).mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(st.traces, [unit(rows).var(axis=0).sum() for rows in (text, image)], atol=1e-8)
    # A comparison that cannot fail is none.
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(aligned.astype(np.float64) + 10 * bound, formula(text, image), atol=bound)


def test_an_exact_centroid_leaves_no_gap(text: Any, image: Any) -> None:
    st = realign.fit(text, image, method="realign", centroid="exact")
    left = unit(st.apply(text, dtype=np.float64)).mean(axis=0) - unit(image).mean(axis=0)
    assert np.linalg.norm(left) < 1e-6 < st.gap
    assert st.residual_gap is not None and st.residual_gap < 1e-6
    assert realign.fit(text, image, centroid=3).centroid == "3"


@pytest.mark.parametrize("method", ["none", "mean-shift", "centre", "anchor", "anchor-trace", "c3", "blockwise", "ot", "anisoalign"])
def test_every_method_saves_and_pickles(method: str, text: Any, image: Any, tmp_path: Path) -> None:
    st = realign.fit(text, image, method=method)
    aligned = st.apply(text)
    assert np.isfinite(aligned).all()
    st.save(tmp_path / "s.safetensors")
    for twin in (realign.load(tmp_path / "s.safetensors"), pickle.loads(pickle.dumps(st))):
        assert twin == st and twin.method == method and repr(twin) == repr(st)
        np.testing.assert_array_equal(twin.apply(text), aligned)
    assert st != realign.fit(image, text, method=method)
    with pytest.raises(realign.FileError, match="overwrite=True"):
        st.save(tmp_path / "s.safetensors")
    st.save(tmp_path / "s.safetensors", overwrite=True)


def test_pairs_sides_and_options(text: Any, image: Any) -> None:
    with pytest.raises(realign.InputError, match="paired"):
        realign.fit(text[:250], image, method="ridge")
    ridge = realign.fit(text[:250], image, method="ridge", paired=True, shrinkage=1e-3)
    assert ridge.apply(text).shape == text.shape
    centre = realign.fit(text, image, method="centre")
    np.testing.assert_allclose(centre.apply(image, side="image"), unit(unit(image) - unit(image).mean(axis=0)), atol=1e-6)
    with pytest.raises(ValueError, match="only centre"):
        realign.fit(text, image).apply(image, side="image")
    with pytest.raises(ValueError, match="strength: is no option of realign"):
        realign.fit(text, image, strength=0.5)
    for bad in ({"method": "relign"}, {"centroid": 0}, {"centroid": "newton"}, {"method": "ot", "strength": 2.0}):
        with pytest.raises(ValueError, match=next(iter(bad)) if len(bad) == 1 else "strength"):
            realign.fit(text, image, **bad)


def test_moments_in_place_of_rows(text: Any, image: Any) -> None:
    y, x = realign.Moments(24), realign.Moments(24)
    y.update(text)
    x.update(image)
    assert realign.fit(y, x, method="anchor-trace") == realign.fit(text, image, method="anchor-trace")
    assert realign.fit(text, x) == realign.fit(text, image)
    with pytest.warns(realign.RealignWarning, match="anchor-trace"):
        assert realign.fit(y, x).method == "anchor-trace"
    with pytest.raises(realign.InputError, match="text's rows"):
        realign.fit(y, x, method="realign")


def test_files(text: Any, image: Any, tmp_path: Path) -> None:
    for i, part in enumerate(np.array_split(text, 3)):
        np.save(tmp_path / f"text_{i}.npy", part)
    np.save(tmp_path / "image.npy", image)
    patterns = [str(tmp_path / "text_*.npy"), [tmp_path / f"text_{i}.npy" for i in range(3)]]
    st = realign.fit(patterns[0], tmp_path / "image.npy")
    assert st == realign.fit(patterns[1], str(tmp_path / "image.npy")) == realign.fit(text, image)
    aligned = st.apply(text)
    np.testing.assert_array_equal(st.apply(patterns[0]), aligned)
    written = st.apply(patterns[0], out=tmp_path / "aligned", dtype="float16")
    assert len(written) == 3
    np.testing.assert_array_equal(np.concatenate([np.load(path) for path in written]), aligned.astype(np.float16))
    with pytest.raises(realign.FileError, match=r"missing\.npy"):
        realign.fit(tmp_path / "missing.npy", image)
    with pytest.raises(realign.InputError, match="out"):
        st.apply(text, out=tmp_path / "x.npy")


def test_devices_agree(text: Any, image: Any) -> None:
    fits = [realign.fit(text, image, device=device) for device in every_device()]
    assert all(st == fits[0] for st in fits)


def test_keywords_of_other_types_are_named(text: Any, image: Any) -> None:
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"method": "c3", "sigma": "a"}, TypeError, "sigma: 'a'"),
        ({"method": "c3", "seed": -1}, ValueError, "seed: -1"),
        ({"centroid": 1.5}, TypeError, r"centroid: 1\.5"),
        ({"centroid": -1}, ValueError, "centroid: '-1'"),
        ({"chunk_rows": 0}, ValueError, "chunk_rows"),
        ({"nonfinite": "drop"}, ValueError, "nonfinite"),
        ({"paired": "yes"}, TypeError, "paired: 'yes'"),
    ]
    for bad, kind, said in wrong:
        with pytest.raises(kind, match=said):
            realign.fit(text, image, **bad)


def test_options_without_effect_are_refused() -> None:
    text, image = cloud(1, 20, 8), cloud(2, 20, 8)
    refused: list[dict[str, Any]] = [{"paired": True}, {"seed": 5}]
    for options in refused:
        with pytest.raises(realign.InputError, match=next(iter(options))):
            realign.fit(text, image, device="host", **options)
    fitted = realign.fit(text, image, method="c3", seed=5, device="host")
    with pytest.raises(realign.InputError, match="out="):
        fitted.apply(text, format="npy")

"""Sums: exact, in any order, through pickles."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import realign

from .conftest import cloud, every_device, unit


def parts(rows: Any, sizes: list[int]) -> list[Any]:
    return np.split(rows, np.cumsum(sizes)[:-1])


@pytest.mark.parametrize("device", every_device())
def test_moments_of_numpy(device: str) -> None:
    rows = cloud(3, 1000, 20)
    m = realign.Moments(20, device=device)
    m.update(rows)
    assert (m.count, m.width, m.zero_rows, m.replaced) == (1000, 20, 0, 0)
    np.testing.assert_allclose(m.mean, unit(rows).mean(axis=0), atol=1e-9)
    assert m.trace == pytest.approx(unit(rows).var(axis=0).sum(), abs=1e-9)
    assert m == realign.Moments.of(rows, device="host")


@pytest.mark.parametrize("kind", [realign.Moments, realign.Covariance])
def test_neither_order_nor_partition_matters(kind: Any) -> None:
    rows = cloud(4, 500, 12)
    whole = kind.of(rows, device="host")
    for seed in range(5):
        rng = np.random.default_rng(seed)
        shuffled = rng.permutation(rows)
        cut = parts(shuffled, [1, 99, 250, 150])
        counted = [kind.of(part, device="host") for part in cut]
        rng.shuffle(counted)
        merged = kind(12, device="host")
        for part in pickle.loads(pickle.dumps(counted)):
            merged |= part
        assert merged == whole
        assert sum(counted) == whole
        assert counted[0] + counted[1] | counted[2] | counted[3] == whole
    assert kind.of(rows[1:], device="host") != whole
    assert kind(12) != whole and pickle.loads(pickle.dumps(kind(12))) == kind(12)


@pytest.mark.parametrize("kind", [realign.Moments, realign.Covariance])
def test_values_do_not_share(kind: Any, tmp_path: Path) -> None:
    a, b = kind.of(cloud(5, 50, 6), device="host"), kind.of(cloud(6, 60, 6), device="host")
    kept = a.copy()
    both = a | b
    assert a == kept and both.count == 110
    a |= b
    assert a == both != kept
    a |= a
    assert a.count == 220
    a.save(tmp_path / "m.safetensors")
    assert kind.load(tmp_path / "m.safetensors") == a
    with pytest.raises(TypeError):
        a |= 3
    with pytest.raises(ValueError, match="width"):
        a |= kind(7) if kind is realign.Moments else kind.of(cloud(1, 9, 7), device="host")
    with pytest.raises(TypeError):
        hash(a)


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_covariance_of_numpy(mode: str) -> None:
    rows = cloud(7, 800, 16)
    c = realign.Covariance.of(rows, mode=mode, device="host")
    assert (c.count, c.width, c.mode) == (800, 16, mode)
    np.testing.assert_allclose(c.matrix, np.cov(unit(rows).T, bias=True), atol=1e-10 if mode == "exact" else 1e-7)
    np.testing.assert_allclose(c.mean, unit(rows).mean(axis=0), atol=1e-7)
    assert c.trace == pytest.approx(np.trace(c.matrix), rel=1e-6) and 0 < c.error < 1e-4
    assert c.moments == realign.Moments.of(rows)


def test_a_bad_batch_leaves_the_sums() -> None:
    m = realign.Moments.of(cloud(8, 30, 4))
    kept = m.copy()
    bad = cloud(9, 30, 4)
    bad[3, 1] = np.inf
    with pytest.raises(ValueError, match="batch: inf at row 3, column 1"):
        m.update(bad)
    with pytest.raises(ValueError, match="width 5"):
        m.update(cloud(9, 3, 5))
    assert m == kept
    m.update(bad, nonfinite="zero")
    assert (m.count, m.replaced) == (60, 1)
    m.update(np.zeros((5, 4)))
    assert (m.count, m.zero_rows) == (65, 5)
    m.update(np.zeros((0, 4), np.float32))
    assert m.count == 65
    for width in (0, -1, 10**9):
        with pytest.raises((ValueError, OverflowError)):
            realign.Moments(width)
    with pytest.raises(ValueError, match="mode"):
        realign.Covariance(3, mode="rough")
    with pytest.raises(ValueError, match="no rows were counted"):
        _ = realign.Covariance(3).matrix


def test_damaged_bytes_are_refused() -> None:
    for value in (realign.Moments.of(cloud(1, 9, 4)), realign.Covariance.of(cloud(1, 9, 4), device="host")):
        made, arguments = value.__reduce__()
        for data in (b"", b"x" * 100, arguments[0][:-9]):
            with pytest.raises(realign.FileError):
                made(data, *arguments[1:])


@pytest.mark.parametrize("width", [0, 2**45, 2**62])
def test_widths_that_nothing_can_hold_are_refused(width: int) -> None:
    with pytest.raises(realign.InputError, match="width"):
        realign.Moments(width)
    with pytest.raises(realign.InputError, match="width"):
        realign.Covariance(width)


def test_a_covariance_of_no_rows_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(realign.InputError, match="no rows"):
        realign.Covariance(8).save(tmp_path / "c.safetensors")
    assert not list(tmp_path.iterdir())


def test_values_travel_to_other_processes() -> None:
    """Through a process that only ever sees pickles, as a worker does, in each protocol."""
    rows = cloud(21, 90, 5)
    values: list[Any] = [
        realign.Moments.of(rows),
        realign.Moments(5),
        realign.Covariance.of(rows, device="host"),
        realign.Covariance.of(rows, mode="fast", device="host"),
        realign.Covariance(5, mode="fast", device="host"),
        realign.Ranking.fit({"text": rows}, device="host"),
        realign.Ranking.empty(5),
        realign.fit(rows, cloud(22, 80, 5), device="host"),
    ]
    code = "import pickle, sys; sys.stdout.buffer.write(pickle.dumps(pickle.load(sys.stdin.buffer), int(sys.argv[1])))"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        sent = pickle.dumps(values, protocol)
        got = subprocess.run([sys.executable, "-c", code, str(protocol)], input=sent, capture_output=True, check=True).stdout
        assert pickle.loads(got) == values
        assert [pickle.dumps(value) for value in pickle.loads(got)] == [pickle.dumps(value) for value in values]


def test_damaged_rankings_and_operators_are_refused() -> None:
    rows = cloud(1, 9, 4)
    for value in (realign.Ranking.fit({"text": rows}), realign.fit(rows, -rows)):
        made, arguments = value.__reduce__()
        other = realign.Moments.of(rows).__reduce__()[1][0]
        for data in (b"", b"x" * 100, arguments[0][:-9], other):
            with pytest.raises(realign.FileError):
                made(data)


def test_a_centroid_step_by_parts() -> None:
    text, image = cloud(31, 400, 12), cloud(32, 300, 12)
    want = realign.fit(text, image, device="host")
    st = realign.fit(realign.Moments.of(text), realign.Moments.of(image), method="anchor-trace", device="host")
    moved = [st.moved_moments(part, device="host") for part in parts(text, [3, 197, 200])]
    assert sum(reversed(moved)) == sum(pickle.loads(pickle.dumps(moved))) == st.moved_moments(text, device="host")
    once = st.with_centroid_step(sum(moved, realign.Moments(12)))
    assert once == want and st.method == "anchor-trace"
    twice = once.with_centroid_step(sum((once.moved_moments(part, device="host") for part in parts(text, [399, 1])), realign.Moments(12)))
    assert twice == realign.fit(text, image, centroid=2, device="host")
    with pytest.raises(realign.InputError, match="as they are"):
        st.with_centroid_step(realign.Moments.of(text))
    with pytest.raises(realign.InputError, match=r"\[400, 12\]"):
        st.with_centroid_step(moved[0])
    with pytest.raises(realign.InputError, match="not int"):
        st.with_centroid_step(3)  # type: ignore[arg-type]
    with pytest.raises(realign.InputError, match="moved"):
        moved[0] += realign.Moments.of(text)
    with pytest.raises(realign.InputError, match="moved"):
        realign.fit(moved[0], image, method="anchor-trace")
    with pytest.raises(realign.InputError, match="anchor-trace"):
        realign.fit(text, image, method="mean-shift").moved_moments(text)

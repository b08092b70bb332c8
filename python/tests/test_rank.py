"""Scores of several collections on one scale."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import realign

from .conftest import cloud, unit


@pytest.fixture
def sets() -> dict[str, Any]:
    return {"text": cloud(11, 400, 16), "image": cloud(12, 600, 16)}


def test_scores_are_shares(sets: dict[str, Any]) -> None:
    r = realign.Ranking.fit(sets, queries={"text": cloud(13, 100, 16)})
    assert (r.width, r.collections, r.queries) == (16, {"text": 400, "image": 600}, {"text": 100})
    query = cloud(14, 1, 16)[0]
    raw = unit(sets["image"]) @ unit(query[None])[0]
    scores = r.scores(query, "image", raw)
    assert scores.shape == (600,) and scores.dtype == np.float64
    order = np.argsort(raw)
    assert (np.diff(scores[order]) >= 0).all()
    # The sample is the whole collection: the score of an item in the middle is that half score as high.
    assert scores[order[300]] == pytest.approx(-np.log10(0.5), abs=0.05)
    assert scores[order[-7]] == pytest.approx(-np.log10(0.01), abs=0.35)
    np.testing.assert_allclose(r.scores(query.astype(np.float64), "image", raw.astype(np.float32)), scores, rtol=1e-3)
    assert r.scores(query, "image", []).shape == (0,)
    for bad, said in [((query[:5], "image", raw), "16"), ((query, "sound", raw), "sound"), ((query, "image", raw * 9), "dot product"), ((query, "image", raw[None]), r"\[n\]")]:
        with pytest.raises(ValueError, match=said):
            r.scores(*bad)


def test_merging_is_exact(sets: dict[str, Any], tmp_path: Path) -> None:
    r = realign.Ranking.fit(sets, sample=64, seed=5)
    halves = [realign.Ranking.fit({name: rows[i::2] .copy() for name, rows in sets.items()}, sample=64, seed=5) for i in range(2)]
    assert halves[0] | halves[1] == r == halves[1] | halves[0]
    apart = realign.Ranking.fit({"image": sets["image"]}, sample=64, seed=5)
    apart |= pickle.loads(pickle.dumps(realign.Ranking.fit({"text": sets["text"]}, sample=64, seed=5)))
    assert apart == r != halves[0]
    r.save(tmp_path / "r.safetensors")
    assert realign.Ranking.load(tmp_path / "r.safetensors") == r == pickle.loads(pickle.dumps(r))
    with pytest.raises(ValueError, match="seed"):
        r |= realign.Ranking.fit(sets, sample=64, seed=6)


def test_parts_and_batches_come_to_the_whole(sets: dict[str, Any]) -> None:
    queries = {"question": cloud(16, 50, 16)}
    whole = realign.Ranking.fit(sets, queries=queries, sample=64, seed=5, device="host")
    grown = realign.Ranking.empty(16, sample=64, seed=5)
    assert (grown.width, grown.collections, grown.queries) == (16, {}, {}) and pickle.loads(pickle.dumps(grown)) == grown
    for name, rows in sets.items():
        for batch in np.array_split(rows, 7):
            grown.update({name: batch}, device="host")
        grown.update({name: rows[:0]}, device="host")
    grown.update({}, queries=queries, device="host")
    assert grown == whole and pickle.dumps(grown) == pickle.dumps(whole)
    parts = [realign.Ranking.empty(16, sample=64, seed=5) for _ in range(4)]
    for part, rows in zip(parts[1:], np.array_split(sets["text"], 3)):
        part.update({"text": rows}, device="host")
    parts[0].update({"image": sets["image"]}, queries=queries, device="host")
    kept = parts[1].copy()
    assert sum(parts) == whole == parts[2] + parts[0] + parts[3] + parts[1] and parts[1] == kept
    with pytest.raises(ValueError, match="width 5"):
        grown.update({"text": cloud(1, 9, 5)})
    with pytest.raises(ValueError, match="inf"):
        grown.update({"text": np.full((2, 16), np.inf), "image": sets["image"]})
    assert grown == whole
    with pytest.raises(TypeError):
        _ = grown + 3  # type: ignore[arg-type]
    with pytest.raises(realign.InputError, match="not int"):
        grown.merge(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no rows"):
        realign.Ranking.empty(4).save("nowhere.safetensors")
    for width, sample in [(0, 64), (16, 1)]:
        with pytest.raises(ValueError, match="width" if width == 0 else "sample"):
            realign.Ranking.empty(width, sample=sample)


def test_search(sets: dict[str, Any]) -> None:
    r = realign.Ranking.fit(sets)
    queries = cloud(15, 7, 16)
    found = r.search(queries, sets, score="raw", top=5)
    every = np.concatenate([unit(rows) for rows in sets.values()]) @ unit(queries).T
    for query in range(7):
        mine = found["query"] == query
        np.testing.assert_allclose(found["raw"][mine], np.sort(every[:, query])[::-1][:5], atol=2e-7)
        assert list(found["rank"][mine]) == [1, 2, 3, 4, 5]
        for name, row, raw in zip(found["collection"][mine], found["row"][mine], found["raw"][mine]):
            assert raw == pytest.approx(unit(sets[name][row][None])[0] @ unit(queries[query][None])[0], abs=2e-7)
    best = r.search(queries, sets, top=10)
    assert set(best["collection"]) == {"text", "image"} and (np.diff(best["score"].reshape(7, 10)) <= 0).all()
    assert (r.search(queries, sets, share=0.01, top=50)["score"] >= 1.9).all()
    for bad, said in [({"score": "best"}, "score"), ({"top": 0}, "top"), ({"nnn_alpha": 0.5}, "nnn_alpha"), ({"score": "nnn"}, "queries=")]:
        with pytest.raises(ValueError, match=said):
            r.search(queries, sets, **bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="width 5"):
        r.search(queries[:, :5].copy(), sets)
    with pytest.raises(ValueError, match="dict"):
        realign.Ranking.fit([sets["text"]])  # type: ignore[arg-type]

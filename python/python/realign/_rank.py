"""Search over several collections, with scores on one scale."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import _realign
from ._errors import InputError
from ._options import NonFinite, Rows, reading
from ._rows import vector


def _sets(sets: Mapping[str, Rows] | None, what: str) -> list[tuple[str, Rows]]:
    if sets is not None and not isinstance(sets, Mapping):
        raise InputError(f"{what}: give a dict of names and rows")
    return list((sets or {}).items())


class Ranking:
    """What is known of each collection: exact mean and covariance, and a reference sample of rows. Merges exactly, and pickles."""

    __slots__ = ("_inner",)

    def __init__(self, inner: _realign.Ranking) -> None:
        self._inner = inner

    @classmethod
    def fit(
        cls,
        collections: Mapping[str, Rows],
        *,
        queries: Mapping[str, Rows] | None = None,
        sample: int = 4096,
        seed: int = 0,
        nonfinite: NonFinite = "error",
        chunk_rows: int | None = None,
        key: str | None = None,
        column: str | None = None,
        device: str = "auto",
    ) -> Ranking:
        """Counts each collection once.

        Args:
            collections: Names and rows ``[n, d]``.
            queries: Kinds of queries and rows of such; a kind that is not given takes the statistics of the collection of its name.
            sample: Distinct rows of each reference sample at most.
            seed: Which rows the samples take.
            nonfinite, chunk_rows, key, column, device: As in :meth:`Statistics.apply`.
        """
        how = reading(nonfinite, chunk_rows, key, column)
        asked = (_sets(collections, "collections"), _sets(queries, "queries"))
        return cls(_realign.Ranking.fit(*asked, sample, seed, how, device))

    @classmethod
    def empty(cls, width: int, *, sample: int = 4096, seed: int = 0) -> Ranking:
        """Of no rows yet: for :meth:`update`, and for merging where a part may have no rows."""
        return cls(_realign.Ranking.empty(width, sample, seed))

    def update(
        self,
        collections: Mapping[str, Rows],
        *,
        queries: Mapping[str, Rows] | None = None,
        nonfinite: NonFinite = "error",
        chunk_rows: int | None = None,
        key: str | None = None,
        column: str | None = None,
        device: str = "auto",
        any_encoder: bool = False,
    ) -> None:
        """Counts further rows of collections and of kinds of queries, new ones among them; on an error nothing. Arguments are as in :meth:`fit`."""
        how = reading(nonfinite, chunk_rows, key, column)
        asked = (_sets(collections, "collections"), _sets(queries, "queries"))
        self._inner.update(*asked, any_encoder, how, device)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Ranking:
        """Reads a ranking, from :meth:`save` or the command line's ``rank fit``."""
        return cls(_realign.Ranking.load(os.fspath(path)))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the file."""
        self._inner.save(os.fspath(path), overwrite)

    @property
    def width(self) -> int:
        """d."""
        return self._inner.width()

    @property
    def collections(self) -> dict[str, int]:
        """Names of the collections and their rows."""
        return dict(self._inner.names()[0])

    @property
    def queries(self) -> dict[str, int]:
        """Kinds of queries that were fitted and their rows."""
        return dict(self._inner.names()[1])

    def scores(self, query: Any, collection: str, raw: Any) -> Any:
        """Scores on the common scale of what a database returned: 3 is one item in a thousand, whatever the collection.

        Args:
            query: The query's row ``[d]``, of any norm.
            collection: Where it was searched.
            raw: Dot products of unit rows, ``[n]``.

        Returns:
            float64 ``[n]``.
        """
        import numpy as np

        raw = np.asarray(raw)
        if raw.ndim != 1:
            raise InputError(f"raw: shape {list(raw.shape)}; give the dot products of one query, [n]")
        if raw.size == 0:
            return np.empty(0)
        return self._inner.scores(vector(query, "query"), collection, vector(raw, "raw"))

    def search(
        self,
        queries: Rows,
        collections: Mapping[str, Rows],
        *,
        score: str = "quantile",
        kind: str | None = None,
        top: int = 10,
        share: float | None = None,
        nnn_alpha: float | None = None,
        nnn_neighbours: int | None = None,
        any_encoder: bool = False,
        nonfinite: NonFinite = "error",
        chunk_rows: int | None = None,
        key: str | None = None,
        column: str | None = None,
        device: str = "auto",
    ) -> dict[str, Any]:
        """Each query's best items in all collections together, found exactly.

        Args:
            queries: Rows ``[b, d]``.
            collections: Rows by names that the ranking knows.
            score: ``quantile``, ``z``, ``standardise``, ``nnn``, ``centre``, ``realign``, ``raw``, ``dbsf`` or ``rrf``.
            kind: Of the queries, where the ranking knows several.
            top: Hits of a query at most.
            share: The share of items that may pass, such as 0.001: one cut-off for all queries and collections.
            nnn_alpha, nnn_neighbours: What ``nnn`` takes off.

        Returns:
            A column each, the best hits of the first query first: ``query``, ``rank`` (from 1), ``row`` (int64), ``collection`` (names), ``raw`` (dot
            product of unit rows) and ``score`` (float64).
        """
        import numpy as np

        args = {
            "score": score,
            "kind": kind,
            "top": top,
            "share": share,
            "nnn_alpha": nnn_alpha,
            "nnn_neighbours": nnn_neighbours,
            "any_encoder": any_encoder,
        }
        sets, how = _sets(collections, "collections"), reading(nonfinite, chunk_rows, key, column)
        query, rank, collection, row, raw, scores = self._inner.search(queries, sets, args, how, device)
        names = np.array([name for name, _ in sets])
        integers = [np.array(column, dtype=np.int64) for column in (query, rank, row)]
        chosen = names[np.array(collection, dtype=np.int64)] if len(collection) else names[:0]
        return {"query": integers[0], "rank": integers[1], "collection": chosen, "row": integers[2], "raw": raw, "score": scores}

    def merge(self, other: Ranking, *, any_encoder: bool = False) -> Ranking:
        """Takes in what was fitted to other rows, of the same collections or of others: exact, in any order."""
        if not isinstance(other, Ranking):
            raise InputError(f"other: give a realign.Ranking, not {type(other).__name__}")
        self._inner.merge(other._inner, any_encoder)
        return self

    def __ior__(self, other: Ranking) -> Ranking:
        return self.merge(other) if isinstance(other, Ranking) else NotImplemented

    def __or__(self, other: Ranking) -> Ranking:
        return self.copy().merge(other) if isinstance(other, Ranking) else NotImplemented

    __add__, __iadd__ = __or__, __ior__

    def __radd__(self, other: object) -> Ranking:
        # So that sum() takes them: it begins with 0.
        return self.copy() if other == 0 else NotImplemented

    def copy(self) -> Ranking:
        """The same, which further rows do not change."""
        return Ranking(self._inner.copy())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranking) and self._inner.equals(other._inner)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        sets = ", ".join(f"{name}: {rows}" for name, rows in self.collections.items())
        return f"<realign.Ranking of width {self.width}: {sets}>"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        sample, seed, empty = self._inner.sampling()
        if empty:
            # No file holds a ranking of no rows.
            return _empty, (self.width, sample, seed)
        return _ranking, (self._inner.to_bytes(),)


def _ranking(data: bytes) -> Ranking:
    return Ranking(_realign.Ranking.from_bytes(data))


def _empty(width: int, sample: int, seed: int) -> Ranking:
    return Ranking.empty(width, sample=sample, seed=seed)

"""Keyword arguments that many functions share, as the extension takes them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

#: Rows ``[n, d]``: an array, a tensor, a column of lists, or paths and patterns of files.
Rows: TypeAlias = Any
NonFinite: TypeAlias = Literal["error", "zero"]


def reading(
    nonfinite: str = "error", chunk_rows: int | None = None, key: str | None = None, column: str | None = None
) -> dict[str, Any]:
    """How rows are read."""
    return {"nonfinite": nonfinite, "chunk_rows": chunk_rows, "key": key, "column": column}


def fitting(
    *,
    method: str | None = None,
    centroid: int | str | None = None,
    sigma: float | None = None,
    seed: int | None = None,
    shrinkage: float | None = None,
    strength: float | None = None,
    energy: float | None = None,
    rank: int | None = None,
    mix: str | None = None,
    fit_rows: int | None = None,
    paired: bool = False,
    allow_degenerate: bool = False,
) -> dict[str, Any]:
    """What methods take."""
    return dict(locals())

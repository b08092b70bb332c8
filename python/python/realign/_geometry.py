"""Measuring, comparing, calibrating, and the fixed frame."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import _realign
from ._align import Statistics
from ._errors import InputError
from ._options import NonFinite, Rows, fitting, reading


class Result(Mapping[str, Any]):
    """A result by name: a mapping of the keys that the command line's ``--json`` has. A notebook shows its page with the charts."""

    def __init__(self, text: str, page: _realign.Page) -> None:
        import json

        self._values: dict[str, Any] = json.loads(text)
        self._page = page

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        import pprint

        return pprint.pformat(self._values, sort_dicts=False)

    @property
    def html(self) -> str:
        """The page: one self-contained HTML document with all charts."""
        return self._page.html()

    @property
    def svgs(self) -> dict[str, str]:
        """Each chart as an SVG document, by name."""
        return dict(self._page.svgs())

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the page."""
        self._page.write(os.fspath(path), overwrite)

    def _repr_html_(self) -> str:
        import html

        # A frame of its own, for the page has its own styles.
        return f'<iframe srcdoc="{html.escape(self.html)}" style="width: 100%; height: 40em; border: 0"></iframe>'


def _measuring(
    paired: bool, frame: Frame | None, energy: float | None, rank: int | None, sizes: tuple[int, int, int], seed: int
) -> dict[str, Any]:
    return {
        "paired": paired,
        "frame": None if frame is None else frame._inner,
        "energy": energy,
        "rank": rank,
        "mixing_k": sizes[0],
        "overlap_k": sizes[1],
        "neighbour_rows": sizes[2],
        "seed": seed,
    }


def measure(
    text: Rows,
    image: Rows,
    aligned: Rows | None = None,
    *,
    paired: bool = False,
    frame: Frame | None = None,
    energy: float | None = None,
    rank: int | None = None,
    mixing_k: int = 20,
    overlap_k: int = 10,
    neighbour_rows: int = 10_000,
    seed: int = 0,
    nonfinite: NonFinite = "error",
    chunk_rows: int | None = None,
    key: str | None = None,
    column: str | None = None,
    device: str = "auto",
) -> Result:
    """Every diagnostic of two sets, and of what alignment made of the first.

    Args:
        text: Rows ``[n, d]`` before alignment.
        image: Rows ``[m, d]`` of the target.
        aligned: The text's rows after alignment, in the same order; then the values are those of after, and ``before`` has those of before.
        paired: Row i of text is the partner of row i of image: decomposes their differences, too.
        frame: The fixed frame; by default one is built from both sides, by ``energy`` (0.9) or ``rank``.
        mixing_k, overlap_k: Neighbours of the mixing rate and of the overlap before and after.
        neighbour_rows: Rows that neighbours are looked for among.
        seed: Of the directions of the sliced Wasserstein distance.
        nonfinite, chunk_rows, key, column, device: As in :meth:`Statistics.apply`.
    """
    args = _measuring(paired, frame, energy, rank, (mixing_k, overlap_k, neighbour_rows), seed)
    how = reading(nonfinite, chunk_rows, key, column)
    return Result(*_realign.measure(text, image, aligned, args, how, device))


def compare(
    text: Rows,
    image: Rows,
    *,
    methods: Sequence[str] = (),
    paired: bool = False,
    energy: float | None = None,
    rank: int | None = None,
    mixing_k: int = 20,
    overlap_k: int = 10,
    neighbour_rows: int = 10_000,
    centroid: int | str | None = None,
    sigma: float | None = None,
    seed: int = 0,
    shrinkage: float | None = None,
    strength: float | None = None,
    mix: str | None = None,
    fit_rows: int | None = None,
    nonfinite: NonFinite = "error",
    chunk_rows: int | None = None,
    key: str | None = None,
    column: str | None = None,
    device: str = "auto",
) -> Result:
    """All methods, or those named, side by side: fitted to rows 0, 2, 4, … of both sides, measured on rows 1, 3, 5, ….

    Args:
        text, image: Rows ``[n, d]`` and ``[m, d]``.
        methods: Names as in :func:`fit`; all that need no pairs by default, with ``paired`` all.
        energy, rank: The frame that pairs are decomposed in, and that ``blockwise`` and ``anisoalign`` use.
        Others are as in :func:`fit` and :func:`measure`.
    """
    args = _measuring(paired, None, energy, rank, (mixing_k, overlap_k, neighbour_rows), seed)
    fit = fitting(
        centroid=centroid,
        sigma=sigma,
        seed=seed,
        shrinkage=shrinkage,
        strength=strength,
        energy=energy,
        rank=rank,
        mix=mix,
        fit_rows=fit_rows,
        paired=paired,
    )
    how = reading(nonfinite, chunk_rows, key, column)
    return Result(*_realign.compare(text, image, list(methods), args, fit, how, device))


def calibrate(
    text: Rows | None = None,
    image: Rows | None = None,
    *,
    sizes: Sequence[int] = (),
    trials: int = 5,
    domains: Mapping[str, tuple[Rows, Rows]] | None = None,
    statistics: Statistics | None = None,
    batch: Rows | None = None,
    side: str = "text",
    significance: float = 0.01,
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
    nonfinite: NonFinite = "error",
    chunk_rows: int | None = None,
    key: str | None = None,
    column: str | None = None,
    device: str = "auto",
) -> Result:
    """How many rows a fit needs, how it carries over to other domains, and whether it still holds: whatever of it is asked for.

    Args:
        text, image: A study of sizes: the gap that fits to ``sizes`` rows leave on held-out rows, ``trials`` times each.
        domains: A matrix of what a fit to each domain leaves on each: ``{name: (text, image)}``, two or more.
        statistics, batch: A test whether rows of now are still those that were fitted to; ``side`` says which side's.
        significance: The verdict is "fit again" where the test's p-value is below this.
        method: What is studied; it and what follows are as in :func:`fit`.
    """
    asked = {
        "text": text,
        "image": image,
        "sizes": list(sizes),
        "trials": trials,
        "domains": [(name, *_pair(name, sides)) for name, sides in (domains or {}).items()],
        "statistics": None if statistics is None else statistics._inner,
        "batch": batch,
        "side": side,
        "significance": significance,
    }
    fit = fitting(
        method=method,
        centroid=centroid,
        sigma=sigma,
        seed=seed,
        shrinkage=shrinkage,
        strength=strength,
        energy=energy,
        rank=rank,
        mix=mix,
        fit_rows=fit_rows,
        paired=paired,
    )
    return Result(*_realign.calibrate(asked, fit, reading(nonfinite, chunk_rows, key, column), device))


def _pair(name: str, sides: Any) -> tuple[Rows, Rows]:
    if not isinstance(sides, (tuple, list)) or len(sides) != 2:
        raise InputError(f"domains: {name!r}: give a pair, (text, image)")
    return sides[0], sides[1]


class Frame:
    """The fixed frame: an orthonormal basis of the directions that hold most of both sides' variance. Pickles."""

    __slots__ = ("_inner",)

    def __init__(
        self,
        text: Rows,
        image: Rows,
        *,
        energy: float | None = None,
        rank: int | None = None,
        nonfinite: NonFinite = "error",
        chunk_rows: int | None = None,
        key: str | None = None,
        column: str | None = None,
        device: str = "auto",
    ) -> None:
        """Built from rows of both sides, or from what :class:`Covariance` counted: the fewest directions that hold ``energy`` (0.9), or ``rank``."""
        text, image = getattr(text, "_inner", text), getattr(image, "_inner", image)
        how = reading(nonfinite, chunk_rows, key, column)
        self._inner = _realign.Frame.fit(text, image, energy, rank, how, device)

    @classmethod
    def _of(cls, inner: _realign.Frame) -> Frame:
        made = cls.__new__(cls)
        made._inner = inner
        return made

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Frame:
        """Reads a frame, from :meth:`save` or the command line's ``frame``."""
        return cls._of(_realign.Frame.load(os.fspath(path)))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the file."""
        self._inner.save(os.fspath(path), overwrite)

    @property
    def rank(self) -> int:
        """Directions."""
        return self._inner.numbers()[0]

    @property
    def width(self) -> int:
        """d."""
        return self._inner.numbers()[1]

    @property
    def energy(self) -> float | None:
        """The share of the variance that the directions hold; None for a frame that was loaded."""
        return self._inner.numbers()[2]

    @property
    def directions(self) -> Any:
        """The basis, float64 ``[r, d]``, one direction a row."""
        return self._inner.directions()

    def split(self, difference: Any) -> tuple[Any, Any]:
        """β and γ, float64 ``[d]`` each: the parts of a difference of means inside and outside of the frame."""
        import numpy as np

        return self._inner.split(np.asarray(difference, dtype=np.float64).reshape(-1).tolist())

    def angles(self, other: Frame, *, device: str = "auto") -> tuple[Any, float]:
        """Principal angles between two frames in radians, float64 ``[k]``, and the sine of the largest."""
        return self._inner.angles(other._inner, device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and self._inner.equals(other._inner)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<realign.Frame: {self.rank} directions of width {self.width}>"

    def __reduce__(self) -> tuple[Any, tuple[bytes, float | None]]:
        return _frame, (self._inner.to_bytes(), self.energy)


def _frame(data: bytes, energy: float | None) -> Frame:
    return Frame._of(_realign.Frame.from_bytes(data, energy))

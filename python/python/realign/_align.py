"""Fitting and applying."""

from __future__ import annotations

import os
from typing import Any

from . import _realign
from ._errors import InputError
from ._options import NonFinite, Rows, fitting, reading
from ._rows import like
from ._stats import Moments


class Statistics:
    """A fitted operator: what :func:`fit` and :func:`load` give. It does not change, is equal to another by its bits, and pickles."""

    __slots__ = ("_inner",)

    def __init__(self, inner: _realign.Statistics) -> None:
        self._inner = inner

    @property
    def method(self) -> str:
        """The method's name."""
        return self._inner.numbers()[0]

    @property
    def centroid(self) -> str | None:
        """How the centroid step was done: a number of steps, ``exact``, or None for a method without one."""
        return self._inner.numbers()[1]

    @property
    def width(self) -> int:
        """d."""
        return self._inner.numbers()[2]

    @property
    def rows(self) -> tuple[int, int]:
        """Rows of text and of image that it was fitted to."""
        return self._inner.numbers()[3]

    @property
    def traces(self) -> tuple[float, float]:
        """Traces of the covariance of text's and of image's unit rows."""
        return self._inner.numbers()[4]

    @property
    def scale(self) -> float:
        """What deviations from the mean are multiplied by."""
        return self._inner.numbers()[5]

    @property
    def gap(self) -> float:
        """Distance of the two means before alignment."""
        return self._inner.numbers()[6]

    @property
    def residual_gap(self) -> float | None:
        """Distance that the fit knows to be left, after an exact centroid step."""
        return self._inner.numbers()[7]

    @property
    def mean_text(self) -> Any:
        """Mean of text's unit rows, float64 ``[d]``."""
        return self._inner.means()[0]

    @property
    def mean_image(self) -> Any:
        """Mean of image's unit rows, float64 ``[d]``."""
        return self._inner.means()[1]

    def apply(
        self,
        rows: Rows,
        *,
        out: str | os.PathLike[str] | None = None,
        dtype: Any = None,
        side: str = "text",
        format: str | None = None,
        overwrite: bool = False,
        any_encoder: bool = False,
        nonfinite: NonFinite = "error",
        chunk_rows: int | None = None,
        key: str | None = None,
        column: str | None = None,
        device: str = "auto",
    ) -> Any:
        """Moves rows ``[n, d]`` into the image's cloud; rows of the result have norm 1.

        Args:
            rows: Text embeddings: an array, a tensor, a column of lists, or paths and patterns of files.
            out: For files: where the aligned files are written, a file for one, else a folder. Without it an array is returned.
            dtype: ``float16``, ``float32`` or ``float64`` (in files also ``bfloat16``); by default that of the rows.
            side: ``image`` for rows of the image side, which the method ``centre`` moves, too.
            format: ``npy``, ``safetensors`` or ``parquet`` for ``out``; by default that of the rows.
            overwrite: Replace files that are there.
            any_encoder: Take files whose encoder is known to be another than the fit's.
            nonfinite: ``zero`` reads NaN and infinities as 0; else they are an error that names the row.
            chunk_rows: Rows of a chunk at most.
            key: The tensor in safetensors files.
            column: The column in parquet files.
            device: ``auto``, ``gpu``, ``host``, or an adapter's name.

        Returns:
            An array ``[n, d]`` (a tensor of torch for one); with ``out`` the list of paths that were written.

        Raises:
            InputError: Rows of another width or type, a NaN.
            FileError: A file that cannot be read or written.
            DeviceError: No such device, or no memory on it.
        """
        if out is None and (format is not None or overwrite):
            raise InputError("format, overwrite: are for files; name them with out=, or leave these out")
        args = {
            "dtype": None if dtype is None else getattr(dtype, "__name__", str(dtype)).removeprefix("torch."),
            "side": side,
            "out": None if out is None else os.fspath(out),
            "format": format,
            "overwrite": overwrite,
            "any_encoder": any_encoder,
        }
        return like(rows, self._inner.apply(rows, args, reading(nonfinite, chunk_rows, key, column), device))

    def moved_moments(
        self,
        rows: Rows,
        *,
        nonfinite: NonFinite = "error",
        chunk_rows: int | None = None,
        key: str | None = None,
        column: str | None = None,
        device: str = "auto",
    ) -> Moments:
        """Moments of text's rows ``[n, d]`` as this operator moves them, for :meth:`with_centroid_step`: count each part where it lies, and add."""
        inner = self._inner.moved_moments(rows, reading(nonfinite, chunk_rows, key, column), device)
        return Moments._of(inner, "host")

    def with_centroid_step(self, moved: Moments) -> Statistics:
        """This operator with one more centroid step: of ``anchor-trace`` it becomes ``realign``, the bits of :func:`fit` of all rows.

        Args:
            moved: The sum of :meth:`moved_moments` over all of text's rows, counted in any parts.

        Raises:
            InputError: Another method's operator; moments of another number of rows than text has, or of rows that were not moved.
        """
        if not isinstance(moved, Moments):
            raise InputError(f"moved: give realign.Moments, the sum of moved_moments over all of text's rows, not {type(moved).__name__}")
        return Statistics(self._inner.with_centroid_step(moved._inner))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the file that the command line's ``apply`` takes, too."""
        self._inner.save(os.fspath(path), overwrite)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Statistics) and self._inner.equals(other._inner)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        centroid = "" if self.centroid is None else f", centroid={self.centroid}"
        return f"<realign.Statistics {self.method}{centroid}: width {self.width}, rows {self.rows[0]} and {self.rows[1]}, gap {self.gap:.4g}>"

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return _statistics, (self._inner.to_bytes(),)


def _statistics(data: bytes) -> Statistics:
    return Statistics(_realign.Statistics.from_bytes(data))


def fit(
    text: Rows,
    image: Rows,
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
    nonfinite: NonFinite = "error",
    chunk_rows: int | None = None,
    key: str | None = None,
    column: str | None = None,
    device: str = "auto",
) -> Statistics:
    """Fits an operator that maps text embeddings into the cloud of image embeddings; neither needs partners in the other.

    Args:
        text: Rows ``[n, d]`` that will be moved: an array, a tensor, a column of lists, paths and patterns of files, or, for methods that
            need no rows again, :class:`Moments` or :class:`Covariance`.
        image: Rows ``[m, d]`` of the cloud that is the target, or its moments.
        method: ``realign`` (the default), ``anchor``, ``anchor-trace``, ``mean-shift``, ``centre``, ``c3``, ``blockwise``, ``ot``,
            ``anisoalign``, ``ridge`` or ``none``.
        centroid: The centroid step: 1 (the paper, and the default), a number of steps, or ``exact``.
        sigma: Standard deviation of C3's noise; by default what makes up the difference of the traces.
        seed: Of what is random in ``c3`` and ``anisoalign``.
        shrinkage: The ridge of ``blockwise``, ``ot`` and ``ridge``, as a share of the text's mean variance.
        strength: How much of ``ot``'s map is transport, 0 to 1.
        energy: The frame of ``blockwise`` and ``anisoalign``: the fewest directions that hold this share, 0.9 by default.
        rank: Their number instead.
        mix: ``none`` or ``haar``: how ``anisoalign`` mixes the frame's directions.
        fit_rows: The most rows of each side that ``anisoalign``'s quantiles are taken over.
        paired: Row i of text is the partner of row i of image: ``ridge`` is fitted to such pairs.
        allow_degenerate: Accept a side of one row, or of equal rows.
        nonfinite, chunk_rows, key, column, device: As in :meth:`Statistics.apply`.

    Raises:
        InputError: Rows that cannot determine the operator, of two widths, or not finite; an option that the method does not have.
    """
    options = fitting(
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
        allow_degenerate=allow_degenerate,
    )
    text, image = getattr(text, "_inner", text), getattr(image, "_inner", image)
    return Statistics(_realign.fit(text, image, options, reading(nonfinite, chunk_rows, key, column), device))


def load(path: str | os.PathLike[str]) -> Statistics:
    """Reads a fitted operator, from :meth:`Statistics.save` or the command line's ``fit``."""
    return Statistics(_realign.Statistics.load(os.fspath(path)))

"""Sums that are counted apart and merged: exact integers, so that neither order nor partition matters."""

from __future__ import annotations

import os
from typing import Any, TypeVar

from . import _realign
from ._options import NonFinite, Rows, reading

_READING = reading()
_S = TypeVar("_S", "Moments", "Covariance")


class Moments:
    """Mean and trace of unit rows, for rows that come in parts or lie on several machines.

    ``update`` counts a batch, ``a |= b`` and ``a + b`` take another's rows in. Sums are exact integers: the same bits in any order, for any cut
    into batches, on every device. Values pickle, so that they travel through Ray, Spark and Dask.

        >>> m = realign.Moments(1280)
        >>> for batch in batches:
        ...     m.update(batch)
        >>> m |= other
    """

    __slots__ = ("_device", "_inner")

    def __init__(self, width: int, *, device: str = "host") -> None:
        """Of no rows yet; batches are counted on ``device``."""
        self._inner = _realign.Moments(width)
        self._device = device

    @classmethod
    def _of(cls, inner: _realign.Moments, device: str) -> Moments:
        made = cls.__new__(cls)
        made._inner, made._device = inner, device
        return made

    @classmethod
    def of(cls, rows: Rows, *, device: str = "host", nonfinite: NonFinite = "error") -> Moments:
        """Of these rows, arrays or files."""
        batch, width = _opened(rows)
        made = cls(width, device=device)
        made.update(batch, nonfinite=nonfinite)
        return made

    def update(self, rows: Rows, *, nonfinite: NonFinite = "error") -> None:
        """Counts a batch ``[n, d]``; on an error nothing of it is counted."""
        self._inner.update(rows, _READING if nonfinite == "error" else reading(nonfinite), self._device)

    @property
    def count(self) -> int:
        """Rows so far, those of zeros included."""
        return self._inner.numbers()[0]

    @property
    def zero_rows(self) -> int:
        """Rows of norm below 1e-10, which count as zero."""
        return self._inner.numbers()[1]

    @property
    def replaced(self) -> int:
        """Values that were not finite and were read as 0."""
        return self._inner.numbers()[2]

    @property
    def width(self) -> int:
        """d."""
        return self._inner.numbers()[3]

    @property
    def trace(self) -> float:
        """``E|u - E u|²`` of the unit rows u."""
        return self._inner.numbers()[4]

    @property
    def mean(self) -> Any:
        """Mean of the unit rows, float64 ``[d]``."""
        return self._inner.mean()

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the file that the command line's ``merge`` and ``fit`` take, too."""
        self._inner.save(os.fspath(path), overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "host") -> Moments:
        """Reads such a file."""
        return cls._of(_realign.Moments.load(os.fspath(path)), device)

    def copy(self) -> Moments:
        """The same sums, which further batches do not change."""
        return self._of(self._inner.copy(), self._device)

    def __ior__(self, other: Moments) -> Moments:
        return _merged_into(self, other)

    def __or__(self, other: Moments) -> Moments:
        return _merged(self, other)

    def __add__(self, other: Moments) -> Moments:
        return _merged(self, other)

    def __iadd__(self, other: Moments) -> Moments:
        return _merged_into(self, other)

    def __radd__(self, other: object) -> Moments:
        # So that sum() takes them: it begins with 0.
        return self.copy() if other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Moments) and self._inner.equals(other._inner)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<realign.Moments: {self.count} rows of width {self.width}>"

    def __reduce__(self) -> tuple[Any, tuple[bytes, str]]:
        return _moments, (self._inner.to_bytes(), self._device)


class Covariance:
    """Mean, trace and covariance of unit rows; merges and pickles as :class:`Moments` do.

    ``mode="exact"`` keeps exact sums, some 56 d² bytes of them; ``"fast"`` counts with products in float32 and keeps the matrix.
    """

    __slots__ = ("_device", "_inner")

    def __init__(self, width: int, *, mode: str = "exact", device: str = "auto") -> None:
        """Of no rows yet; batches are counted on ``device``."""
        self._inner = _realign.Covariance(width, mode)
        self._device = device

    @classmethod
    def _of(cls, inner: _realign.Covariance, device: str) -> Covariance:
        made = cls.__new__(cls)
        made._inner, made._device = inner, device
        return made

    @classmethod
    def of(cls, rows: Rows, *, mode: str = "exact", device: str = "auto", nonfinite: NonFinite = "error") -> Covariance:
        """Of these rows, arrays or files."""
        batch, width = _opened(rows)
        made = cls(width, mode=mode, device=device)
        made.update(batch, nonfinite=nonfinite)
        return made

    def update(self, rows: Rows, *, nonfinite: NonFinite = "error") -> None:
        """Counts a batch ``[n, d]``, in two reads; on an error nothing of it is counted."""
        self._inner.update(rows, reading(nonfinite), self._device)

    @property
    def count(self) -> int:
        """Rows so far."""
        return self._inner.numbers()[0]

    @property
    def width(self) -> int:
        """d."""
        return self._inner.numbers()[1]

    @property
    def mode(self) -> str:
        """``exact`` or ``fast``."""
        return self._inner.mode()

    @property
    def mean(self) -> Any:
        """Mean of the unit rows, float64 ``[d]``."""
        return self._inner.matrix()[0]

    @property
    def matrix(self) -> Any:
        """``E[(u - E u)(u - E u)ᵀ]``, float64 ``[d, d]``, with 1/n."""
        return self._inner.matrix()[1]

    @property
    def error(self) -> float:
        """The matrix's relative error in Frobenius norm is at most this."""
        return self._inner.matrix()[2]

    @property
    def trace(self) -> float:
        """``E|u - E u|²``."""
        return self.moments.trace

    @property
    def moments(self) -> Moments:
        """Mean and trace alone."""
        return Moments._of(self._inner.moments(), "host")

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Writes the file that the command line's ``merge``, ``fit`` and ``frame`` take, too."""
        self._inner.save(os.fspath(path), overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "auto") -> Covariance:
        """Reads such a file."""
        return cls._of(_realign.Covariance.load(os.fspath(path)), device)

    def copy(self) -> Covariance:
        """The same sums, which further batches do not change."""
        return self._of(self._inner.copy(), self._device)

    def __ior__(self, other: Covariance) -> Covariance:
        return _merged_into(self, other)

    def __or__(self, other: Covariance) -> Covariance:
        return _merged(self, other)

    def __add__(self, other: Covariance) -> Covariance:
        return _merged(self, other)

    def __iadd__(self, other: Covariance) -> Covariance:
        return _merged_into(self, other)

    def __radd__(self, other: object) -> Covariance:
        return self.copy() if other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Covariance) and self._inner.equals(other._inner)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<realign.Covariance ({self.mode}): {self.count} rows of width {self.width}>"

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        if self.count == 0:
            # No file holds sums of no rows.
            return _empty, (self.width, self.mode, self._device)
        return _covariance, (self._inner.to_bytes(), self._device)


def _merged_into(mine: _S, other: object) -> _S:
    if type(other) is not type(mine):
        not_implemented: Any = NotImplemented
        return not_implemented  # type: ignore[no-any-return]
    mine._inner.merge(getattr(other, "_inner"))
    return mine


def _merged(mine: _S, other: object) -> _S:
    # A copy is of its class: both classes' values are told apart above.
    return _merged_into(mine.copy(), other)


def _opened(rows: Rows) -> tuple[Rows, int]:
    """The rows, converted once, and their width: streams can be read but once."""
    from ._rows import rows as converted

    batch = converted(rows, "batch")
    return batch, _realign.width_of(batch, _READING)


def _moments(data: bytes, device: str) -> Moments:
    return Moments._of(_realign.Moments.from_bytes(data), device)


def _covariance(data: bytes, device: str) -> Covariance:
    return Covariance._of(_realign.Covariance.from_bytes(data), device)


def _empty(width: int, mode: str, device: str) -> Covariance:
    return Covariance(width, mode=mode, device=device)

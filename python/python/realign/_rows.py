"""Rows from whatever holds them.

Everything becomes one of two things: a NumPy matrix of floats in C order, which realign reads where it lies, or a list of paths.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ._errors import CopyWarning, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Integers that these floats hold exactly.
_FLOAT_OF = {1: "float32", 2: "float32", 4: "float64", 8: "float64"}


def _copied(name: str, what: str) -> None:
    warnings.warn(f"{name}: {what} was copied; give float16, float32 or float64 in C order", CopyWarning, stacklevel=5)


def is_path(value: object) -> bool:
    """Whether it names files: a path, or a list of paths."""
    if isinstance(value, (str, os.PathLike)):
        return True
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(v, (str, os.PathLike)) for v in value)


def paths(value: Any) -> list[str]:
    """The paths, with ``~`` expanded; patterns are the library's to expand."""
    many = [value] if isinstance(value, (str, os.PathLike)) else value
    return [os.path.expanduser(os.fspath(path)) for path in many]


def rows(value: Any, name: str) -> NDArray[Any] | list[str]:
    """Rows ``[n, d]`` as realign reads them; ``name`` is what errors call them."""
    if is_path(value):
        return paths(value)
    return matrix(_array(value, name), name)


def vector(value: Any, name: str) -> NDArray[Any]:
    """One row ``[d]`` as a matrix ``[1, d]``."""
    array = _array(value, name)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[0] != 1:
        raise InputError(f"{name}: shape {list(array.shape)}; give one row, [d]")
    return matrix(array, name)


def _array(value: Any, name: str) -> NDArray[Any]:
    """A NumPy array over the value's memory, wherever there is a way without a copy."""
    import numpy as np

    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"{name}: a masked array; fill it, or take the rows out, for realign knows no masks")
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if hasattr(value, "__arrow_c_array__") or hasattr(value, "__arrow_c_stream__"):
        column = _single_column(value, name)
        if column is not value:
            return _array(column, name)
        from ._arrow import from_arrow

        return from_arrow(value, name)
    if hasattr(value, "__dlpack__"):
        return _from_dlpack(value, name)
    if hasattr(value, "to_numpy"):
        return _stacked(value.to_numpy(), name)
    if isinstance(value, (memoryview, bytearray)) or hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return np.asarray(value)
    try:
        return np.asarray(memoryview(value))
    except TypeError:
        pass
    if isinstance(value, Iterable) and not isinstance(value, (dict, set, bytes)):
        return _stacked(list(value), name)
    kinds = "an array, a tensor, a column of lists, or a path"
    raise InputError(f"{name}: {type(value).__name__} holds no rows that realign can read; give {kinds}")


def _single_column(value: Any, name: str) -> Any:
    """The only column of floats of a pandas table; everything else as it is."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return value
    if isinstance(value, pandas.Series):
        return _stacked(value.to_numpy(), name) if value.dtype == object else value
    if isinstance(value, pandas.DataFrame):
        if all(dtype.kind in "fiu" for dtype in value.dtypes):
            return value.to_numpy()
        raise InputError(f"{name}: a table of {value.shape[1]} columns; give the column of embeddings: table[\"...\"]")
    return value


def _from_dlpack(value: Any, name: str) -> NDArray[Any]:
    import numpy as np

    if getattr(value, "requires_grad", False):
        value = value.detach()
    device = getattr(value, "__dlpack_device__", lambda: (1, 0))()
    if int(device[0]) not in (1, 3, 11, 13):
        raise InputError(f"{name}: lies on a GPU; bring it to the host first, as with .cpu()")
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError) as problem:
        raise InputError(f"{name}: {problem}; NumPy has no such type, give float32 or float16") from problem


def _stacked(value: Any, name: str) -> NDArray[Any]:
    """A matrix of a column of rows, such as pandas has them."""
    import numpy as np

    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    if len(value) == 0:
        raise InputError(f"{name}: an empty column, whose width nobody knows; give an array [0, d]")
    parts: list[Any] = []
    for i, part in enumerate(value):
        row = np.empty(0, object) if part is None else np.asarray(part)
        if row.ndim != 1 or row.dtype.kind not in "fiu":
            what = "missing" if part is None else f"no list of numbers ({row.dtype}, {row.ndim}-D)"
            raise InputError(f"{name}: row {i} is {what}; give a row of numbers in each place")
        if i > 0 and len(row) != len(parts[0]):
            raise InputError(f"{name}: row {i} has {len(row)} numbers, row 0 has {len(parts[0])}; give rows of one width")
        parts.append(row)
    return np.stack(parts)


def matrix(array: NDArray[Any], name: str) -> NDArray[Any]:
    """The array as ``[n, d]`` floats in C order: itself or a view where it can be, else a copy, with a warning."""
    import numpy as np

    if array.dtype == object:
        array = _stacked(array, name)
    if array.ndim > 2 and all(side == 1 for side in array.shape[1:-1]):
        # [n, 1, d], as some encoders leave it.
        for _ in range(array.ndim - 2):
            array = array[:, 0]
    if array.ndim != 2:
        hint = "; one row is x[None]" if array.ndim == 1 else ""
        raise InputError(f"{name}: shape {list(array.shape)}; give rows [n, d]{hint}")
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "f" and size in (2, 4, 8):
        wanted: Any = np.dtype(f"<f{size}")
    elif kind in "iu":
        wanted = np.dtype(_FLOAT_OF[size])
    elif kind == "f":
        wanted = np.dtype("float64")
    elif array.dtype.name == "bfloat16":
        wanted = np.dtype("float32")
    else:
        raise InputError(f"{name}: numbers of type {array.dtype}; give floats")
    if array.dtype == wanted and array.flags.c_contiguous and array.flags.aligned:
        return array
    what = f"an array of {array.dtype}" if array.dtype != wanted else "an array that is not in C order"
    _copied(name, what)
    # Not ascontiguousarray, which leaves what is not aligned as it is.
    return np.array(array, dtype=wanted, order="C")


def like(value: Any, result: NDArray[Any]) -> Any:
    """The result in the kind of the rows that it came from, where that needs no copy: a tensor for a tensor of torch."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return torch.from_numpy(result)
    return result

"""Columns of Arrow by its C data interface: pyarrow, polars, Lance and whatever else has ``__arrow_c_array__`` or ``__arrow_c_stream__``.

Numbers are read where they lie: a NumPy array over the buffer keeps the capsule, and with it the memory.
The structures are those of https://arrow.apache.org/docs/format/CDataInterface.html, whose layout is fixed.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any

from ._errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Schema(ctypes.Structure):
    pass


class _Array(ctypes.Structure):
    pass


_Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_void_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(_Schema))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Schema))),
    ("private_data", ctypes.c_void_p),
]
_Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))),
    ("private_data", ctypes.c_void_p),
]


class _Stream(ctypes.Structure):
    pass


_Stream._fields_ = [
    ("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Schema))),
    ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Array))),
    ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.POINTER(_Stream))),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Stream))),
    ("private_data", ctypes.c_void_p),
]

_FLOATS = {b"e": ("<f2", 2), b"f": ("<f4", 4), b"g": ("<f8", 8)}


def _pointer(capsule: Any, name: bytes) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype = ctypes.c_void_p
    get.argtypes = [ctypes.py_object, ctypes.c_char_p]
    address: int = get(capsule, name)
    return address


class _Numbers:
    """Memory with an owner, as NumPy takes it."""

    def __init__(self, address: int, count: int, dtype: str, owner: object) -> None:
        self.__array_interface__ = {"data": (address, True), "shape": (count,), "typestr": dtype, "version": 3}
        self.owner = owner


def from_arrow(value: Any, name: str) -> NDArray[Any]:
    """Rows ``[n, d]`` of a column of fixed-size lists, or of lists of one length, of f16, f32 or f64."""
    if hasattr(value, "__arrow_c_array__"):
        schema, array = value.__arrow_c_array__()
        shape = ctypes.cast(_pointer(schema, b"arrow_schema"), ctypes.POINTER(_Schema)).contents
        data = ctypes.cast(_pointer(array, b"arrow_array"), ctypes.POINTER(_Array)).contents
        # The schema's strings are read at once, the array's memory for as long as its capsule lives.
        return _column(shape, data, (0, data.length), name, (array, schema))
    return _from_stream(value, name)


def _from_stream(value: Any, name: str) -> NDArray[Any]:
    import numpy as np

    capsule = value.__arrow_c_stream__()
    stream = ctypes.cast(_pointer(capsule, b"arrow_array_stream"), ctypes.POINTER(_Stream))
    schema = _Schema()
    _check(stream, stream.contents.get_schema(stream, ctypes.byref(schema)), name)
    parts = []
    try:
        while True:
            array = _Array()
            _check(stream, stream.contents.get_next(stream, ctypes.byref(array)), name)
            if not array.release:
                break
            weakref.finalize(array, _release, _copy(array)).atexit = False
            if array.length > 0:
                parts.append(_column(schema, array, (0, array.length), name, array))
    finally:
        schema.release(ctypes.byref(schema))
    if not parts:
        raise InputError(f"{name}: a column without rows")
    if len(parts) == 1:
        return parts[0]
    if len({part.shape[1] for part in parts}) != 1:
        raise InputError(f"{name}: its chunks have rows of different widths; give rows of one width")
    from ._rows import _copied

    _copied(name, f"a column of {len(parts)} chunks")
    return np.concatenate(parts)


def _copy(array: _Array) -> _Array:
    """The structure once more, for the one who releases it: the first is gone by then."""
    twin = _Array()
    ctypes.memmove(ctypes.byref(twin), ctypes.byref(array), ctypes.sizeof(_Array))
    return twin


def _release(array: _Array) -> None:
    if array.release:
        array.release(ctypes.byref(array))


def _check(stream: Any, code: int, name: str) -> None:
    if code != 0:
        words = stream.contents.get_last_error(stream)
        raise InputError(f"{name}: the column cannot be read: {(words or b'no reason given').decode(errors='replace')}")


def _column(schema: _Schema, array: _Array, span: tuple[int, int], name: str, owner: object) -> NDArray[Any]:
    """``span`` are the first row and the number of rows."""
    import numpy as np

    layout = schema.format
    if layout == b"+s" and schema.n_children == 1:
        first = span[0] + array.offset
        return _column(schema.children[0].contents, array.children[0].contents, (first, span[1]), name, owner)
    if layout == b"+s":
        raise InputError(f"{name}: a table of {schema.n_children} columns; give the column of embeddings alone")
    first, count = span[0] + array.offset, span[1]
    if layout.startswith(b"+w:"):
        width = int(layout[3:])
        starts = None
    elif layout in (b"+l", b"+L"):
        dtype, size = ("<i4", 4) if layout == b"+l" else ("<i8", 8)
        starts = np.asarray(_Numbers(array.buffers[1] + size * first, count + 1, dtype, owner)).astype(np.int64)
        width = int(starts[1] - starts[0]) if count else 0
    else:
        raise InputError(f"{name}: Arrow's type {layout.decode(errors='replace')!r}; give lists of float16, float32 or float64")
    _refuse_null(array, (first, count), name, "missing")
    if starts is not None:
        lengths = np.diff(starts)
        for row in np.flatnonzero(lengths != width)[:1]:
            raise InputError(f"{name}: row {row} has {lengths[row]} numbers, row 0 has {width}; give rows of one width")
    inner, numbers = schema.children[0].contents, array.children[0].contents
    if inner.format not in _FLOATS:
        raise InputError(f"{name}: lists of Arrow's type {inner.format.decode(errors='replace')!r}; give float16, float32 or float64")
    dtype, size = _FLOATS[inner.format]
    start = numbers.offset + (first * width if starts is None else (int(starts[0]) if count else 0))
    _refuse_null(numbers, (start, count * width), name, "missing a number", width)
    flat = np.asarray(_Numbers((numbers.buffers[1] or 0) + size * start, count * width, dtype, owner)) if count * width else np.empty(0, dtype)
    return flat.reshape(count, width)


def _refuse_null(array: _Array, span: tuple[int, int], name: str, what: str, width: int = 1) -> None:
    import numpy as np

    if array.null_count == 0 or not array.buffers[0]:
        return
    first, count = span
    bits = np.asarray(_Numbers(array.buffers[0], (first + count + 7) // 8, "|u1", None))
    valid = np.unpackbits(bits, bitorder="little")[first : first + count]
    for place in np.flatnonzero(valid == 0)[:1]:
        raise InputError(f"{name}: row {place // width} is {what}; take such rows out")

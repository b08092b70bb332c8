"""Rows from whatever holds them: where they lie, or copied with a warning, or refused by name."""

from __future__ import annotations

import array
import sys
from typing import Any

import numpy as np
import pytest

import realign
from realign import _rows

from .conftest import cloud

DTYPES = [np.float16, np.float32, np.float64]


def address(rows: Any) -> int:
    found: int = rows.__array_interface__["data"][0]
    return found


def moments(rows: Any) -> realign.Moments:
    return realign.Moments.of(rows)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_read_where_they_lie(dtype: Any) -> None:
    rows = cloud(1, 40, 6, dtype)
    frozen = rows.copy()
    frozen.flags.writeable = False
    for given in (rows, rows[5:], frozen, rows[:, None, :], rows.view(np.recarray)):
        assert address(_rows.rows(given, "x")) == address(given)
    assert moments(frozen) == moments(rows) == moments(rows[:, None, :]) == moments(memoryview(rows))


@pytest.mark.parametrize("dtype", DTYPES)
def test_others_are_copied_and_said(dtype: Any) -> None:
    rows = cloud(1, 40, 6, dtype)
    wide = np.zeros((40, 12), dtype)
    wide[:, ::2] = rows
    raw = bytearray(rows.nbytes + 1)
    crooked = np.frombuffer(raw, np.uint8)[1:].view(dtype).reshape(40, 6)
    crooked[:] = rows
    for given in (np.asfortranarray(rows), wide[:, ::2], rows[::-1][::-1][:, :], rows.astype(rows.dtype.newbyteorder(">")), crooked):
        if given.flags.c_contiguous and given.flags.aligned and given.dtype == rows.dtype:
            continue
        with pytest.warns(realign.CopyWarning, match="C order"):
            assert moments(given) == moments(rows)


def test_integers() -> None:
    rows = np.random.default_rng(1).integers(-100, 100, (50, 8))
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        with pytest.warns(realign.CopyWarning, match="int"):
            assert moments(rows.astype(dtype)).count == 50
    with pytest.raises(ValueError, match="bool"):
        moments(rows > 0)


def test_what_is_refused_says_the_row() -> None:
    rows = cloud(1, 30, 5)
    st = realign.fit(rows, cloud(2, 30, 5))
    bad = rows.copy()
    bad[17, 3] = np.nan
    for call in (lambda: realign.fit(bad, rows), lambda: realign.fit(rows, bad), lambda: st.apply(bad), lambda: moments(bad)):
        with pytest.raises(ValueError, match=r"NaN at row 17, column 3; .*nonfinite=\"zero\""):
            call()
    assert np.isfinite(st.apply(bad, nonfinite="zero")).all()
    for given, said in [
        (rows[0], r"shape \[5\]; give rows \[n, d\]; one row is x\[None\]"),
        (rows.reshape(5, 6, 5), r"shape \[5, 6, 5\]"),
        (np.zeros((3, 0), np.float32), "no numbers"),
        (np.ma.masked_array(rows), "masked"),
        (rows.astype(complex), "complex128"),
        ([rows[0], rows[1][:4]], "row 1 has 4 numbers, row 0 has 5"),
        ([rows[0], None], "row 1 is missing"),
        ([], "empty"),
        (object(), "object holds no rows"),
        ({"a": 1}, "dict holds no rows"),
        ("nowhere.npy", r"nowhere\.npy"),
        (np.array([["a", "b"]]), "<U1"),
    ]:
        with pytest.raises(realign.Error, match=said):
            moments(given)
    with pytest.raises(ValueError, match="width 4, but the operator is of width 5"):
        st.apply(rows[:, :4].copy())
    with pytest.raises(ValueError, match="width 4, but text is of width 5"):
        realign.fit(rows, rows[:, :4].copy())
    empty = np.zeros((0, 5), np.float32)
    assert st.apply(empty).shape == (0, 5)
    with pytest.raises(ValueError, match="no rows"):
        realign.fit(empty, rows)


def test_lists_and_buffers() -> None:
    rows = cloud(1, 20, 4)
    assert moments(list(rows)) == moments(rows)
    assert moments([list(map(float, row)) for row in rows]) == moments(rows.astype(np.float64))
    buffer = memoryview(array.array("f", rows.ravel())).cast("B").cast("f", (20, 4))
    assert moments(buffer) == moments(rows)


def test_dlpack() -> None:
    class Tensor:
        """What has DLPack's methods and nothing else."""

        def __init__(self, rows: Any) -> None:
            self.rows = rows

        def __dlpack__(self, **how: Any) -> Any:
            return self.rows.__dlpack__(**how)

        def __dlpack_device__(self) -> Any:
            return self.rows.__dlpack_device__()

    rows = cloud(1, 20, 4)
    assert address(_rows.rows(Tensor(rows), "x")) == address(rows)
    assert moments(Tensor(rows)) == moments(rows)

    class OnGpu(Tensor):
        def __dlpack_device__(self) -> Any:
            return (2, 0)

    with pytest.raises(ValueError, match=r"GPU; bring it to the host"):
        moments(OnGpu(rows))


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    rows = cloud(1, 20, 4)
    tensor = torch.from_numpy(rows)
    assert address(_rows.rows(tensor, "x")) == address(rows)
    st = realign.fit(tensor, torch.from_numpy(cloud(2, 20, 4)))
    aligned = st.apply(tensor.requires_grad_())
    assert isinstance(aligned, torch.Tensor)
    np.testing.assert_array_equal(aligned.numpy(), st.apply(rows))
    with pytest.raises(ValueError, match="float32"):
        moments(tensor.detach().to(torch.bfloat16))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrow(dtype: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    rows = cloud(1, 40, 6, dtype)
    flat = pa.array(rows.ravel())
    fixed = pa.FixedSizeListArray.from_arrays(flat, 6)
    for kind, offsets in ((pa.ListArray, pa.int32()), (pa.LargeListArray, pa.int64())):
        lists = kind.from_arrays(pa.array(np.arange(41) * 6, offsets), flat)
        np.testing.assert_array_equal(_rows.rows(lists, "x"), rows)
        np.testing.assert_array_equal(_rows.rows(lists[7:31], "x"), rows[7:31])
    assert address(_rows.rows(fixed, "x")) == flat.buffers()[1].address
    np.testing.assert_array_equal(_rows.rows(fixed[7:31], "x"), rows[7:31])
    table = pa.table({"embedding": fixed})
    assert moments(table) == moments(table["embedding"]) == moments(rows)
    chunked = pa.chunked_array([fixed[:15], fixed[15:]])
    with pytest.warns(realign.CopyWarning, match="2 chunks"):
        assert moments(chunked) == moments(rows)
    # A stream can be read but once.
    assert moments(pa.RecordBatchReader.from_batches(table.schema, table.to_batches())) == moments(rows)
    # Memory stays for as long as the rows are used.
    kept = _rows.rows(pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 6), "x")
    streamed = _rows.rows(pa.table({"e": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 6)}), "x")
    junk = [pa.array(np.zeros(240, dtype)) for _ in range(50)]
    np.testing.assert_array_equal(kept, rows)
    np.testing.assert_array_equal(streamed, rows)
    del junk


def test_bad_arrow() -> None:
    pa = pytest.importorskip("pyarrow")
    for given, said in [
        (pa.array([[1.0, 2.0], None]), "row 1 is missing"),
        (pa.array([[1.0, 2.0], [3.0, None]]), "row 1 is missing a number"),
        (pa.array([[1.0, 2.0], [3.0]]), "row 1 has 1 numbers, row 0 has 2"),
        (pa.array([1.0, 2.0]), "Arrow's type 'g'"),
        (pa.array([["a"]]), "Arrow's type 'u'"),
        (pa.table({"a": [[1.0]], "b": [[2.0]]}), "a table of 2 columns"),
    ]:
        with pytest.raises(ValueError, match=said):
            moments(given)


def test_pandas_and_polars() -> None:
    rows = cloud(1, 30, 5)
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"id": range(30), "embedding": list(rows)})
    assert moments(table["embedding"]) == moments(rows)
    with pytest.raises(ValueError, match="column of embeddings"):
        moments(table)
    pl = pytest.importorskip("polars")
    column = pl.Series("e", rows, dtype=pl.Array(pl.Float32, 5))
    assert moments(column) == moments(rows)
    assert moments(column.cast(pl.List(pl.Float32))) == moments(rows)
    assert moments(pl.DataFrame({"e": column})) == moments(rows)


def test_rows_are_kept_while_they_are_read() -> None:
    rows = cloud(1, 20, 4)
    before = sys.getrefcount(rows)
    moments(rows)
    assert sys.getrefcount(rows) == before

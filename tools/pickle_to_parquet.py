#!/usr/bin/env python3
"""Converts chunked pickles of embeddings to parquet, which `realign` reads.

Each pickle holds a list of dicts such as {"id": "7", "embed": array, "caption": "a cat"}. Each becomes one parquet file
of the same stem: the arrays as a fixed-size list<float> column `embedding`, every other field as a string column.
Records whose embedding is None are dropped and counted on stderr.

A pickle is a program. This one may build lists, dicts, strings, numbers, None and NumPy arrays of numbers; a file that
asks for anything else is refused before it runs.

usage: pickle_to_parquet.py text_embeds_*.pkl --out folder [--force]      (needs numpy and pyarrow)
"""
import argparse
import os
import pickle
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# What pickled arrays are rebuilt with, under NumPy 1 and 2.
ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
for core in ("numpy.core", "numpy._core"):
    ALLOWED |= {
        (f"{core}.multiarray", "_reconstruct"),
        (f"{core}.multiarray", "scalar"),
        (f"{core}.numeric", "_frombuffer"),
    }


class Refused(Exception):
    """A file that is not what this tool converts; the message says why."""


class PlainUnpickler(pickle.Unpickler):
    """Unpickles data, never code."""

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise Refused(f"asks for {module}.{name}, which is not plain data; nothing was run")
        if module.startswith("numpy."):
            # Whichever name this NumPy has for its core.
            modern = module.replace("numpy.core", "numpy._core")
            try:
                return super().find_class(modern, name)
            except ModuleNotFoundError:
                return super().find_class(modern.replace("numpy._core", "numpy.core"), name)
        if (module, name) == ("_codecs", "encode"):
            # Protocol 2 writes bytes as encode(text, "latin1"); no other codec is needed.
            return latin1
        return super().find_class(module, name)


def latin1(text, encoding="latin1"):
    if encoding != "latin1" or not isinstance(text, str):
        raise Refused(f"asks for the codec {encoding!r}; nothing was run")
    return text.encode("latin1")


def load(path):
    """The records of a pickle, checked to be dicts."""
    try:
        with open(path, "rb") as file:
            records = PlainUnpickler(file).load()
    except Refused:
        raise
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # A damaged pickle may raise anything.
        raise Refused(f"is not a whole pickle: {type(error).__name__}: {error}") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise Refused("does not hold a list of dicts")
    return records


def row(value, at, field):
    """One embedding as a 1-D array of floats."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        what = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise Refused(f"record {at}: {field!r} is {what}, not a NumPy array of floats")
    value = value.squeeze(0) if value.ndim == 2 and value.shape[0] == 1 else value
    if value.ndim != 1 or value.size == 0:
        raise Refused(f"record {at}: {field!r} has shape {value.shape}, not one row")
    return value


def text(value, at, field):
    """A field as a string; None stays None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float, np.generic)):
        return str(value)
    raise Refused(f"record {at}: {field!r} is {type(value).__name__}, not a string or a number")


def table(records, field):
    """The parquet table of the records that have an embedding, and how many had none."""
    rows, kept = [], []
    for at, record in enumerate(records):
        if field not in record:
            raise Refused(f"record {at} has no field {field!r}; it has {sorted(map(str, record))}; see --field")
        if record[field] is not None:
            rows.append(row(record[field], at, field))
            kept.append((at, record))
            if rows[-1].shape != rows[0].shape or rows[-1].dtype != rows[0].dtype:
                a, b = (f"{r.size} numbers of {r.dtype}" for r in (rows[-1], rows[0]))
                raise Refused(f"record {at}: {field!r} has {a}, the first has {b}")
    if not rows:
        raise Refused("holds no embedding")
    names = list(dict.fromkeys(name for _, record in kept for name in record if name != field))
    if not all(isinstance(name, str) for name in names) or "embedding" in names:
        raise Refused(f"has fields that cannot be columns beside 'embedding': {names}")
    columns = {name: pa.array([text(r.get(name), at, name) for at, r in kept], pa.string()) for name in names}
    flat = np.stack(rows)
    flat = flat.astype(flat.dtype.newbyteorder("=")).reshape(-1)
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), rows[0].size)
    return pa.table(columns), len(records) - len(rows)


def save(data, path, force):
    """Writes beside `path`, then renames: the file is there whole or not at all."""
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=os.path.dirname(path) or ".")
    os.close(handle)
    try:
        pq.write_table(data, temporary, row_group_size=10_000, use_dictionary=False)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        if os.path.exists(path) and not force:
            raise Refused(f"{path} has appeared meanwhile; pass --force to replace it")
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def plan(inputs, out, force):
    """The output of each input, checked before the first is read."""
    outputs = {}
    for path in inputs:
        stem = os.path.splitext(os.path.basename(path))[0]
        target = os.path.join(out or os.path.dirname(path), stem + ".parquet")
        if target in outputs.values():
            raise Refused(f"{target} would hold two of the inputs; convert them one by one")
        if os.path.exists(target) and not force:
            raise Refused(f"{target} exists; choose another --out, or pass --force to replace it")
        outputs[path] = target
    if out:
        os.makedirs(out, exist_ok=True)
    return outputs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pickles", nargs="+", metavar="FILE.pkl")
    parser.add_argument("--out", help="folder of the parquet files (default: beside each pickle)")
    parser.add_argument("--field", default="embed", help="the records' field that holds the array (default: embed)")
    parser.add_argument("--force", action="store_true", help="replace parquet files that exist")
    arguments = parser.parse_args()
    path = None
    try:
        outputs = plan(list(dict.fromkeys(arguments.pickles)), arguments.out, arguments.force)
        for path, target in outputs.items():
            data, missing = table(load(path), arguments.field)
            save(data, target, arguments.force)
            dropped = f", {missing} without an embedding dropped" if missing else ""
            print(f"{target}: {data.num_rows} rows{dropped}", file=sys.stderr)
    except Refused as error:
        sys.exit(f"error: {path + ': ' if path else ''}{error}")
    except OSError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

"""Parquet files through pyarrow, which is an extra; the only file that imports it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from headend.workbench.cells import Cells
from headend.workbench.errors import WrongInput
from headend.workbench.tables import Chunk, Table, header_of

MISSING_EXTRA = "pyarrow, which reads and writes Parquet: pip install 'headend[parquet]'"


def _pyarrow(file: str) -> tuple[Any, Any]:
    try:
        import pyarrow  # noqa: PLC0415 an extra
        import pyarrow.parquet  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        if not (missing.name or "").startswith("pyarrow"):
            raise
        raise WrongInput(file, MISSING_EXTRA) from None
    return pyarrow, pyarrow.parquet


@contextmanager
def read_parquet(path: Path, *, seen: Callable[[int], None] = lambda _bytes: None) -> Iterator[Table]:
    """The file's table while it is open, a batch at a time. Raises WrongInput, also for what turns up later."""
    pyarrow, parquet = _pyarrow(path.name)
    try:
        with parquet.ParquetFile(path) as opened:
            names = header_of(path.name, opened.schema_arrow.names)
            yield Table(path.name, names, _chunks(path, opened, seen), comma=False)
    except pyarrow.ArrowException as error:
        raise WrongInput(path.name, "a Parquet file", found=str(error).splitlines()[0]) from None


def _chunks(path: Path, opened: Any, seen: Callable[[int], None]) -> Iterator[Chunk]:
    first, total, size = 1, max(opened.metadata.num_rows, 1), path.stat().st_size
    for batch in opened.iter_batches(batch_size=65_536):
        yield Chunk(
            first,
            [_cells(path.name, name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)],
        )
        first += batch.num_rows
        seen(size * (first - 1) // total)


def _cells(file: str, name: str, column: Any) -> Cells:
    """Instants in UTC and numbers as arrays with NaN for null, everything else as text."""
    pyarrow, _ = _pyarrow(file)
    kind = column.type
    if pyarrow.types.is_timestamp(kind):
        if kind.tz is None:  # local time without its zone: read as text is
            local = column.cast(pyarrow.timestamp("us"), safe=False)  # Python's own has no nanoseconds
            return ["" if one is None else one.isoformat(sep=" ") for one in local.to_pylist()]
        return np.asarray(
            column.cast(pyarrow.timestamp("us", tz="UTC"), safe=False).to_numpy(zero_copy_only=False)
        ).astype("datetime64[us]")
    if pyarrow.types.is_integer(kind) and not column.null_count:  # a meter's number stays what it is
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if pyarrow.types.is_integer(kind):
        return ["" if one is None else str(one) for one in column.to_pylist()]
    if pyarrow.types.is_floating(kind) or pyarrow.types.is_decimal(kind):
        return np.asarray(column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    if pyarrow.types.is_nested(kind) or pyarrow.types.is_binary(kind):
        raise WrongInput(file, "text, numbers or instants", column=name, found=str(kind))
    return ["" if one is None else str(one) for one in column.to_pylist()]


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Columns (arrays or lists; NaN is written as null) as one file. Raises WrongInput without pyarrow."""
    pyarrow, parquet = _pyarrow(path.name)
    made = {
        name: pyarrow.array(values, from_pandas=True)
        if not (isinstance(values, np.ndarray) and values.dtype.kind == "M")
        else pyarrow.array(values).cast(pyarrow.timestamp("us")).cast(pyarrow.timestamp("us", tz="UTC"))
        for name, values in columns.items()
    }
    parquet.write_table(pyarrow.table(made), path, compression="zstd")

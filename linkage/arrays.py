"""Arrays on disk: memory-mapped to read, a block at a time to write. And the digest of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import numpy as np

from linkage.errors import ArtefactError

_ROWS_AT_A_TIME = 65_536  # of vectors that are looked at: 30 MB


def read_array(path: Path) -> np.ndarray:
    """Memory-map an array written with `numpy.save`.

    Raises:
        ArtefactError: it is missing or not an array.
    """
    try:
        return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError, OverflowError, TokenError) as error:  # the last: of headers that look old
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtefactError(f"{path}: not a readable array ({said}); make it again") from None


def read_vectors(path: Path) -> np.ndarray:
    """`read_array` of vectors: rows of numbers.

    Raises:
        ArtefactError: as `read_array`, or a value is no number or infinite: neighbours of such would never be found.
    """
    vectors = read_array(path)
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise ArtefactError(f"{path}: holds no vectors; make it again")
    for start in range(0, len(vectors), _ROWS_AT_A_TIME):
        if not np.isfinite(vectors[start : start + _ROWS_AT_A_TIME]).all():
            raise ArtefactError(f"{path}: damaged, it holds values that are no numbers; make it again")
    return vectors


@contextmanager
def writing_array(path: Path, shape: tuple[int, int]) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a float16 array (n, D) a block of rows at a time, for `read_array`.

    A full disk is an error here, where a write to memory that is mapped to a file kills the process.

    Yields:
        What writes the next rows; n of them in all.
    """
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})

        def write(rows: np.ndarray) -> None:
            file.write(rows.astype("<f2").tobytes())

        yield write


def codes_of(values: Iterable[object]) -> np.ndarray:
    """The number of each value among the distinct ones in ascending order, as text; int64 (n,).

    NumPy's own arrays of text are as wide as the longest one: one page of text among a million names takes all memory.
    """
    import pandas as pd

    return np.asarray(pd.factorize(np.array(list(map(str, values)), dtype=object), sort=True)[0], dtype=np.int64)


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

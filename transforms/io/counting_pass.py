"""A key pass that looks for nothing: it tells how many rows each split has, which a compressed stream does not say beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import apache_beam as beam
import pyarrow as pa

from schemas.provenance import Split
from transforms.io import files


class Counted(Protocol):
    """What was read of a split, as far as it matters here."""

    @property
    def split(self) -> Split: ...
    @property
    def rows(self) -> int: ...


class _Count(beam.DoFn):
    def __init__(self, read: Callable[[int], Iterator[Counted]], folder: Path) -> None:
        self.read, self.folder = read, folder

    def process(self, index: int) -> None:
        nothing = pa.table({"source_row": pa.array([], pa.int64())})
        for found in self.read(index):
            files.write_arrow(self.folder / f"{found.split.key}.{found.rows}.none.arrow", nothing)


class CountingPass(beam.PTransform):
    """Split indices to one empty list a split, written to ``folder``."""

    def __init__(self, read: Callable[[int], Iterator[Counted]], folder: Path) -> None:
        super().__init__()
        self.read, self.folder = read, folder

    def expand(self, indices: beam.PCollection) -> beam.PCollection:
        return indices | "count rows" >> beam.ParDo(_Count(self.read, self.folder))

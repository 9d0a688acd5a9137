"""Making one segment of many, so that a journal stays quick to open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from schemas.answers import JOURNAL
from transforms.io import files
from transforms.models import journal_segments
from transforms.models.journal_segments import GROUP_BYTES, GROUP_ROWS, Segment


def merge(folder: Path, at_least: int = 64) -> None:
    """Make one segment of every ``at_least`` and more that follow each other and are of a tier; sweep up.

    A tier is how often a segment's numbers have been merged, so that each answer is written again a logarithm of times. Nobody
    may be writing to the journal. Killed at any moment, the journal holds the same.

    Raises:
        JournalError: a segment is damaged; the message says what to do.
        OSError: there is no room; the journal is as it was.
    """
    files.sweep(folder)
    while True:
        live, replaced = journal_segments.listed(folder)
        for segment in replaced:
            (folder / segment.name).unlink()
        tiers = (list(tier) for _, tier in groupby(live, key=partial(_tier, at_least=at_least)))
        together = next((tier for tier in tiers if len(tier) >= at_least), None)
        if together is None:
            return
        with journal_segments.attempted(folder, _grouped(folder, together)) as attempt:
            journal_segments.claim(attempt, folder, Segment(together[0].first, together[-1].last))


def _tier(segment: Segment, at_least: int) -> int:
    tier, numbers = 0, segment.last - segment.first + 1
    while numbers >= at_least:
        tier, numbers = tier + 1, numbers // at_least
    return tier


def _grouped(folder: Path, segments: Sequence[Segment]) -> Iterator[pa.Table]:
    """The rows of segments in their order, in tables that make good row groups."""
    held: list[pa.Table] = []
    for segment in segments:
        path = folder / segment.name
        with journal_segments.opened(path) as file:
            for group in range(file.num_row_groups):
                held.append(journal_segments.read(path, file, [group], JOURNAL.names))
                if sum(map(len, held)) >= GROUP_ROWS or sum(table.nbytes for table in held) >= GROUP_BYTES:
                    yield pa.concat_tables(held).unify_dictionaries()
                    held = []
    if held:
        yield pa.concat_tables(held).unify_dictionaries()

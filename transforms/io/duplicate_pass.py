"""The duplicate pass as Beam runs it; what is computed is in ``transforms.text.duplicates``, its files in
``duplicate_files``.

Nothing travels but the names of splits and the numbers of tasks. Every step reads files and commits files, whose bytes
depend on nothing but the files before; a step begins when all of the one before has ended.

::

    splits -> sign ---- catalogue -> equal --- group a band -- verify pairs ---- settle -> write lists
              a split    one task    a prefix   band, prefix    block of splits   one task   block of splits
                                                                crowds of a band
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import numpy as np
import polars as pl
import pyarrow as pa

from transforms.io import duplicate_files, files
from transforms.io.duplicate_files import OTHER, Catalogue, Published, Signed
from transforms.text import duplicates
from transforms.text.duplicates import Alike, Groups, Pairs, Settings, Standing
from transforms.text.words import Integers

PREFIX_DOCUMENTS: Final = 1 << 25
"""Documents of which one task groups the hashes of a band; of more, each task takes those with one prefix."""

BLOCKS: Final = 64
"""Tasks, at most, of the steps that go through the splits."""

TOLD_GROUPS: Final = 100
"""The largest groups, which the summary names."""

_RIGHT_BITS: Final = 32
"""Bits of a packed pair for its second document."""

MANY: Final = 10
"""Documents of a group that is worth a warning."""

SUMMARY: Final = "summary.json"


class Steps:
    """The steps of one pass over files: where they are, and what was asked for."""

    def __init__(self, work: Path, lists: Path, settings: Settings, published: Sequence[Published] = ()) -> None:
        self.area, self.lists = duplicate_files.area(work, settings), lists
        self.folder = work / "duplicates" / lists.name
        self.settings, self.published = settings, tuple(published)

    def catalogue(self, signed: Iterable[tuple[Any, ...]]) -> list[int]:
        """Number all documents. Returns the prefixes of keys to group.

        Raises:
            ValueError: there are 2,147,483,648 documents or more.
        """
        splits = {one.key: one for one in (Signed(*facts) for facts in signed)}
        blocks = min(BLOCKS, max(1, len(splits)))
        found = Catalogue.of(self.area, splits.values(), self.published, blocks)
        if found.documents >= 1 << _RIGHT_BITS - 1:
            raise ValueError(
                f"expected fewer than {1 << _RIGHT_BITS - 1:,} documents in all, found {found.documents:,}"
            )
        found.write(self.folder / "catalogue.arrow")
        _write_columns(self.folder / "absent.arrow", document=found.absent())
        return list(range(1 << _bits(found)))

    def equal(self, prefix: int) -> None:
        """Find equal texts among those whose key begins with a prefix."""
        known = self._known()
        hidden = np.zeros(known.documents, bool)
        hidden[self._absent()] = True
        documents, (keys, checks) = known.hashes(["key", "check"], hidden, prefix, _bits(known))
        same = duplicates.equal(keys, checks, documents, self._standing(known))
        _write_columns(self.folder / "same" / f"{prefix}.arrow", left=same.left, right=same.right)

    def bands(self) -> list[tuple[int, int]]:
        """The tasks of grouping: band and prefix."""
        return list(product(range(self.settings.banding[0]), range(1 << _bits(self._known()))))

    def group(self, task: tuple[int, int]) -> None:
        """Find the candidates of a band among the hashes with a prefix."""
        band, prefix = task
        known = self._known()
        hidden = np.zeros(known.documents, bool)
        hidden[self._absent()] = True
        hidden[self._same(known).right] = True
        documents, (hashes,) = known.hashes([duplicate_files.band_name(band)], hidden, prefix, _bits(known))
        pairs, crowds = duplicates.candidates(hashes, documents)
        with files.committed(self._candidates("pairs", task, "parquet")) as attempt:
            pl.DataFrame({"pair": np.sort(_packed(*pairs))}).write_parquet(attempt, row_group_size=1 << 18)
        sizes = np.diff(crowds.offsets)
        crowd = np.repeat(np.arange(len(sizes)), sizes)
        _write_columns(self._candidates("crowds", task, "arrow"), crowd=crowd, document=crowds.members)

    def checks(self) -> list[tuple[str, int, int]]:
        """The tasks of verification: all pairs that begin in a block of splits, and the crowds of each file."""
        pairs = [("pairs", block, 0) for block in self._known().blocks]
        return [*pairs, *(("crowds", *task) for task in self.bands())]

    def verify(self, task: tuple[str, int, int]) -> None:
        """Compare the shingles of candidates."""
        known = self._known()
        kind, at, prefix = task
        found = self._pairs(known, at) if kind == "pairs" else self._crowds(known, (at, prefix))
        _write_columns(self._alike(task), **found._asdict())

    def settle(self) -> list[int]:
        """Decide what is removed. Returns the blocks of splits whose lists are to be written."""
        known = self._known()
        alike = duplicates.gathered([self._found("pairs"), self._found("crowds")])
        same, standing = self._same(known), self._standing(known)
        decided, alike = duplicates.settle(alike, standing, known.shelf(), self.settings.threshold)
        removed = duplicate_files.told(known, duplicates.restore(decided, same, known.published))
        for block, (first, stop) in known.blocks.items():
            within = removed.filter(pl.col("document").is_between(first, stop, "left"))
            files.write_arrow(self.folder / "settled" / f"{block}.arrow", within.to_arrow())
        linked = Pairs(*(np.concatenate([getattr(same, side), getattr(alike, side)]) for side in Pairs._fields))
        summary = summarised(known, self.settings, linked, removed["exact"])
        files.write_bytes(self.lists / SUMMARY, json.dumps(summary, indent=1, sort_keys=True).encode())
        return list(known.blocks)

    def write(self, block: int) -> None:
        """Write the lists of a block of splits."""
        known = self._known()
        removed = pl.DataFrame(files.read_arrow(self.folder / "settled" / f"{block}.arrow"))
        for at, split in enumerate(known.frame.iter_rows(named=True)):
            if split["block"] == block and split["planned"]:
                within = pl.col("document").is_between(split["first"], split["first"] + split["documents"], "left")
                duplicate_files.write_list(self.lists, known, at, removed.filter(within))

    def _known(self) -> Catalogue:
        return Catalogue.read(self.folder / "catalogue.arrow")

    def _absent(self) -> Any:
        return files.read_arrow(self.folder / "absent.arrow")["document"].to_numpy()

    def _same(self, known: Catalogue) -> Pairs:
        prefixes = range(1 << _bits(known))
        table = pa.concat_tables(files.read_arrow(self.folder / "same" / f"{prefix}.arrow") for prefix in prefixes)
        return Pairs(table["left"].to_numpy(), table["right"].to_numpy())

    def _standing(self, known: Catalogue) -> Standing:
        return Standing(known.published, known.values(self.settings))

    def _candidates(self, kind: str, task: tuple[int, int], ending: str) -> Path:
        return self.folder / kind / f"{task[0]}-{task[1]}.{ending}"

    def _alike(self, task: tuple[str, int, int]) -> Path:
        return self.folder / "alike" / f"{task[0]}-{task[1]}-{task[2]}.arrow"

    def _found(self, kind: str) -> Alike:
        """All verified pairs of one kind, each once: a crowd is seen in several bands."""
        tables = [pl.DataFrame(files.read_arrow(self._alike(task))) for task in self.checks() if task[0] == kind]
        found = pl.concat(tables) if kind == "pairs" else pl.concat(tables).unique()
        return Alike(*(found[name].to_numpy() for name in Alike._fields))

    def _pairs(self, known: Catalogue, block: int) -> Alike:
        paths = [self._candidates("pairs", task, "parquet") for task in self.bands()]
        first, stop = (document << _RIGHT_BITS for document in known.blocks[block])
        found = files.scan_parquet(paths).filter(pl.col("pair").is_between(first, stop, "left")).collect()
        pairs = np.unique(found["pair"].to_numpy())
        asked = Pairs(pairs >> _RIGHT_BITS, pairs & (1 << _RIGHT_BITS) - 1)
        return duplicates.verify(asked, known.shelf(), self.settings.threshold)

    def _crowds(self, known: Catalogue, task: tuple[int, int]) -> Alike:
        table = files.read_arrow(self._candidates("crowds", task, "arrow"))
        crowd = table["crowd"].to_numpy()
        bounds = np.searchsorted(crowd, np.arange(crowd[-1] + 2 if len(crowd) else 1))
        crowds = Groups(table["document"].to_numpy(), bounds)
        return duplicates.led(crowds, known.shelf(), self.settings.threshold, self._standing(known))


def summarised(known: Catalogue, settings: Settings, linked: Pairs, exact: pl.Series) -> dict[str, Any]:
    """Counts, the largest groups of documents that any chain links, and a warning for each that is much of its
    source."""
    members, roots = duplicates.components(*linked)
    splits = pl.Series(np.searchsorted(known.first, members, "right") - 1)
    sources = known.frame.filter(pl.col("source") != OTHER).group_by("source").agg(pl.col("documents").sum())
    grouped = pl.DataFrame({"group": roots, "source": known.frame["source"].gather(splits)})
    groups = (
        grouped.group_by("group", "source")
        .agg(members=pl.len())
        .join(sources, on="source")
        .with_columns(share=pl.col("members") / pl.col("documents"))
    )
    largest = groups.sort("members", "group", "source", descending=[True, False, False]).head(TOLD_GROUPS)
    firsts = np.unique(largest["group"].to_numpy())
    names = pl.DataFrame({"group": firsts, "record_id": known.record_ids(firsts)})
    named = largest.join(names, on="group", maintain_order="left").drop("group", "documents")
    much = named.filter((pl.col("share") > settings.group_share) & (pl.col("members") >= MANY))
    return {
        "documents": known.documents,
        "published": known.published,
        "removed": {"duplicate": int(exact.sum()), "near_duplicate": int((~exact).sum())},
        "groups": int(grouped["group"].n_unique()),
        "largest": named.to_dicts(),
        "warnings": [
            f"source {row['source']}: a group of {row['members']:,} documents like {row['record_id']} "
            f"is {row['share']:.1%} of it"
            for row in much.iter_rows(named=True)
        ],
    }


class DuplicatePass(beam.PTransform):
    """Split indices to one list a split, written to ``lists`` with a summary.

    ``read`` makes the files of the split at an index in ``duplicate_files.area(work, settings)``, as
    ``duplicate_files.cached`` does, and tells of them.
    """

    def __init__(
        self,
        read: Callable[[int], Iterator[Signed]],
        work: Path,
        lists: Path,
        settings: Settings,
        published: Sequence[Published] = (),
    ) -> None:
        super().__init__()
        self.read, self.steps = read, Steps(work, lists, settings, published)

    def expand(self, indices: beam.PCollection) -> beam.PCollection:
        steps = self.steps
        facts = tuple[int, tuple[str, str, int, int, int, int]]
        signed = indices | "sign" >> beam.FlatMap(partial(_sign, read=self.read)).with_output_types(facts)
        prefixes = (
            signed
            | "all splits" >> beam.GroupByKey()
            | "catalogue" >> beam.FlatMapTuple(partial(_catalogue, steps=steps)).with_output_types(int)
        )
        equal = _each(prefixes, "equal", steps.equal)
        bands = _then(equal, "bands", steps.bands, tuple[int, int])
        grouped = _each(bands, "group a band", steps.group)
        checks = _then(grouped, "checks", steps.checks, tuple[str, int, int])
        verified = _each(checks, "verify", steps.verify)
        blocks = _then(verified, "settle", steps.settle, int)
        return _each(blocks, "write lists", steps.write)


def _sign(index: int, read: Callable[[int], Iterator[Signed]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    yield from ((0, tuple(signed)) for signed in read(index))


def _catalogue(_: int, signed: Iterable[tuple[Any, ...]], steps: Steps) -> list[int]:
    return steps.catalogue(signed)


def _each(tasks: beam.PCollection, label: str, do: Callable[[Any], None]) -> beam.PCollection:
    """Deal tasks out; an element is left of each that is done."""
    dealt = tasks | f"deal: {label}" >> beam.Reshuffle()
    return dealt | label >> beam.Map(partial(_done, do=do)).with_output_types(tuple[int, int])


def _done(task: Any, do: Callable[[Any], None]) -> tuple[int, int]:
    do(task)
    return 0, 0


def _then(done: beam.PCollection, label: str, do: Callable[[], Sequence[Any]], kind: Any) -> beam.PCollection:
    """The next tasks, once all are done."""
    once = done | f"before: {label}" >> beam.GroupByKey()
    return once | label >> beam.FlatMap(partial(_next, do=do)).with_output_types(kind)


def _next(_: Any, do: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    return do()


def _bits(known: Catalogue) -> int:
    """Bits of hash prefix that keep a task within ``PREFIX_DOCUMENTS``."""
    return max(0, ((known.documents - 1) // PREFIX_DOCUMENTS).bit_length())


def _packed(left: Integers, right: Integers) -> Integers:
    """Pairs in one number each, which sorts as they do."""
    return left << _RIGHT_BITS | right


def _write_columns(path: Path, **columns: Any) -> None:
    files.write_arrow(path, pa.table({name: pa.array(column) for name, column in columns.items()}))

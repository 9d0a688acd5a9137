"""Exact and near duplicates: which texts are removed, for which one that stays.

Documents are numbers. They are found alike in three steps, each a function of arrays:

==============  ========================================================================================================
``equal``       texts with one key: the first of them in survivor order stands for all from here on
``candidates``  texts with one hash of a band. In a small bucket all pairs; in a large one, a *crowd*, each text
                against the first few that are alike no earlier one of them (``lead``): its length, not the square
``settle``      only pairs whose exact Jaccard similarity reaches the threshold are left. In survivor order, a text is
                removed if, and only if, it is alike one that stays, and it names the most similar of these
==============  ========================================================================================================

So a removed text is alike the text it names: in a chain A ~ B ~ C with A unlike C, B goes for A and C stays. What
stays, but is alike a removed text, is compared with the text that one was removed for, should the bands have missed
that pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from transforms.text import minhash, shingles
from transforms.text.shingles import Hashes, Sets, Shingling, gather
from transforms.text.words import Integers

VERSION: Final = 1
"""Raised whenever other texts are removed, or name another survivor: also with those of shingles and minhash."""

Survivor = Literal["first", "longest", "best"]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SMALL: Final = 20
"""Documents in a bucket of which all pairs are compared."""

LEADERS: Final = 16
"""Documents of a crowd, alike no earlier one of them, with which all later ones are compared."""

AT_ONCE: Final = 1 << 17
"""Pairs, or documents of a crowd, that are taken at once."""

SHINGLES_AT_ONCE: Final = 1 << 25
"""Shingles that are in memory at once, save of a single pair that has more."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a duplicate is, and which one of two survives.

    ``threshold``: Jaccard similarity from which a text is a near duplicate; 1 or less. ``slots``: of a signature.
    ``bands``: how many, and of how many slots; None for those that find ``recall`` of the pairs at the threshold.
    ``survivor``: the ``first`` of file and row, the ``longest``, or the ``best`` in the column ``rank``; the first one
    of equals. ``group_share``: a group with more than this share of the documents of its source is told as a warning.
    """

    threshold: float = 0.8
    shingling: Shingling = field(default_factory=Shingling)
    slots: int = 128
    bands: tuple[int, int] | None = None
    recall: float = 0.98
    survivor: Survivor = "first"
    group_share: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold: expected more than 0 and at most 1, got {self.threshold}")
        bands, rows = self.banding
        if min(bands, rows) < 1 or bands * rows > self.slots:
            raise ValueError(
                f"bands: expected bands and rows of at most {self.slots} slots in all, got {bands} of {rows}"
            )

    @property
    def banding(self) -> tuple[int, int]:
        """Bands, and slots in each."""
        return self.bands or minhash.bands_for(self.threshold, self.slots, self.recall)


class Pairs(NamedTuple):
    """Pairs of documents: Int64 ``left`` and ``right``, ``left`` the smaller number."""

    left: Integers
    right: Integers


class Alike(NamedTuple):
    """Pairs with their Jaccard similarity, Float64."""

    left: Integers
    right: Integers
    similarity: Floats


class Groups(NamedTuple):
    """Groups of numbers: ``members``, and k + 1 ``offsets`` of each group's first one."""

    members: Integers
    offsets: Integers


class Standing(NamedTuple):
    """Who survives: documents below ``published`` before all others, then the larger of ``values``, then the smaller
    number.

    ``values`` is Float64 for every document, without NaN, or None where all are the same.
    """

    published: int
    values: Floats | None

    def order(self, documents: Integers, groups: Integers | None = None) -> Integers:
        """What sorts documents into survivor order, within groups if there are any."""
        keys: list[npt.NDArray[Any]] = [documents]  # in which what is published comes first
        if self.values is not None:
            keys += [-self.values[documents], documents >= self.published]
        return np.lexsort([*keys, *([] if groups is None else [groups])])


class Settled(NamedTuple):
    """Removed documents, sorted; the survivor that each names; the similarity of the two; whether their texts are
    equal."""

    documents: Integers
    survivors: Integers
    similarity: Floats
    equal: Flags


class Shelf(NamedTuple):
    """Where the distinct shingles of documents are. Both functions take sorted numbers, each once."""

    sizes: Callable[[Integers], Integers]
    sets: Callable[[Integers], Sets]


def values(rule: Survivor, lengths: pl.Series, ranks: pl.Series) -> Floats | None:
    """What a survivor rule goes by, larger first; the last are those without."""
    if rule == "first":
        return None
    chosen = lengths if rule == "longest" else ranks
    return chosen.cast(pl.Float64).fill_nan(None).fill_null(-np.inf).to_numpy()


def equal(keys: Hashes, checks: Hashes, documents: Integers, standing: Standing) -> Pairs:
    """Documents whose key and check are both equal: the survivor of each group (``left``), and every other member
    (``right``)."""
    members, offsets = buckets(keys, checks)
    groups = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    found = documents[members]
    found = found[standing.order(found, groups)]
    others = np.ones(len(found), bool)
    others[offsets[:-1]] = False
    return Pairs(np.repeat(found[offsets[:-1]], np.diff(offsets))[others], found[others])


def candidates(hashes: Hashes, documents: Integers, small: int = SMALL) -> tuple[Pairs, Groups]:
    """Pairs of documents with one hash of a band, and the crowds of more than ``small``.

    Args:
        hashes: UInt64, m documents.
        documents: Int64, m, ascending.
    """
    members, offsets = buckets(hashes)
    few = np.diff(offsets) <= small
    left, right = _pairs(members, offsets, few)
    crowded = np.diff(offsets)[~few]
    crowds = members[np.repeat(~few, np.diff(offsets))]
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(crowded)])
    return Pairs(documents[left], documents[right]), Groups(documents[crowds], bounds)


def buckets(hashes: Hashes, checks: Hashes | None = None) -> Groups:
    """Groups of places with one hash (and one check), of two places or more; places ascend in each."""
    places = _recurring(hashes, 1 << max(6, int(len(hashes) * 8 - 1).bit_length()))
    keys = (hashes[places],) if checks is None else (checks[places], hashes[places])
    order = np.lexsort(keys)
    places = places[order]
    differs = np.zeros(max(0, len(places) - 1), bool)
    for key in keys:
        ordered = key[order]
        differs |= ordered[1:] != ordered[:-1]
    ends = [np.zeros(1, np.int64), np.flatnonzero(differs) + 1, np.full(1, len(places))]
    sizes = np.diff(np.concatenate(ends))
    shared = sizes > 1
    return Groups(places[np.repeat(shared, sizes)], np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[shared])]))


def verify(pairs: Pairs, shelf: Shelf, threshold: float) -> Alike:
    """The pairs whose exact Jaccard similarity reaches the threshold."""
    found = []
    for at in range(0, len(pairs.left), AT_ONCE):
        some = Pairs(*(side[at : at + AT_ONCE] for side in pairs))
        documents, places = np.unique(np.concatenate(some), return_inverse=True)
        sizes = shelf.sizes(documents)[places].reshape(2, -1).sum(axis=0)
        found += [_verified(Pairs(*(side[few] for side in some)), shelf, threshold) for few in _portions(sizes)]
    return gathered(found)


def gathered(parts: list[Alike]) -> Alike:
    """Pairs of several parts together."""
    nothing = Alike(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    return Alike(*(np.concatenate(column) for column in zip(nothing, *parts, strict=True)))


def lead(crowd: Integers, shelf: Shelf, threshold: float, standing: Standing, leaders: int = LEADERS) -> Alike:
    """The pairs of a crowd that reach the threshold, of its leaders and all others.

    In survivor order, a document that is alike no leader becomes one, until there are ``leaders`` of them.
    """
    ordered = crowd[standing.order(crowd)]
    leading, found = np.empty(0, np.int64), []
    for at in range(0, len(ordered), AT_ONCE):
        some = ordered[at : at + AT_ONCE]
        documents, places = np.unique(some, return_inverse=True)
        for few in _portions(shelf.sizes(documents)[places]):
            chunk = np.concatenate([leading, some[few]])
            documents, places = np.unique(chunk, return_inverse=True)
            chosen, one, other, similarity = _lead(*shelf.sets(documents), places, len(leading), leaders, threshold)
            right, left = _directed(chunk[one], chunk[other])
            found.append(Alike(left, right, similarity))
            leading = chunk[chosen]
    return gathered(found)


def led(crowds: Groups, shelf: Shelf, threshold: float, standing: Standing) -> Alike:
    """The pairs of all crowds, as ``lead`` finds them. Shingles of as many crowds as there is room for are read at
    once."""
    documents, places = np.unique(crowds.members, return_inverse=True)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(shelf.sizes(documents)[places])])[crowds.offsets]
    found = []
    for some in _portions(np.diff(ends)):
        members = np.split(crowds.members, crowds.offsets[some.start : some.stop + 1])[1:-1]
        fits = ends[some.stop] - ends[some.start] <= SHINGLES_AT_ONCE
        near = _held(shelf, np.unique(np.concatenate(members))) if fits else shelf
        found += [lead(crowd, near, threshold, standing) for crowd in members]
    return gathered(found)


def settle(alike: Alike, standing: Standing, shelf: Shelf, threshold: float) -> tuple[Settled, Alike]:
    """Decide who is removed, and for whom.

    Args:
        alike: verified pairs; one may be there more than once.

    Returns:
        What is removed, and all verified pairs, with those found on the way.
    """
    ordered, position = _positions(alike, standing)
    fixed = int(np.count_nonzero(ordered < standing.published))
    tried = np.empty(0, np.int64)
    later, earlier = _directed(position[alike.left], position[alike.right])
    while True:
        named = _walk(later, earlier, alike.similarity, fixed, len(ordered))
        removed = named >= 0
        keeper = np.full(len(ordered), -1)
        keeper[removed] = earlier[named[removed]]
        asked = np.setdiff1d(np.unique(_missed(later, earlier, keeper, fixed)), tried, assume_unique=True)
        if not len(asked):
            found = np.stack([ordered[removed], ordered[keeper[removed]]])
            by = np.argsort(found[0])
            near = alike.similarity[named[removed]]
            return Settled(found[0, by], found[1, by], near[by], np.zeros(len(by), bool)), alike
        tried = np.concatenate([tried, asked])
        pairs = np.sort(ordered[np.stack(np.divmod(asked, len(ordered)))], axis=0)
        fresh = verify(Pairs(pairs[0], pairs[1]), shelf, threshold)
        alike = gathered([alike, fresh])
        sides = _directed(position[fresh.left], position[fresh.right])
        later, earlier = np.concatenate([later, sides[0]]), np.concatenate([earlier, sides[1]])


def restore(settled: Settled, same: Pairs, published: int) -> Settled:
    """Add the documents that a survivor of equals stood for: they go for it, or for what it was removed for."""
    same = Pairs(*(side[same.right >= published] for side in same))
    at = np.searchsorted(settled.documents, same.left)
    gone = np.append(settled.documents, -1)[at] == same.left
    documents = np.concatenate([settled.documents, same.right])
    order = np.argsort(documents)
    return Settled(
        documents[order],
        np.concatenate([settled.survivors, np.where(gone, np.append(settled.survivors, -1)[at], same.left)])[order],
        np.concatenate([settled.similarity, np.where(gone, np.append(settled.similarity, 1.0)[at], 1.0)])[order],
        np.concatenate([settled.equal, ~gone])[order],
    )


def components(left: Integers, right: Integers) -> tuple[Integers, Integers]:
    """Documents that are linked by any chain: the sorted numbers, and for each the smallest of its component."""
    documents, place = _numbered(left, right)
    graph = coo_array((np.ones(len(left), bool), (place[left], place[right])), shape=(len(documents),) * 2)
    count, labels = connected_components(graph, directed=False) if len(documents) else (0, documents)
    first = np.empty(count, np.int64)
    first[labels[::-1]] = documents[::-1]  # of equal labels, the last one stays: the smallest number
    return documents, first[labels]


def mark(frame: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Find the duplicates of a frame, all in memory.

    Args:
        frame: ``text`` String; ``rank`` of any number type for the rule ``best``.

    Returns:
        The frame with ``reason`` (``duplicate`` for an equal text, ``near_duplicate``, null for what stays),
        ``duplicate_of`` (Int64, row of the survivor) and ``similarity`` (Float32).
    """
    shingled = shingles.shingle(frame["text"], settings.shingling)
    sets = shingles.distinct(shingled.sets)
    ranks = frame["rank"] if "rank" in frame.columns else pl.repeat(None, len(frame), dtype=pl.Float64, eager=True)
    standing = Standing(0, values(settings.survivor, frame["text"].str.len_chars(), ranks))
    documents = np.arange(len(frame))
    same = equal(shingled.keys[:, 0], shingled.keys[:, 1], documents, standing)
    single = np.ones(len(frame), bool)
    single[same.right] = False
    shelf = Shelf(np.diff(sets.offsets).__getitem__, partial(_picked, sets))
    hashes = minhash.banded(minhash.signatures(sets, settings.slots), *settings.banding)
    alike = []
    for band in hashes:
        pairs, crowds = candidates(band[single], documents[single])
        alike.append(verify(pairs, shelf, settings.threshold))
        alike.append(led(crowds, shelf, settings.threshold, standing))
    found, _ = settle(gathered(alike), standing, shelf, settings.threshold)
    told = restore(found, same, 0)
    columns = pl.DataFrame(
        {
            "row": told.documents,
            "reason": pl.Series(np.where(told.equal, "duplicate", "near_duplicate"), dtype=pl.String),
            "duplicate_of": told.survivors,
            "similarity": told.similarity.astype(np.float32),
        }
    )
    every = pl.select(row=pl.int_range(len(frame), dtype=pl.Int64))
    return frame.with_columns(every.join(columns, on="row", how="left", maintain_order="left").drop("row"))


def _picked(sets: Sets, documents: Integers) -> Sets:
    sizes = sets.offsets[documents + 1] - sets.offsets[documents]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    return Sets(gather(sets.hashes, sets.offsets, documents, int(offsets[-1])), offsets)


def _held(shelf: Shelf, documents: Integers) -> Shelf:
    """Some documents' shingles, in memory."""
    sets = shelf.sets(documents)
    sizes = np.diff(sets.offsets)
    return Shelf(
        lambda wanted: sizes[np.searchsorted(documents, wanted)],
        lambda wanted: _picked(sets, np.searchsorted(documents, wanted)),
    )


def _portions(sizes: Integers) -> Iterator[slice]:
    """Slices of so many shingles, or of one element that has more."""
    ends = np.cumsum(sizes)
    at = 0
    while at < len(sizes):
        stop = int(np.searchsorted(ends, ends[at] - sizes[at] + SHINGLES_AT_ONCE, "right"))
        yield slice(at, max(stop, at + 1))
        at = max(stop, at + 1)


def _verified(pairs: Pairs, shelf: Shelf, threshold: float) -> Alike:
    wanted, places = np.unique(np.concatenate(pairs), return_inverse=True)
    one, other = places[: len(pairs.left)], places[len(pairs.left) :]
    similarity = _similarities(*shelf.sets(wanted), one, other, threshold)
    enough = similarity >= threshold
    return Alike(pairs.left[enough], pairs.right[enough], similarity[enough])


def _directed(one: Integers, other: Integers) -> tuple[Integers, Integers]:
    """The larger and the smaller of each two."""
    return np.maximum(one, other), np.minimum(one, other)


def _positions(alike: Alike, standing: Standing) -> tuple[Integers, Integers]:
    """The documents of pairs in survivor order, and the position there of every document's number."""
    documents, position = _numbered(alike.left, alike.right)
    ordered = documents[standing.order(documents)]
    position[ordered] = np.arange(len(ordered))
    return ordered, position


def _numbered(left: Integers, right: Integers) -> tuple[Integers, Integers]:
    """The documents of pairs, sorted, and the place there of every document's number."""
    present = np.zeros(int(max(left.max(initial=-1), right.max(initial=-1))) + 1, bool)
    present[left] = present[right] = True
    return np.flatnonzero(present), np.cumsum(present) - 1


@numba.njit(cache=True, nogil=True)
def _missed(later: Integers, earlier: Integers, keeper: Integers, fixed: int) -> Any:
    """Two documents that stay, of which one is alike a document that was removed for the other, but not two of the
    first ``fixed``: Int64, the smaller position times the number of positions, plus the larger one."""
    missed = np.empty(len(later), np.int64)
    count = 0
    for pair in range(len(later)):
        one, other = later[pair], earlier[pair]
        if keeper[one] >= 0:
            one, other = other, one
        if keeper[one] < 0 and keeper[other] >= 0 and keeper[other] != one:
            low, high = min(one, keeper[other]), max(one, keeper[other])
            if high >= fixed:
                missed[count] = low * len(keeper) + high
                count += 1
    return missed[:count]


@numba.njit(cache=True, nogil=True)
def _recurring(hashes: Hashes, size: int) -> Any:
    """Places of hashes whose lower bits come twice: all that recur, and few others. ``size`` is a power of two."""
    seen = np.zeros((size >> 6, 2), np.uint64)  # once, and again
    mask = np.uint64(size - 1)
    for at in range(len(hashes)):
        low = hashes[at] & mask
        word, bit = low >> np.uint64(6), np.uint64(1) << (low & np.uint64(63))
        seen[word, 1] |= seen[word, 0] & bit
        seen[word, 0] |= bit
    places = np.empty(len(hashes), np.int64)
    count = 0
    for at in range(len(hashes)):
        low = hashes[at] & mask
        places[count] = at
        if seen[low >> np.uint64(6), 1] >> (low & np.uint64(63)) & np.uint64(1):
            count += 1
    return places[:count].copy()


@numba.njit(cache=True, nogil=True)
def _pairs(members: Integers, offsets: Integers, few: Flags) -> tuple[Any, Any]:
    count = 0
    for bucket in range(len(few)):
        if few[bucket]:
            size = offsets[bucket + 1] - offsets[bucket]
            count += size * (size - 1) // 2
    left, right = np.empty(count, np.int64), np.empty(count, np.int64)
    count = 0
    for bucket in range(len(few)):
        if few[bucket]:
            for one in range(offsets[bucket], offsets[bucket + 1]):
                for other in range(one + 1, offsets[bucket + 1]):
                    left[count], right[count] = members[one], members[other]
                    count += 1
    return left, right


@numba.njit(cache=True, inline="always")
def _jaccard(hashes: Hashes, offsets: Integers, one: int, other: int, threshold: float) -> Any:
    """The Jaccard similarity of two sorted sets, or -1 as soon as it cannot reach the threshold. Two empty sets are
    equal."""
    left, right = offsets[one], offsets[other]
    end_left, end_right = offsets[one + 1], offsets[other + 1]
    total = end_left - left + end_right - right
    if total == 0:
        return 1.0
    spare = total - 2 * threshold / (1 + threshold) * total + 1e-6 * total  # shingles that may be in one set only
    both = 0
    unlike = 0
    while left < end_left and right < end_right:
        if hashes[left] == hashes[right]:
            both += 1
            left += 1
            right += 1
        elif hashes[left] < hashes[right]:
            left += 1
            unlike += 1
        else:
            right += 1
            unlike += 1
        if unlike > spare:
            return -1.0
    return both / (total - both)


@numba.njit(cache=True, nogil=True)
def _similarities(hashes: Hashes, offsets: Integers, one: Integers, other: Integers, threshold: float) -> Any:
    found = np.empty(len(one), np.float64)
    for pair in range(len(one)):
        found[pair] = _jaccard(hashes, offsets, one[pair], other[pair], threshold)
    return found


@numba.njit(cache=True, nogil=True)
def _lead(
    hashes: Hashes, offsets: Integers, places: Integers, leading: int, most: int, threshold: float
) -> tuple[Any, Any, Any, Any]:
    """The places of a chunk that lead, of which the first ``leading`` do; and the pairs of leaders and others that are
    alike."""
    leaders = np.empty(most, np.int64)
    for at in range(leading):
        leaders[at] = at
    room = (len(places) - leading) * most
    one, other, similarity = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.float64)
    found = 0
    for at in range(leading, len(places)):
        known = found
        for leader in range(leading):
            value = _jaccard(hashes, offsets, places[leaders[leader]], places[at], threshold)
            if value >= threshold:
                one[found], other[found], similarity[found] = leaders[leader], at, value
                found += 1
        if found == known and leading < most:
            leaders[leading] = at
            leading += 1
    return leaders[:leading], one[:found], other[:found], similarity[:found]


@numba.njit(cache=True, nogil=True)
def _walk(later: Integers, earlier: Integers, similarity: Floats, fixed: int, count: int) -> Any:
    """For every position the pair it is removed for, or -1: the most similar whose earlier document stays, the first of
    equals."""
    ends = np.zeros(count + 1, np.int64)
    for pair in range(len(later)):
        ends[later[pair] + 1] += 1
    for position in range(count):
        ends[position + 1] += ends[position]
    pairs = np.empty(len(later), np.int64)
    for pair in range(len(later)):
        pairs[ends[later[pair]]] = pair
        ends[later[pair]] += 1
    named = np.full(count, -1, np.int64)
    begin = 0
    for position in range(count):
        if position >= fixed:
            best = -1
            for at in range(begin, ends[position]):
                pair = pairs[at]
                if named[earlier[pair]] < 0 and (
                    best < 0
                    or similarity[pair] > similarity[best]
                    or (similarity[pair] == similarity[best] and earlier[pair] < earlier[best])
                ):
                    best = pair
            named[position] = best
        begin = ends[position]
    return named

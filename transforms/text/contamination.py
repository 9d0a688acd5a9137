"""Which documents hold a piece of a benchmark: n-grams of words that a document shares with the texts models are tested on.

=================  ===================================================================================================
n-gram             13 words in a row. A benchmark text of 8 to 12 words counts as one n-gram, a shorter one is not
                   searched: below 8 words the matches are chance (Brown et al. 2020, GPT-3, appendix C)
word               a word of ``transforms.text.words`` without its punctuation, symbols and accents, case folded
common             an n-gram of more than 10 different benchmark texts is a template ("Your answer must contain at
                   least ...") and not searched; GPT-3 drops n-grams that are common in the training data likewise
contamination      the largest share of one benchmark text's words that the document holds inside shared n-grams:
                   0 none, 1 all of it (token coverage by a single document, Lambert et al. 2024, Tulu 3, section 3.2)
=================  ===================================================================================================

The words of all n-grams are kept with their hashes: a document's n-gram whose hash is found counts only when its words are equal.
A document is read once, whatever the number of benchmarks. Nothing that is returned quotes a benchmark.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import fsspec
import numba
import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.text import words
from transforms.text.words import Bytes, Hashes, Integers, Segmentation, Texts, Words, decode

VERSION: Final = 1
"""Raised whenever a text has another contamination against the same benchmarks."""

REASON: Final = "contaminated"
SCORES: Final[dict[str, Any]] = {
    "contamination": pl.Float32(),
    "contaminated_words": pl.Int64(),
    "contaminated_by": pl.String(),
    "contaminated_span": pl.Struct({"start": pl.Int64, "stop": pl.Int64}),
}
"""The columns of ``measure``."""

MAX_NGRAM: Final = 64
MAX_BYTES: Final = 1 << 30
"""Of one benchmark, unpacked."""

_BLOCK_BYTES: Final = 8 << 20
_FILTER_BITS_PER_NGRAM: Final = 64
_MAX_FILTER_BITS: Final = 26  # a filter of 8 MiB

Points = npt.NDArray[np.uint32]

_FNV_OFFSET: Final = np.uint64(0xCBF29CE484222325)
_FNV_PRIME: Final = np.uint64(0x100000001B3)
_NOTHING: Final = np.uint64(0)
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)
_SPREAD: Final = np.uint64(0xD6E8FEB86659FD93)


class BenchmarkError(Exception):
    """A benchmark cannot be read; the message names the file, and the row where one is to blame."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's file.

    Attributes:
        name: What ``contaminated_by`` calls it.
        path: Path or URI of a Parquet or JSONL file, the latter plain, ``.gz`` or ``.zst``.
        columns: Columns of text: String or List(String). Each string is a text of its own; nulls are none.
    """

    name: str
    path: str
    columns: tuple[str, ...] = ("prompt",)


@dataclass(frozen=True)
class Settings:
    """What is searched.

    Attributes:
        ngram: Words in an n-gram, 1 to 64.
        shortest: Words a benchmark text must have to be searched, at most ``ngram``.
        common: Different benchmark texts that may share an n-gram before it is taken for a template.
        words: What a word is.
    """

    ngram: int = 13
    shortest: int = 8
    common: int = 10
    words: Segmentation = "script"

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.ngram <= MAX_NGRAM:
            raise ValueError(
                f"expected 1 <= shortest <= ngram <= {MAX_NGRAM}, got shortest {self.shortest} and ngram {self.ngram}"
            )
        if self.common < 1:
            raise ValueError(f"common: expected at least 1, got {self.common}")


class _Vocabulary(NamedTuple):
    """Words, folded: the code points of all, n + 1 offsets of each word's first, and a hash of each."""

    points: Points
    offsets: Integers
    hashes: Hashes


class _Index(NamedTuple):
    """The n-grams to look for, in order of their hashes.

    ``sizes`` are the lengths in use, ascending. ``filter`` has a bit for the hash of the last ``sizes[0]`` words of each n-gram:
    the spread hash shifted right by ``shift``.
    """

    hashes: Hashes
    first_words: Integers
    lengths: Integers
    sizes: Integers
    filter: Bytes
    shift: np.uint64


@dataclass(frozen=True)
class Benchmarks:
    """Benchmark texts, ready to be searched for; made by ``load``.

    Attributes:
        settings: What is searched.
        identity: Hexadecimal SHA-256 of the benchmarks' contents and names and of the settings: a part of the plan.
        summary: A row for each benchmark: ``name``, and how many texts it has (``texts``), of which are ``searched``,
            ``too_short``, ``repeated`` (equal to an earlier one), or nothing but ``common`` n-grams.
    """

    settings: Settings
    identity: str
    summary: pl.DataFrame
    _vocabulary: _Vocabulary
    _index: _Index
    _entries: (
        pl.DataFrame
    )  # entry (ascending by name and row), label, words: how many of its words are in searched n-grams
    _postings: pl.DataFrame  # gram, entry, position, length: where each n-gram stands

    @staticmethod
    def load(benchmarks: Sequence[Benchmark], settings: Settings = Settings()) -> Benchmarks:
        """Read benchmarks and index their n-grams; done once per process for the same contents and settings.

        Raises:
            BenchmarkError: A file that cannot be read, a broken row, a column that is missing or is no text, or no text at all.
        """
        repeated = [name for name, count in Counter(benchmark.name for benchmark in benchmarks).items() if count > 1]
        if repeated:
            raise BenchmarkError(f"expected one benchmark of a name, found several called {', '.join(repeated)}")
        ordered = sorted(benchmarks, key=lambda benchmark: benchmark.name)
        return _build(tuple((benchmark, _content(benchmark)) for benchmark in ordered), settings)


def measure(texts: pl.Series, benchmarks: Benchmarks) -> pl.DataFrame:
    """How much of a benchmark each text holds, of which, and where.

    Args:
        texts: String, n texts; null and empty hold nothing.
        benchmarks: What to look for.

    Returns:
        n rows, about the benchmark text of which the largest share was found (of equal ones the first by name and row):

        - ``contamination``: Float32, the share of its words that were found, 0 to 1;
        - ``contaminated_words``: Int64, how many those are;
        - ``contaminated_by``: String, ``name:row``, rows counted from 0; null where nothing was found;
        - ``contaminated_span``: Struct of Int64 ``start`` and ``stop``, the longest run of shared words, in characters
          (``text[start:stop]``, ``str.slice(start, stop - start)``); null where nothing was found.
    """
    buffer = words.buffer(texts)
    found = [_search_block(buffer, first, last, benchmarks) for first, last in _blocks(buffer.offsets)]
    rows = pl.DataFrame({"document": pl.int_range(len(texts), dtype=pl.Int64, eager=True)})
    if not found:
        return pl.DataFrame(schema=SCORES)
    joined = rows.join(pl.concat(found), on="document", how="left", maintain_order="left")
    return joined.select(
        pl.col("contamination").fill_null(0).cast(pl.Float32),
        pl.col("contaminated_words").fill_null(0),
        "contaminated_by",
        pl.when(pl.col("start").is_not_null()).then(pl.struct("start", "stop")).alias("contaminated_span"),
    )


def select(frame: pl.DataFrame, benchmarks: Benchmarks, maximum: float = 0.0) -> pl.DataFrame:
    """Add the scores of the column ``text``, ``failed`` and ``reason``.

    Args:
        frame: With ``text``: String, n rows.
        benchmarks: What to look for.
        maximum: The largest ``contamination`` that is kept. 0: one shared n-gram rejects, as GPT-3 and datatrove do; Tulu 3
            rejects above 0.5.

    Returns:
        The frame with the columns of ``measure``, ``failed`` (List(String)) and ``reason`` (String: ``contaminated``, null
        where the text is kept).
    """
    reason = pl.when(pl.col("contamination") > pl.lit(maximum, pl.Float32)).then(pl.lit(REASON))
    return frame.with_columns(measure(frame["text"], benchmarks).get_columns()).with_columns(
        failed=pl.concat_list(reason).list.drop_nulls(), reason=reason
    )


@functools.cache
def folding() -> Points:
    """UInt32 for every code point: the one it is compared as, 0 where it is left out.

    Letters and digits count, in lower case, of compatible forms the plain one (full width, superscript), without accents:
    Unicode's NFKD without nonspacing marks, where that is a single code point. All else is left out.
    """
    points = np.delete(np.arange(0x110000, dtype=np.uint32), np.s_[0xD800:0xE000])
    characters = pl.Series("character", list(points.tobytes().decode("utf-32-le")))
    counted = characters.str.contains(r"[\p{L}\p{N}\p{Mc}]")
    plain = pl.col("character").str.normalize("NFKD").str.replace_all(r"\p{Mn}", "")
    lower = pl.col("character").str.to_uppercase().str.to_lowercase()
    folded = (
        pl.DataFrame(characters.filter(counted))
        .with_columns(pl.when(plain.str.len_chars() == 1).then(plain).otherwise("character").alias("character"))
        .select(pl.when(lower.str.len_chars() == 1).then(lower).otherwise(pl.col("character").str.to_lowercase()))
        .select(pl.col("character").str.slice(0, 1).str.join(""))
        .item()
    )
    table = np.zeros(0x110000, np.uint32)
    table[points[counted.to_numpy()]] = np.frombuffer(folded.encode("utf-32-le"), np.uint32)
    return table


def _content(benchmark: Benchmark) -> bytes:
    try:
        with fsspec.open(benchmark.path, "rb", compression="infer") as stream:
            content: bytes = stream.read(MAX_BYTES + 1)
    except Exception as error:  # every filesystem and every compression has exceptions of its own
        raise BenchmarkError(f"{benchmark.path}: {(str(error) or type(error).__name__).splitlines()[0]}") from error
    if len(content) > MAX_BYTES:
        raise BenchmarkError(f"{benchmark.path}: expected at most {MAX_BYTES:,} bytes, unpacked")
    return content


def _rows(benchmark: Benchmark, content: bytes) -> Iterator[list[Any]]:
    """The values of the columns in each row."""
    if benchmark.path.endswith(".parquet"):
        yield from _parquet_rows(benchmark, content)
        return
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{benchmark.path}: line {number}"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise BenchmarkError(f"{where}: expected JSON, {error.msg} in column {error.colno}") from None
        if not isinstance(row, dict):
            raise BenchmarkError(f"{where}: expected a JSON object, found {type(row).__name__}")
        missing = [column for column in benchmark.columns if column not in row]
        if missing:
            raise BenchmarkError(f"{where}: no column {', '.join(missing)}")
        yield [row[column] for column in benchmark.columns]


def _parquet_rows(benchmark: Benchmark, content: bytes) -> Iterator[list[Any]]:
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        missing = [column for column in benchmark.columns if column not in file.schema_arrow.names]
        if missing:
            raise BenchmarkError(f"{benchmark.path}: no column {', '.join(missing)}")
        table = file.read(columns=list(benchmark.columns))
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise BenchmarkError(f"{benchmark.path}: {str(error).splitlines()[0]}") from error
    yield from zip(*(table[column].to_pylist() for column in benchmark.columns), strict=True)


def _texts(benchmark: Benchmark, content: bytes) -> tuple[list[int], list[str]]:
    """The rows and strings of a benchmark's texts. Benchmarks are small: rows in Python, for errors that name the row."""
    rows: list[int] = []
    texts: list[str] = []
    for row, values in enumerate(_rows(benchmark, content)):
        for column, value in zip(benchmark.columns, values, strict=True):
            strings = value if isinstance(value, list) else [value]
            for string in strings:
                if string is None:
                    continue
                if not isinstance(string, str):
                    raise BenchmarkError(
                        f"{benchmark.path}: row {row} (the first is 0): column {column}: expected text, found "
                        f"{type(string).__name__}"
                    )
                rows.append(row)
                texts.append(string)
    if not texts:
        raise BenchmarkError(f"{benchmark.path}: no text in {', '.join(benchmark.columns)}")
    return rows, texts


@functools.lru_cache(maxsize=4)
def _build(contents: tuple[tuple[Benchmark, bytes], ...], settings: Settings) -> Benchmarks:
    read = [(benchmark, *_texts(benchmark, content)) for benchmark, content in contents]
    names = pl.Series([benchmark.name for benchmark, rows, _ in read for _ in rows], dtype=pl.String)
    rows = pl.Series([row for _, rows, _ in read for row in rows], dtype=pl.Int64)
    texts = words.buffer(pl.Series([text for _, _, texts in read for text in texts], dtype=pl.String))
    found = words.segment(texts, settings.words)
    vocabulary, starts = _fold(texts.data, found.starts, found.stops, found.offsets, folding())
    entries = pl.DataFrame({"name": names, "row": rows, "first": starts[:-1], "size": np.diff(starts)})
    entries = entries.with_columns(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("entry"),
        pl.format("{}:{}", "name", "row").alias("label"),
        pl.min_horizontal("size", settings.ngram).alias("length"),
        pl.Series("repeated", _repeated(vocabulary, starts)),
        too_short=pl.col("size") < settings.shortest,
    )
    indexed = entries.filter(~pl.col("repeated") & ~pl.col("too_short"))
    index, postings = _index(vocabulary, indexed, settings.common)
    searchable = _covered(postings, "entry").rename({"covered": "words"})
    entries = entries.join(searchable, on="entry", how="left", maintain_order="left")
    summary = entries.group_by("name", maintain_order=True).agg(
        pl.len().alias("texts"),
        pl.col("words").is_not_null().sum().alias("searched"),
        pl.col("too_short").sum(),
        (pl.col("repeated") & ~pl.col("too_short")).sum().alias("repeated"),
        (pl.col("words").is_null() & ~pl.col("too_short") & ~pl.col("repeated")).sum().alias("common"),
    )
    return Benchmarks(
        settings,
        _identity(contents, settings),
        summary,
        vocabulary,
        index,
        entries.select("entry", "label", "words").drop_nulls("words"),
        postings,
    )


def _identity(contents: tuple[tuple[Benchmark, bytes], ...], settings: Settings) -> str:
    described = [
        (benchmark.name, benchmark.columns, hashlib.sha256(content).hexdigest()) for benchmark, content in contents
    ]
    decided = [VERSION, words.VERSION, described, asdict(settings)]
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()


def _repeated(vocabulary: _Vocabulary, starts: Integers) -> npt.NDArray[np.bool_]:
    """Whether an earlier text has the same words; texts of benchmarks only, so a Python set of their bytes will do."""
    seen: set[tuple[bytes, bytes]] = set()
    repeated = np.zeros(len(starts) - 1, np.bool_)
    for entry, (first, last) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        offsets = vocabulary.offsets[first : last + 1]
        key = (vocabulary.points[offsets[0] : offsets[-1]].tobytes(), np.diff(offsets).tobytes())
        repeated[entry] = key in seen
        seen.add(key)
    return repeated


def _index(vocabulary: _Vocabulary, entries: pl.DataFrame, common: int) -> tuple[_Index, pl.DataFrame]:
    """The index of the entries' n-grams, and where each of them stands: ``gram``, ``entry``, ``position``, ``length``."""
    firsts, sizes, lengths, numbers = _arrays(entries, "first", "size", "length", "entry")
    counts = sizes - lengths + 1
    entry = np.repeat(numbers, counts)
    length = np.repeat(lengths, counts)
    position = np.arange(len(entry)) - np.repeat(np.cumsum(counts) - counts, counts)
    first_word = np.repeat(firsts, counts) + position
    hashes = _windows(vocabulary.hashes, first_word, length)
    order = np.argsort(hashes, kind="stable")
    grams = _distinct(hashes[order], first_word[order], length[order], vocabulary)
    postings = pl.DataFrame(
        {
            "hash": hashes[order],
            "old": grams,
            "entry": entry[order],
            "position": position[order],
            "length": length[order],
            "first_word": first_word[order],
        }
    ).filter(pl.col("entry").n_unique().over("old") <= common)
    postings = postings.with_columns(gram=(pl.col("old").rank("dense") - 1).cast(pl.Int64)).sort(
        "gram", maintain_order=True
    )
    unique = postings.unique("gram", keep="first", maintain_order=True)
    gram_hashes, first_words, gram_lengths = _arrays(unique, "hash", "first_word", "length")
    in_use = np.unique(gram_lengths)
    shortest = in_use[0] if len(in_use) else 1
    tails = _windows(vocabulary.hashes, first_words + gram_lengths - shortest, np.full(len(unique), shortest, np.int64))
    index = _Index(gram_hashes, first_words, gram_lengths, in_use, *_filter(tails))
    return index, postings.select("gram", "entry", "position", "length").sort("entry", "position")


def _filter(hashes: Hashes) -> tuple[Bytes, np.uint64]:
    """Bits, a power of two of them, set where spread hashes point; and by how much those are shifted."""
    size = min(max(10, (len(hashes) * _FILTER_BITS_PER_NGRAM).bit_length()), _MAX_FILTER_BITS)
    shift = np.uint64(64 - size)
    bits = np.zeros(1 << (size - 3), np.uint8)
    places = (hashes * _SPREAD) >> shift
    np.bitwise_or.at(bits, places >> np.uint64(3), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8))
    return bits, shift


def _arrays(frame: pl.DataFrame, *names: str) -> list[Any]:
    """Columns as arrays, all writable: to the compiler one that is not is of another type, and it compiles once for each."""
    return [frame[name].to_numpy(writable=True) for name in names]


def _blocks(offsets: Integers) -> Iterator[tuple[int, int]]:
    """Ranges of texts of about ``_BLOCK_BYTES`` together, so that the words of few are in memory at a time."""
    first, count = 0, len(offsets) - 1
    while first < count:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _BLOCK_BYTES, side="right")) - 1)
        yield first, last
        first = last


def _search_block(texts: Texts, first: int, last: int, benchmarks: Benchmarks) -> pl.DataFrame:
    """What was found in the texts ``first`` to ``last``: a row for each contaminated ``document``."""
    block = Texts(texts.data, texts.offsets[first : last + 1])
    found = words.segment(block, benchmarks.settings.words)
    searched = (block.data, found, folding(), benchmarks._vocabulary, benchmarks._index)
    pairs, _ = _search(*searched, np.arange(last - first), *_ANY)
    held = pl.DataFrame(pairs, schema=["document", "gram"], orient="row")
    best = (
        _covered(held.join(benchmarks._postings, on="gram"), "document", "entry")
        .join(benchmarks._entries, on="entry")
        .with_columns(contamination=pl.col("covered") / pl.col("words"))
        .sort("document", "contamination", "entry", descending=[False, True, False])
        .unique("document", keep="first", maintain_order=True)
    )
    documents, entries = _arrays(best, "document", "entry")
    entry_of, gram_of = _arrays(benchmarks._postings, "entry", "gram")
    bounds = np.stack([np.searchsorted(entry_of, entries, side) for side in ("left", "right")], axis=1)
    _, spans = _search(*searched, documents, gram_of, bounds)
    return best.select(
        pl.col("document") + first,
        "contamination",
        contaminated_words="covered",
        contaminated_by="label",
        start=pl.Series(_characters(block.data, block.offsets[documents], spans[:, 0])),
        stop=pl.Series(_characters(block.data, block.offsets[documents], spans[:, 1])),
    )


def _covered(postings: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """How many words the n-grams of each key's postings cover together: ``covered``. One length of n-gram to an entry."""
    gap = (pl.col("position").shift(-1) - pl.col("position")).over(*keys)
    return (
        postings.sort(*keys, "position")
        .with_columns(covered=pl.min_horizontal("length", gap))
        .group_by(*keys, maintain_order=True)
        .agg(pl.col("covered").sum())
    )


@numba.njit(cache=True, inline="always")
def _hash_word(data: Bytes, at: int, stop: int, folds: Points) -> np.uint64:
    """A hash of a word's folded code points, never 0; 0 where none is left."""
    value = _FNV_OFFSET
    left = False
    while at < stop:
        if data[at] < 0x80:
            folded = folds[data[at]]
            at += 1
        else:
            point, length = decode(data, at)
            folded = folds[point]
            at += length
        if folded:
            value = (value ^ np.uint64(folded)) * _FNV_PRIME
            left = True
    if not left:
        return _NOTHING
    value = (value ^ (value >> np.uint64(32))) * _SPREAD
    return (value ^ (value >> np.uint64(29))) | np.uint64(1)


@numba.njit(cache=True, nogil=True)
def _fold(data: Bytes, starts: Integers, stops: Integers, offsets: Integers, folds: Points) -> Any:
    """The vocabulary of texts, words that fold to nothing left out, and n + 1 offsets of each text's first word."""
    points = np.empty(max(0, (stops - starts).sum()), np.uint32)
    word_offsets = np.zeros(len(starts) + 1, np.int64)
    hashes = np.empty(len(starts), np.uint64)
    firsts = np.zeros(len(offsets), np.int64)
    word, filled = 0, 0
    for text in range(len(offsets) - 1):
        for source in range(offsets[text], offsets[text + 1]):
            value = _hash_word(data, starts[source], stops[source], folds)
            if value == _NOTHING:
                continue
            at = starts[source]
            while at < stops[source]:
                point, length = decode(data, at)
                if folds[point]:
                    points[filled] = folds[point]
                    filled += 1
                at += length
            hashes[word] = value
            word += 1
            word_offsets[word] = filled
        firsts[text + 1] = word
    return _Vocabulary(points[:filled], word_offsets[: word + 1], hashes[:word]), firsts


@numba.njit(cache=True, nogil=True)
def _windows(hashes: Hashes, firsts: Integers, lengths: Integers) -> Hashes:
    """The hash of each window of words: the polynomial of its words' hashes, modulo 2**64."""
    values = np.zeros(len(firsts), np.uint64)
    for window in range(len(firsts)):
        for word in range(firsts[window], firsts[window] + lengths[window]):
            values[window] = values[window] * _BASE + hashes[word]
    return values


@numba.njit(cache=True, nogil=True)
def _distinct(hashes: Hashes, firsts: Integers, lengths: Integers, vocabulary: _Vocabulary) -> Any:
    """A number for each window, the same for those of equal words, ascending with the hashes (which are sorted)."""
    points, offsets = vocabulary.points, vocabulary.offsets
    numbers = np.empty(len(hashes), np.int64)
    representatives = np.empty(len(hashes), np.int64)
    count, run = 0, 0
    for window in range(len(hashes)):
        if window == 0 or hashes[window] != hashes[window - 1]:
            run = count
        number = run
        while number < count:
            other = representatives[number]
            low, other_low = offsets[firsts[window]], offsets[firsts[other]]
            equal = lengths[window] == lengths[other]
            word = 0
            while equal and word < lengths[window]:
                word += 1
                size = offsets[firsts[window] + word] - low
                equal = size == offsets[firsts[other] + word] - other_low
            if equal:
                size = offsets[firsts[window] + lengths[window]] - low
                equal = np.array_equal(points[low : low + size], points[other_low : other_low + size])
            if equal:
                break
            number += 1
        if number == count:
            representatives[count] = window
            count += 1
        numbers[window] = number
    return numbers


@numba.njit(cache=True, inline="always")
def _same_word(data: Bytes, at: int, stop: int, folds: Points, points: Points, low: int, high: int) -> bool:
    """Whether a word of a text folds to the code points ``low`` to ``high`` of the vocabulary."""
    while at < stop:
        point, length = decode(data, at)
        if folds[point]:
            if low == high or points[low] != folds[point]:
                return False
            low += 1
        at += length
    return low == high


@numba.njit(cache=True, inline="always")
def _find(
    data: Bytes, found: Words, folds: Points, vocabulary: _Vocabulary, index: _Index, window: Any, source: Integers
) -> int:
    """The n-gram of the index that has this hash and the words ``source`` of a text; -1 if there is none."""
    gram: int = np.searchsorted(index.hashes, window)
    while gram < len(index.hashes) and index.hashes[gram] == window:
        equal = index.lengths[gram] == len(source)
        at = 0
        while equal and at < len(source):
            known = vocabulary.offsets[index.first_words[gram] + at]
            after = vocabulary.offsets[index.first_words[gram] + at + 1]
            start, stop = found.starts[source[at]], found.stops[source[at]]
            equal = _same_word(data, start, stop, folds, vocabulary.points, known, after)
            at += 1
        if equal:
            return gram
        gram += 1
    return -1


_ANY: Final = (np.zeros(0, np.int64), np.zeros((0, 2), np.int64))
"""No bounds for ``_search``."""


class _Tail(NamedTuple):
    """What is kept of the last words of a text, so that a word costs the same whatever the lengths in use.

    The hash of a window is a difference of two running polynomials. ``sums`` has those in a ring; ``sources``, which words they
    are, is a ring written twice over, so that the last words are always in a row. ``grams`` takes what ends at the last word.
    """

    sums: Hashes
    sources: Integers
    powers: Hashes
    grams: Integers


@numba.njit(cache=True)
def _no_words(index: _Index) -> _Tail:
    longest = index.sizes[-1]
    ring = 1
    while ring <= longest:
        ring *= 2
    powers = np.ones(longest + 1, np.uint64)
    for size in range(longest):
        powers[size + 1] = powers[size] * _BASE
    return _Tail(np.zeros(ring, np.uint64), np.zeros(2 * ring, np.int64), powers, np.zeros(len(index.sizes), np.int64))


@numba.njit(cache=True)
def _ending(
    data: Bytes, found: Words, folds: Points, vocabulary: _Vocabulary, index: _Index, tail: _Tail, count: int
) -> int:
    """How many n-grams of the index end at the last of ``count`` words; they are put in ``tail.grams``."""
    ring = len(tail.sums)
    place, matched = count & (ring - 1), 0
    for size in index.sizes:
        if size > count:
            break
        window = tail.sums[place] - tail.sums[(count - size) & (ring - 1)] * tail.powers[size]
        source = tail.sources[place + ring + 1 - size : place + ring + 1]
        gram = _find(data, found, folds, vocabulary, index, window, source)
        if gram >= 0:
            tail.grams[matched] = gram
            matched += 1
    return matched


@numba.njit(cache=True, nogil=True)
def _search(
    data: Bytes,
    found: Words,
    folds: Points,
    vocabulary: _Vocabulary,
    index: _Index,
    texts: Integers,
    wanted: Integers,
    bounds: Integers,
) -> Any:
    """Search ``texts`` for n-grams: in each for ``wanted[bounds[row, 0] : bounds[row, 1]]``, or for all where there are no bounds.

    Returns:
        Which n-grams each text holds, Int64 (m, 2) of row and n-gram, each pair once, in order of rows; and the longest run
        of words within them, of equal ones the first, Int64 (n, 2) of bytes.
    """
    starts, stops, offsets = found
    held, filled = np.empty((64, 2), np.int64), 0
    spans = np.zeros((len(texts), 2), np.int64)
    if len(index.sizes) == 0:
        return held[:0], spans
    tail = _no_words(index)
    sums, sources, bits, shift = tail.sums, tail.sources, index.filter, index.shift
    ring, shortest = len(sums), index.sizes[0]
    power = tail.powers[shortest]
    seen_in = np.full(len(index.hashes), -1, np.int64)
    wanted_in = np.full(len(index.hashes), -1, np.int64)
    for row in range(len(texts)):
        if len(bounds):
            for gram in wanted[bounds[row, 0] : bounds[row, 1]]:
                wanted_in[gram] = row
        count, total = 0, _NOTHING
        sums[0] = _NOTHING
        longest, first, stop, start_byte = 0, 0, -1, 0
        for word in range(offsets[texts[row]], offsets[texts[row] + 1]):
            value = _hash_word(data, starts[word], stops[word], folds)
            if value == _NOTHING:
                continue
            total = total * _BASE + value
            count += 1
            place = count & (ring - 1)
            sums[place] = total
            sources[place] = sources[place + ring] = word
            if count < shortest:
                continue
            bit = ((total - sums[(count - shortest) & (ring - 1)] * power) * _SPREAD) >> shift
            if not (bits[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7))) & 1:
                continue
            for gram in tail.grams[: _ending(data, found, folds, vocabulary, index, tail, count)]:
                if len(bounds) and wanted_in[gram] != row:
                    continue
                size = index.lengths[gram]
                if count - size > stop:
                    first, start_byte = count - size, starts[sources[place + ring + 1 - size]]
                stop = count
                if stop - first > longest:
                    longest = stop - first
                    spans[row, 0], spans[row, 1] = start_byte, stops[word]
                if seen_in[gram] == row:
                    continue
                seen_in[gram] = row
                if filled == len(held):
                    held = np.concatenate((held, np.empty_like(held)))
                held[filled, 0], held[filled, 1] = row, gram
                filled += 1
    return held[:filled], spans


@numba.njit(cache=True, nogil=True)
def _characters(data: Bytes, starts: Integers, stops: Integers) -> Integers:
    """Code points between bytes of UTF-8."""
    counts = np.zeros(len(starts), np.int64)
    for span in range(len(starts)):
        for at in range(starts[span], stops[span]):
            counts[span] += (data[at] & 0xC0) != 0x80
    return counts

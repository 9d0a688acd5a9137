"""Documents, as many bytes as wanted, made from the real ones of ``../shared/data/text`` and a seed.

    python benchmarks/corpus_text.py                          300 MB under .bench/text-300/
    python benchmarks/corpus_text.py --megabytes 20 --seed 7

``parquet/*.parquet`` and ``jsonl/*.jsonl`` hold the same rows: ``id``, ``text``, ``source``. ``pairs.parquet`` holds the known near duplicates.

The real documents are taken again and again. Pass ``k`` is drawn from (seed, k) alone, so that a larger corpus begins with the smaller one.

=============  ===========================================================================================================
what           how often, and how
=============  ===========================================================================================================
word swaps     every document: three words in ten become others of about the same frequency. Within a document the same word
               always becomes the same other, so that what repeats goes on repeating; the same document of two passes
               has few 5-grams in common
shuffles       a quarter: the sentences of each line in another order
truncations    a fifth: the first 20 to 90 % of the words
concatenation  a tenth: joined to the document before, after an empty line
near           a tenth of those with 60 words or more is followed, somewhere in its pass, by a copy in which words that occur nowhere else
duplicates     stand at places five words apart or more. ``pairs.parquet`` names both and their exact Jaccard similarity over
               sets of 5 consecutive words (runs without white space, case as it is): 1.0 for a sixth, the others from 0.4 to 0.98
=============  ===========================================================================================================
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

HERE: Final = Path(__file__).resolve().parent
BENCH: Final = HERE.parent / ".bench"
REAL: Final = HERE.parent.parent / "shared" / "data" / "text"

SHINGLE: Final = 5
"""Consecutive words of a shingle, in ``pairs.parquet``."""

SWAPPED: Final = 0.3
SPREAD: Final = 0.3
SHUFFLED: Final = 0.25
TRUNCATED: Final = 0.2
JOINED: Final = 0.1
REPEATED: Final = 0.1
IDENTICAL: Final = 1 / 6
SIMILARITIES: Final = (0.4, 0.98)
FEWEST_WORDS: Final = 60
SPEECHES: Final = 40  # of the play in one document
FILE_BYTES: Final = 50_000_000

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Corpus:
    """Where a corpus lies.

    Attributes:
        parquet: Files with ``id``, ``text``, ``source``.
        jsonl: The same rows, a file for a file.
        pairs: Parquet: ``id``, ``original``, ``jaccard``.
    """

    parquet: list[Path]
    jsonl: list[Path]
    pairs: Path


def corpus(megabytes: int = 300, seed: int = 0) -> Corpus:
    """A corpus of at least so many million bytes of text; made at the first call, kept under .bench/."""
    folder = BENCH / (f"text-{megabytes}" if seed == 0 else f"text-{megabytes}-{seed}")
    if not folder.exists():
        BENCH.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BENCH) as making:
            write(Path(making) / "corpus", megabytes * 1_000_000, seed)
            with contextlib.suppress(OSError):  # another process was faster: the same corpus
                (Path(making) / "corpus").rename(folder)
    return Corpus(
        sorted((folder / "parquet").iterdir()), sorted((folder / "jsonl").iterdir()), folder / "pairs.parquet"
    )


def write(folder: Path, size: int, seed: int = 0) -> None:
    """Write a corpus of at least ``size`` bytes of text."""
    for kind in ("parquet", "jsonl"):
        (folder / kind).mkdir(parents=True)
    pairs: list[pl.DataFrame] = []
    held: list[pl.DataFrame] = []
    base = words_of(real_documents())
    written = number = passes = 0
    while written < size or held:
        if written < size:
            rows, near = draw(base, seed, passes)
            written += rows["text"].str.len_bytes().sum()
            held.append(rows)
            pairs.append(near)
            passes += 1
        if written >= size or sum(rows["text"].str.len_bytes().sum() for rows in held) >= FILE_BYTES:
            frame = pl.concat(held)
            frame.write_parquet(folder / "parquet" / f"documents-{number:03d}.parquet", row_group_size=2_000)
            frame.write_ndjson(folder / "jsonl" / f"documents-{number:03d}.jsonl")
            held, number = [], number + 1
    pl.concat(pairs).write_parquet(folder / "pairs.parquet")


def real_documents() -> pl.DataFrame:
    """The real documents: ``text``, ``source``.

    Raises:
        SystemExit: they are not there.
    """
    if not REAL.is_dir():
        raise SystemExit(f"no real documents at {REAL}")
    return pl.DataFrame(list(_real_documents()), schema={"text": pl.String, "source": pl.String}, orient="row")


def _real_documents() -> Iterator[tuple[str, str]]:
    with open(REAL / "web_wiki_471.jsonl", encoding="utf-8") as lines:
        yield from ((row["text"], row["source"]) for row in map(json.loads, lines))
    with gzip.open(REAL / "dolma_documents_000.json.gz", "rt", encoding="utf-8") as lines:
        yield from ((row["text"], row["source"]) for row in map(json.loads, lines))
    speeches = (REAL / "tinyshakespeare.txt").read_text(encoding="utf-8").split("\n\n")
    for first in range(0, len(speeches), SPEECHES):
        yield "\n\n".join(speeches[first : first + SPEECHES]), "tinyshakespeare"


@dataclass(frozen=True)
class Base:
    """The real documents as numbers.

    Attributes:
        pieces: String: the words, the most frequent first, then the runs of white space.
        vocabulary: How many of the pieces are words.
        words: For each word of the documents, its piece.
        spaces: For each word, the piece that stands before it.
        offsets: n + 1: where each document's words begin.
        sentences: For each word, which sentence it is in, counted through all documents.
        lines: For each word, which line it is in, counted likewise.
        sources: String, n.
    """

    pieces: pl.Series
    vocabulary: int
    words: Integers
    spaces: Integers
    offsets: Integers
    sentences: Integers
    lines: Integers
    sources: pl.Series


def words_of(documents: pl.DataFrame) -> Base:
    """Take documents apart."""
    texts = documents["text"].str.strip_chars()
    found = texts.str.extract_all(r"\S+")
    words = found.explode(empty_as_null=False)
    between = texts.str.extract_all(r"\s+").list.len()
    spaces = pl.select(pl.concat_list(pl.lit(pl.Series([""])), texts.str.extract_all(r"\s+"))).to_series().explode()
    assert (between + 1 == found.list.len()).all()
    vocabulary = words.value_counts().sort("count", "text", descending=[True, False])["text"]
    blanks = spaces.unique().sort()
    pieces = pl.concat([vocabulary, blanks.alias("text")])
    offsets = np.concatenate([[0], np.cumsum(found.list.len().to_numpy())]).astype(np.int64)
    first = np.isin(np.arange(len(words)), offsets)
    new_line = first | spaces.str.contains("\n").to_numpy()
    new_sentence = new_line | words.str.contains(r"[.!?][\"'”’)\]]*$").shift(1, fill_value=True).to_numpy()
    return Base(
        pieces,
        len(vocabulary),
        _numbers(words, vocabulary),
        len(vocabulary) + _numbers(spaces, blanks),
        offsets,
        np.cumsum(new_sentence),
        np.cumsum(new_line),
        documents["source"],
    )


def _numbers(values: pl.Series, among: pl.Series) -> Integers:
    return values.replace_strict(among, np.arange(len(among)), return_dtype=pl.Int64).to_numpy()


def draw(base: Base, seed: int, number: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One pass over the real documents: its rows, and its pairs of near duplicates."""
    random = np.random.default_rng([seed, number])
    documents = random.permutation(len(base.sources))
    starts, lengths = base.offsets[documents], np.diff(base.offsets)[documents]
    cut = random.random(len(documents)) < TRUNCATED
    lengths = np.where(cut, np.ceil(lengths * random.uniform(0.2, 0.9, len(documents))).astype(np.int64), lengths)
    taken = _ranges(starts, lengths)
    document = np.repeat(np.arange(len(documents)), lengths)

    shuffled = random.random(len(documents)) < SHUFFLED
    turn = np.where(shuffled[document], random.random(base.sentences[-1] + 1)[base.sentences[taken]], 0.0)
    order = np.lexsort((np.arange(len(taken)), turn, base.lines[taken], document))
    words, spaces = swap(base, base.words[taken[order]], document, random), base.spaces[taken]

    joined = random.random(len(documents)) < JOINED
    joined[0] = False
    firsts = np.cumsum(lengths) - lengths
    paragraph = base.vocabulary + base.pieces[base.vocabulary :].index_of("\n\n")
    spaces[firsts[joined]] = paragraph
    firsts = firsts[~joined]
    counts = np.diff(np.append(firsts, len(words)))
    sources = base.sources.gather(documents[~joined])

    originals = np.flatnonzero((counts >= FEWEST_WORDS) & (random.random(len(counts)) < REPEATED))
    news, similarities = [], []
    fresh = len(base.pieces)
    for original in originals:
        span = words[firsts[original] : firsts[original] + counts[original]]
        edited = _edited(span, fresh, random)
        fresh += np.count_nonzero(edited != span)
        news.append(edited)
        similarities.append(jaccard(span, edited))
    made = pl.Series(made_up_words(number, fresh - len(base.pieces)), dtype=pl.String)
    again = _ranges(firsts[originals], counts[originals])
    texts = _texts(
        pl.concat([base.pieces, made.alias("text")]),
        np.concatenate([words, *news]),
        np.concatenate([spaces, spaces[again]]),
        np.concatenate([counts, counts[originals]]),
    )
    ids = pl.select(pl.format(f"{number:05d}-{{}}", pl.int_range(len(texts)).cast(pl.String).str.zfill(5))).to_series()
    rows = pl.DataFrame({"id": ids, "text": texts, "source": pl.concat([sources, sources.gather(originals)])})
    pairs = pl.DataFrame(
        {"id": ids[len(counts) :], "original": ids.gather(originals), "jaccard": similarities},
        schema={"id": pl.String, "original": pl.String, "jaccard": pl.Float64},
    )
    return rows[random.permutation(len(rows))], pairs


def swap(base: Base, words: Integers, document: Integers, random: np.random.Generator) -> Integers:
    """Give three in ten of each document's words the place of another of about their frequency."""
    key = random.integers(0, 2**63, document[-1] + 1, dtype=np.uint64)[document] ^ words.astype(np.uint64)
    chance, shift = _uniform(key), _uniform(key + np.uint64(2**62))
    other = (words * np.exp(SPREAD * (2 * shift - 1))).astype(np.int64)
    return np.where(chance < SWAPPED, np.minimum(other, base.vocabulary - 1), words)


def _uniform(keys: npt.NDArray[np.uint64]) -> Reals:
    """Numbers from 0 to 1 that look drawn at random, one for each key: SplitMix64's mixing."""
    mixed = keys * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) / 2.0**64


def _edited(words: Integers, fresh: int, random: np.random.Generator) -> Integers:
    """A copy with new words, numbered from ``fresh``, at places at least a shingle apart."""
    edited = words.copy()
    if random.random() < IDENTICAL:
        return edited
    similarity = random.uniform(*SIMILARITIES)
    shingles = len(words) - SHINGLE + 1
    wanted = round(shingles * (1 - similarity) / (1 + similarity) / SHINGLE)
    slack = len(words) - SHINGLE - max(wanted - 1, 0) * SHINGLE
    if wanted > 0 and slack > 0:
        places = np.sort(random.integers(0, slack, wanted)) + np.arange(wanted) * SHINGLE
        edited[places] = fresh + np.arange(wanted)
    return edited


def jaccard(one: Integers, other: Integers) -> float:
    """Of the shingles of two documents, what share both have."""
    first, second = (
        {bytes(window) for window in np.lib.stride_tricks.sliding_window_view(words, SHINGLE)} for words in (one, other)
    )
    return len(first & second) / len(first | second)


def made_up_words(number: int, count: int) -> list[str]:
    """Words that no document holds, and no other pass."""
    return [f"{_letters(number)}q{_letters(one)}" for one in range(count)]


def _letters(number: int) -> str:
    consonants = "bcdfghjklmnprstvwxz"
    text = "q"
    while number:
        number, rest = divmod(number, len(consonants))
        text += consonants[rest]
    return text


def _ranges(starts: Integers, lengths: Integers) -> Integers:
    """The numbers of all ranges, one after another."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def _texts(pieces: pl.Series, words: Integers, spaces: Integers, counts: Integers) -> pl.Series:
    """White space and words in turns, as many words a document as ``counts`` says, written into one buffer."""
    ends = np.cumsum(counts)
    turns = np.column_stack([spaces, words])
    turns[ends - counts, 0] = len(pieces)
    dictionary = pl.concat([pieces, pl.Series("text", [""])]).to_arrow(compat_level=pl.CompatLevel.oldest())
    text = dictionary.take(pa.array(turns.ravel()))
    _, offsets, data = text.buffers()
    edges = np.frombuffer(offsets, np.int64)[np.concatenate([[0], 2 * ends])]
    return pl.Series(pa.LargeStringArray.from_buffers(len(counts), pa.py_buffer(edges.tobytes()), data))


def main() -> None:
    """Make a corpus, and tell where it lies and what it holds."""
    parser = argparse.ArgumentParser(description="Documents, as many bytes as wanted, made from real ones.")
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    made = corpus(given.megabytes, given.seed)
    rows = pl.scan_parquet(made.parquet)
    told = rows.select(documents=pl.len(), bytes=pl.col("text").str.len_bytes().sum()).collect().row(0)
    print(
        f"{made.pairs.parent}: {told[0]:,} documents, {told[1]:,} bytes of text, {pl.read_parquet(made.pairs).height:,} pairs"
    )


if __name__ == "__main__":
    main()

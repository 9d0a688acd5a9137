"""fastText classifiers: files checked before they are loaded, one copy a process, training that gives equal bytes for equal lines.

fastText's own loader believes what a file says of itself: a damaged one ends the process or takes all memory. ``inspect`` therefore walks
the whole layout of a file first, and whatever it lets through has matrices of the sizes that prediction will index.

A ``Model`` is a path and a checksum, so that it crosses to worker processes as two strings; the classifier behind it is loaded by the
first call that needs it and kept for the life of the process.

fastText reads a line as commands in two cases: a word that starts with ``__label__`` is a label, and ``</s>`` ends the line. ``tokens`` and
``one_line`` leave neither in a text.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NoReturn

import fasttext
import numpy as np
import numpy.typing as npt
import polars as pl

VERSION: Final = 1
"""Raised whenever ``tokens`` or ``one_line`` give other lines."""

PREFIX: Final = "__label__"
"""What fastText writes before a label."""

MAGIC: Final = 793_712_314
"""The first four bytes of a fastText file, as a little-endian Int32."""

_ARGUMENTS: Final = struct.Struct(
    "<12id"
)  # dim ws epoch minCount neg wordNgrams loss model bucket minn maxn and two more
_DICTIONARY: Final = struct.Struct("<3i2q")  # entries words labels, tokens, pruned buckets
_ENTRY: Final = struct.Struct("<qb")  # after the word and its NUL: count, type
_SHAPE: Final = struct.Struct("<2q")  # rows, columns
_QUANTIZED: Final = struct.Struct("<b2qi")  # norms apart, rows, columns, bytes of codes
_QUANTIZER: Final = struct.Struct("<4i")  # dimension, parts, size of a part, size of the last part
_CENTROIDS: Final = 256
_SUPERVISED: Final = 3
_LOSSES: Final = range(1, 5)
_MOST_GRAMS: Final = 64
_MOST_COUNT: Final = 10**15
"""Above it, fastText's Huffman tree of labels points outside itself."""

DECIMALS: Final = 6
"""Of probabilities: what lies below is noise of the processor's arithmetic."""


class ModelError(Exception):
    """A classifier cannot be loaded or trained; the message says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a classifier's file says of itself. ``labels`` are without their prefix, the commonest in training first."""

    labels: tuple[str, ...]
    words: int
    dimension: int
    quantized: bool


@dataclass(frozen=True, slots=True)
class Model:
    """A classifier by the name of its file: an absolute path, or a bare name in ``transforms/text/models``; ``sha256`` is the file's."""

    name: str
    sha256: str

    @classmethod
    def find(cls, path: Path) -> Model:
        """The classifier in a file, checked.

        Raises:
            ModelError: there is no such file, or it is no sound fastText classifier.
        """
        inspect(path)
        return cls(str(path.resolve()), file_sha256(path))

    @property
    def path(self) -> Path:
        """Where the file is on this machine."""
        name = Path(self.name)
        return name if name.is_absolute() else Path(str(files("transforms.text").joinpath("models", self.name)))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels without their prefix, the commonest in training first."""
        return _facts(self.name, self.sha256).labels

    def load(self) -> fasttext.FastText._FastText:
        """fastText's own object, loaded once a process.

        Raises:
            ModelError: the file is gone, or another than it was.
        """
        return _loaded(self.name, self.sha256)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: expected a fastText model: {error.strerror}") from error


@functools.lru_cache(maxsize=8)
def _facts(name: str, sha256: str) -> Facts:
    path = Model(name, sha256).path
    found = file_sha256(path)
    if found != sha256:
        raise ModelError(
            f"{path}: changed since it was first read: expected SHA-256 {sha256[:16]}..., found {found[:16]}..."
        )
    return inspect(path)


@functools.lru_cache(maxsize=8)
def _loaded(name: str, sha256: str) -> fasttext.FastText._FastText:
    _facts(name, sha256)
    path = Model(name, sha256).path
    try:
        return fasttext.FastText._FastText(str(path))
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ModelError(f"{path}: {error}") from error


# --- the file ---------------------------------------------------------------------------------------------------------


class _Reader:
    """A place in a file's bytes that never passes their end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.at = 0

    def fail(self, expected: str) -> NoReturn:
        raise ModelError(f"{self.path}: not a sound fastText classifier: expected {expected} before byte {self.at:,}")

    def take(self, form: struct.Struct) -> tuple[Any, ...]:
        if self.at + form.size > len(self.data):
            self.fail(f"{form.size} bytes more")
        values = form.unpack_from(self.data, self.at)
        self.at += form.size
        return values

    def flag(self) -> bool:
        (value,) = self.take(struct.Struct("<B"))
        self.expect(value in (0, 1), "a flag of 0 or 1")
        return bool(value)

    def skip(self, size: int) -> None:
        if size < 0 or self.at + size > len(self.data):
            self.fail(f"{size:,} bytes more, found {len(self.data) - self.at:,}")
        self.at += size

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.fail(what)


def inspect(path: Path) -> Facts:
    """Walk the layout of a fastText file without loading it. Takes memory for the labels alone.

    Every size must be plausible, every table as large as the indices into it, and the last table must end with the file.

    Raises:
        ModelError: there is no such file, or it is not a supervised model of fastText's format 11 or 12, cut off, or inconsistent.
    """
    try:
        with path.open("rb") as stream:
            if path.stat().st_size == 0:
                raise ModelError(f"{path}: expected a fastText model, found an empty file")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _walk(_Reader(path, data))
    except OSError as error:
        raise ModelError(f"{path}: expected a fastText model: {error.strerror}") from error


def _walk(file: _Reader) -> Facts:
    magic, version = file.take(struct.Struct("<2i"))
    if magic != MAGIC:
        raise ModelError(
            f"{file.path}: expected a fastText model (.bin or .ftz), found a file that does not start like one"
        )
    file.expect(version in (11, 12), f"format 11 or 12, found {version},")
    dimension, _, _, _, _, word_grams, loss, kind, buckets, least, most, _, _ = file.take(_ARGUMENTS)
    file.expect(kind == _SUPERVISED, "a supervised model")
    file.expect(loss in _LOSSES, "a known loss")
    file.expect(dimension > 0, "a positive dimension")
    file.expect(
        0 <= word_grams <= _MOST_GRAMS and least >= 0 and most <= _MOST_GRAMS, f"n-grams of at most {_MOST_GRAMS}"
    )
    file.expect(buckets > 0 or (buckets == 0 and word_grams <= 1 and most <= 0), "buckets for the n-grams")
    entries, words, labels, _, pruned = file.take(_DICTIONARY)
    file.expect(words >= 0 and labels > 0 and entries == words + labels, "words and labels that add up to the entries")
    file.expect(pruned >= -1, "a number of pruned buckets")
    names = _names(file, words, labels)
    _pruned_buckets(file, pruned)
    quantized = file.flag()
    file.expect(quantized or pruned < 0, "a quantised model where buckets are pruned")
    rows = words + (buckets if pruned < 0 else pruned)
    (_quantized_matrix if quantized else _matrix)(file, rows, dimension, "input")
    (_quantized_matrix if file.flag() and quantized else _matrix)(file, labels, dimension, "output")
    file.expect(file.at == len(file.data), f"the end of the file, found {len(file.data) - file.at:,} bytes more,")
    return Facts(names, words, dimension, quantized)


def _names(file: _Reader, words: int, labels: int) -> tuple[str, ...]:
    """Pass over the dictionary: a loop, since each entry's length tells where the next one is."""
    names, total = [], 0
    for place in range(words + labels):
        end = file.data.find(b"\0", file.at)
        if end < 0:
            file.fail("the end of a word")
        word = file.data[file.at : end] if place >= words else b""
        file.at = end + 1
        count, kind = file.take(_ENTRY)
        file.expect(kind == (place >= words), "words first, then labels")
        if place >= words:
            total += count
            file.expect(count > 0 and total <= _MOST_COUNT, "plausible counts of labels")
            try:
                names.append(word.decode().removeprefix(PREFIX))
            except UnicodeDecodeError:
                file.fail("labels in UTF-8")
    file.expect(len(set(names)) == labels, "labels that differ")
    return tuple(names)


def _pruned_buckets(file: _Reader, pruned: int) -> None:
    """Pairs of Int32: a bucket, and its row after the words."""
    start = file.at
    file.skip(max(pruned, 0) * 8)
    rows = np.frombuffer(file.data[start : file.at], "<i4")[1::2]
    file.expect(not len(rows) or bool(rows.min() >= 0 and rows.max() < pruned), "pruned buckets within the matrix")


def _matrix(file: _Reader, rows: int, columns: int, name: str) -> None:
    found = file.take(_SHAPE)
    file.expect(
        found == (rows, columns), f"an {name} matrix of {rows:,} x {columns:,}, found {found[0]:,} x {found[1]:,},"
    )
    file.skip(rows * columns * 4)


def _quantized_matrix(file: _Reader, rows: int, columns: int, name: str) -> None:
    norms, *found, size = file.take(_QUANTIZED)
    file.expect(norms in (0, 1), "a flag of 0 or 1")
    file.expect(
        found == [rows, columns], f"an {name} matrix of {rows:,} x {columns:,}, found {found[0]:,} x {found[1]:,},"
    )
    file.skip(size)
    parts = _quantizer(file, columns)
    file.expect(size == rows * parts, f"{parts} codes for each row of the {name} matrix")
    if norms:
        file.skip(rows)
        _quantizer(file, 1)


def _quantizer(file: _Reader, dimension: int) -> int:
    """Pass over a product quantiser; the number of its parts."""
    found, parts, part, last = file.take(_QUANTIZER)
    sound = (
        found == dimension and part > 0 and parts == -(-dimension // part) and last == dimension - (parts - 1) * part
    )
    file.expect(sound, "a quantiser whose parts add up to the dimension")
    file.skip(dimension * _CENTROIDS * 4)
    return int(parts)


# --- lines ------------------------------------------------------------------------------------------------------------


def one_line(texts: pl.Series, max_characters: int) -> pl.Series:
    """The head of each text as one line, otherwise as it is: what a model expects that was trained on plain text.

    Args:
        texts: String, n texts; null allowed.
        max_characters: How much of each text is read.
    """
    head = pl.col(texts.name).str.head(max_characters)
    plain = head.str.replace_all("\n", " ", literal=True).str.replace_all("</s>", " ", literal=True)
    return texts.to_frame().select(plain.str.replace_all(PREFIX, " ", literal=True)).to_series()


def tokens(texts: pl.Series, max_characters: int) -> pl.Series:
    """The head of each text as a line of tokens in lower case, parted by single spaces.

    A word is a run of letters, marks, digits and underscores. Each punctuation mark, each symbol, and each character of Chinese or
    Japanese, which have no spaces, is a token of its own.

    Args:
        texts: String, n texts; null allowed.
        max_characters: How much of each text is read.
    """
    head = pl.col(texts.name).str.head(max_characters).str.to_lowercase().str.replace_all(PREFIX, " ", literal=True)
    apart = head.str.replace_all(r"([^\w\s]|[\p{Han}\p{Hiragana}\p{Katakana}])", " $1 ")
    return texts.to_frame().select(apart.str.replace_all(r"[\s\x00-\x1F]+", " ").str.strip_chars(" ")).to_series()


# --- prediction and training ------------------------------------------------------------------------------------------


def best(model: fasttext.FastText._FastText, lines: pl.Series) -> pl.DataFrame:
    """The likeliest label of each line.

    Args:
        model: A loaded classifier.
        lines: String, n lines without line breaks or nulls.

    Returns:
        n rows: ``label`` (String, without prefix), ``probability`` (Float32, 0 to 1); null where the model knows nothing in the line.
    """
    found = [answer[0] if answer else (np.nan, None) for answer in _predictions(model, lines, 1)]
    probability = _rounded(np.fromiter((value for value, _ in found), np.float64, len(found)))
    label = pl.Series("label", [name for _, name in found], dtype=pl.String).str.strip_prefix(PREFIX)
    return pl.DataFrame([label, pl.Series("probability", probability, dtype=pl.Float32).fill_nan(None)])


def probabilities(model: fasttext.FastText._FastText, lines: pl.Series, label: str) -> npt.NDArray[np.float64]:
    """The probability of one label for each line: Float64, 0 to 1; 0 where the model knows nothing in the line.

    Args:
        model: A loaded classifier.
        lines: String, n lines without line breaks or nulls.
        label: Without prefix.
    """
    wanted = PREFIX + label
    found = (
        next((value for value, name in answer if name == wanted), 0.0) for answer in _predictions(model, lines, -1)
    )
    return _rounded(np.fromiter(found, np.float64, len(lines)))


def _predictions(
    model: fasttext.FastText._FastText, lines: pl.Series, most: int
) -> Iterator[Sequence[tuple[float, str]]]:
    """For each line at most so many (-1: all) pairs of probability and label, the likeliest first.

    One call a line: fastText's own call for many lines is no faster, and gives every label of a line the probability of its first.

    Raises:
        ModelError: the classifier's weights make numbers that are none.
    """
    predict = model.f.predict
    try:
        for line in lines:
            yield predict(f"{line}\n", most, 0.0, "strict")
    except RuntimeError as error:
        raise ModelError(f"the classifier cannot predict: {error}") from error


def _rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """fastText's logarithms lift some probabilities above 1."""
    return np.clip(values, 0.0, 1.0).round(DECIMALS)


def train(
    labels: pl.Series, lines: pl.Series, settings: Mapping[str, Any], scratch: Path
) -> fasttext.FastText._FastText:
    """Train on lines and their labels: one thread and one seed, so that equal lines in equal order give an equal model.

    Args:
        labels: String, n labels without prefix.
        lines: String, n lines without line breaks.
        settings: Of fastText's ``train_supervised``.
        scratch: A file for the time of training.

    Raises:
        ModelError: a label is empty or has white space in it, or fastText finds nothing to learn.
    """
    unfit = labels.filter(~labels.str.contains(r"^\S+$").fill_null(False))
    if len(unfit):
        raise ModelError(f"expected labels without white space, found {unfit[0]!r}")
    written = pl.select(pl.concat_str(pl.lit(PREFIX), pl.lit(labels), pl.lit(" "), pl.lit(lines))).to_series()
    scratch.write_text("\n".join(written) + "\n", "utf-8")
    try:
        model = fasttext.train_supervised(str(scratch), **{"verbose": 0, **settings, "thread": 1, "seed": 1})
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"fastText cannot learn from {len(lines):,} lines: {error}") from error
    finally:
        scratch.unlink()
    if not set(model.words) - {fasttext.FastText.EOS}:
        least = settings.get("minCount", 1)
        raise ModelError(f"expected words that return in {len(lines):,} lines, found none: minCount is {least}")
    return model

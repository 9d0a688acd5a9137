"""fastText files: what is refused before it is loaded, what prediction gives, and that training repeats itself."""

from __future__ import annotations

import multiprocessing
import pickle
import re
import struct
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.text import fasttext_models, identification
from transforms.text.fasttext_models import Model, ModelError

SETTINGS = {"dim": 4, "epoch": 5, "lr": 0.5, "wordNgrams": 2, "minn": 2, "maxn": 3, "bucket": 300, "loss": "softmax"}
LINES = [f"{colour} {thing} {number}" for colour in ("red", "blue") for thing in ("sky", "sea") for number in range(20)]
LABELS = [line.split()[0] for line in LINES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fasttext")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    model = fasttext_models.train(pl.Series(LABELS), pl.Series(LINES), SETTINGS, folder / "lines.txt")
    model.save_model(str(folder / "plain.bin"))
    return folder / "plain.bin"


@pytest.fixture(scope="module")
def quantized(folder: Path) -> Path:
    model = fasttext_models.train(pl.Series(LABELS), pl.Series(LINES), SETTINGS, folder / "lines.txt")
    model.quantize(qnorm=True)
    model.save_model(str(folder / "quantized.ftz"))
    return folder / "quantized.ftz"


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_sound_file_tells_what_fasttext_finds_in_it(plain: Path, quantized: Path) -> None:
    for path in (plain, quantized, identification.LID_176.path):
        facts, model = fasttext_models.inspect(path), Model.find(path).load()
        assert [f"__label__{label}" for label in facts.labels] == model.labels
        assert facts.words == len(model.words)
        assert facts.dimension == model.get_dimension()
        assert facts.quantized == model.is_quantized()


def test_the_bundled_model_is_the_one_that_is_named() -> None:
    assert fasttext_models.file_sha256(identification.LID_176.path) == identification.LID_176.sha256
    assert len(identification.LID_176.labels) == 176


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"not a model", b"\x89PNG\r\n" * 1000, struct.pack("<2i", 793712314, 12)]
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.bin: .*expected"):
        Model.find(tmp_path / "model.bin")


def test_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        Model.find(tmp_path / "absent.bin")
    with pytest.raises(ModelError, match="directory"):
        Model.find(tmp_path)


@pytest.mark.parametrize("kind", ["plain", "quantized"])
def test_a_file_cut_off_anywhere_is_refused(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    data = request.getfixturevalue(kind).read_bytes()
    for stop in {*range(0, len(data), len(data) // 300), *range(200), len(data) - 1}:
        (tmp_path / "cut.bin").write_bytes(data[:stop])
        with pytest.raises(ModelError):
            fasttext_models.inspect(tmp_path / "cut.bin")
    (tmp_path / "longer.bin").write_bytes(data + b"\0")
    with pytest.raises(ModelError, match="end of the file"):
        fasttext_models.inspect(tmp_path / "longer.bin")


MUTATE = """
import resource, sys
from pathlib import Path
import numpy as np
import polars as pl
from transforms.text import fasttext_models
from transforms.text.fasttext_models import Model, ModelError

LINES = pl.Series(["red sky 1", "something else", ""])
resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))
data, target = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
random = np.random.default_rng(0)
places = [*range(150), *random.integers(0, len(data), 100), *range(len(data) - 20, len(data))]
outcomes = {"refused": 0, "read": 0}
for place in places:
    for value in {0, 1, 255} - {data[place]}:
        target.write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
        try:
            model = Model.find(target)
            for label in model.labels:
                fasttext_models.probabilities(model.load(), LINES, label)
            outcomes["read"] += 1
        except ModelError:
            outcomes["refused"] += 1
print(outcomes["refused"] > 50, outcomes["read"] > 50)
"""


@pytest.mark.parametrize("kind", ["plain", "quantized"])
def test_no_changed_byte_ends_the_process(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """In a process of its own, since fastText answers such files with signals; memory is bounded."""
    path = request.getfixturevalue(kind)
    command = [sys.executable, "-c", MUTATE, str(path), str(tmp_path / "changed.bin")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, ended.stdout.strip()) == (0, "True True"), ended.stderr[-2000:]


@pytest.mark.parametrize(
    ("at", "form", "value", "told"),
    [
        (4, "<i", 13, "format 11 or 12"),
        (8, "<i", 2**31 - 1, "matrix"),
        (8, "<i", -1, "positive dimension"),
        (28, "<i", 10**6, "n-grams"),
        (32, "<i", 9, "known loss"),
        (36, "<i", 1, "supervised"),
        (40, "<i", 0, "buckets"),
        (40, "<i", 2**31 - 1, "matrix"),
        (64, "<i", 2**31 - 1, "add up"),
        (68, "<i", -5, "add up"),
        (84, "<q", 2**60, "bytes more"),
        (84, "<q", -9, "pruned"),
    ],
)
def test_hostile_sizes_are_named(plain: Path, tmp_path: Path, at: int, form: str, value: int, told: str) -> None:
    data = bytearray(plain.read_bytes())
    struct.pack_into(form, data, at, value)
    (tmp_path / "hostile.bin").write_bytes(data)
    with pytest.raises(ModelError, match=told):
        Model.find(tmp_path / "hostile.bin")


def test_a_file_that_changed_since_it_was_found_is_refused(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(plain.read_bytes())
    found = Model.find(path)
    data = bytearray(plain.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="changed since"):
        found.load()


def named(model: Model) -> list[str]:
    return fasttext_models.best(model.load(), pl.Series(["red sea 3", "blue sky 7"]))["label"].to_list()


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_a_model_crosses_to_other_processes_by_name(plain: Path, start: str) -> None:
    model = Model.find(plain)
    assert named(model) == ["red", "blue"]
    assert len(pickle.dumps(model)) < 500
    with ProcessPoolExecutor(2, multiprocessing.get_context(start)) as pool:
        assert list(pool.map(named, [model] * 3)) == [["red", "blue"]] * 3


# --- lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Hello, World!", "hello , world !"),
        ("a\n\n b\t c\u3000d\x00e", "a b c d e"),
        ("snake_case x2", "snake_case x2"),
        ("我喜欢Python。", "我 喜 欢 python 。"),
        ("カタカナ", "カ タ カ ナ"),
        ("हिन्दी", "हिन्दी"),
        ("__label__bad </s> end", "bad < / s > end"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_tokens(text: str, line: str) -> None:
    assert fasttext_models.tokens(pl.Series([text, None]), 1_000).to_list() == [line, None]


def test_tokens_stop_at_the_limit() -> None:
    assert fasttext_models.tokens(pl.Series(["abcdef", "é" * 10]), 3).to_list() == ["abc", "ééé"]


@given(st.lists(st.text() | st.sampled_from(["</s> x", "__label__y", "a __label__red b", "__la__label__bel__"])))
def test_no_text_is_a_command(texts: list[str]) -> None:
    for lines in (fasttext_models.tokens, fasttext_models.one_line):
        for line in lines(pl.Series(texts, dtype=pl.String), 1_000):
            assert "\n" not in line
            words = re.split(r"[ \n\r\t\v\f\0]+", line)
            assert "</s>" not in words
            assert not any(word.startswith("__label__") for word in words)


# --- prediction and training ------------------------------------------------------------------------------------------


def test_the_probabilities_of_a_line_add_up_to_one(plain: Path) -> None:
    model = Model.find(plain).load()
    lines = pl.Series([*LINES, "unseen words", "red blue"])
    by_label = {label: fasttext_models.probabilities(model, lines, label) for label in ("red", "blue", "green")}
    np.testing.assert_allclose(by_label["red"] + by_label["blue"], 1, atol=1e-4)
    assert not by_label["green"].any()
    best = fasttext_models.best(model, lines)
    np.testing.assert_allclose(best["probability"], np.maximum(by_label["red"], by_label["blue"]), atol=1e-6)
    likelier = np.where(by_label["red"] > by_label["blue"], "red", "blue")
    assert best["label"].to_list() == likelier.tolist()


def test_no_lines_and_lines_of_nothing_known(plain: Path, folder: Path) -> None:
    model = Model.find(plain).load()
    assert fasttext_models.best(model, pl.Series([], dtype=pl.String)).shape == (0, 2)
    settings = {**SETTINGS, "minn": 0, "maxn": 0, "wordNgrams": 1}
    words = fasttext_models.train(pl.Series(LABELS), pl.Series(LINES), settings, folder / "lines.txt")
    best = fasttext_models.best(words, pl.Series(["red sky", "red"]))
    assert best["label"].to_list() == ["red", "red"]
    assert best.schema == {"label": pl.String, "probability": pl.Float32}


def test_training_repeats_itself_to_the_byte(folder: Path, plain: Path) -> None:
    again = fasttext_models.train(pl.Series(LABELS), pl.Series(LINES), SETTINGS, folder / "lines.txt")
    again.save_model(str(folder / "again.bin"))
    assert (folder / "again.bin").read_bytes() == plain.read_bytes()
    assert not (folder / "lines.txt").exists()


@pytest.mark.parametrize("label", ["two words", "", None, "a\nb"])
def test_labels_with_white_space_are_refused(folder: Path, label: str | None) -> None:
    with pytest.raises(ModelError, match="labels without white space"):
        fasttext_models.train(pl.Series(["good", label]), pl.Series(["a", "b"]), SETTINGS, folder / "lines.txt")


@pytest.mark.parametrize(("setting", "told"), [({"minCount": 1_000}, "minCount is 1000"), ({"lr": 1e9}, "NaN")])
def test_what_cannot_be_learned_is_an_error(folder: Path, setting: dict[str, float], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        fasttext_models.train(pl.Series(LABELS), pl.Series(LINES), {**SETTINGS, **setting}, folder / "lines.txt")
    assert not (folder / "lines.txt").exists()

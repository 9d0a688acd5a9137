"""What counts as contaminated, by how much and where, against a plain version of the same definition."""

from __future__ import annotations

import dataclasses
import gzip
import json
import random
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from transforms.text import contamination
from transforms.text.contamination import Benchmark, BenchmarkError, Benchmarks, Settings

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"

PROMPT = "Write a short poem about the lighthouse keeper who counts every ship that passes at night"
CHINESE = "请用三句话介绍长城的历史并说明它为什么重要"
Row = dict[str, Any]
Maker = Callable[..., Benchmarks]


@pytest.fixture
def benchmark(tmp_path: Path) -> Maker:
    def make(*texts: str, name: str = "test", **settings: Any) -> Benchmarks:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), encoding="utf-8")
        return Benchmarks.load([Benchmark(name, str(path))], Settings(**settings))

    return make


@pytest.fixture(scope="module")
def ifeval_path() -> Path:
    path = SHARED / "instructions" / "ifeval_prompts.jsonl"
    if not path.is_file():
        pytest.skip(f"no real benchmark at {path}")
    return path


def measure(benchmarks: Benchmarks, *texts: str | None) -> list[Row]:
    return contamination.measure(pl.Series(texts, dtype=pl.String), benchmarks).to_dicts()


def fold(character: str) -> str:
    """Plain version of ``contamination.folding`` from its docstring, by Python's own Unicode tables."""
    if unicodedata.category(character)[0] not in "LN" and unicodedata.category(character) != "Mc":
        return ""
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if unicodedata.category(c) != "Mn")
    plain = plain if len(plain) == 1 else character
    lower = plain.upper().lower()
    return lower if len(lower) == 1 else plain.lower()[0]


def folded_words(text: str) -> list[tuple[str, int, int]]:
    """Folded word, start and stop in characters."""
    alone = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
    found = regex.finditer(rf"{alone}|(?:(?!{alone})\P{{White_Space}})+", text)
    folded = (("".join(map(fold, match.group())), match.start(), match.end()) for match in found)
    return [word for word in folded if word[0]]


def brute_force(texts: Sequence[str], benchmark: Sequence[str], n: int, shortest: int, common: int) -> list[Row]:
    rows = [tuple(word for word, _, _ in folded_words(text)) for text in benchmark]
    where: dict[tuple[str, ...], set[tuple[int, int]]] = defaultdict(set)
    for number, row in enumerate(rows):
        if len(row) >= shortest and row not in rows[:number]:
            size = min(n, len(row))
            for at in range(len(row) - size + 1):
                where[row[at : at + size]].add((number, at))
    where = {gram: places for gram, places in where.items() if len({number for number, _ in places}) <= common}
    searchable: dict[int, set[int]] = defaultdict(set)
    for gram, places in where.items():
        for number, at in places:
            searchable[number] |= set(range(at, at + len(gram)))
    results = []
    for text in texts:
        words = folded_words(text)
        row_words: dict[int, set[int]] = defaultdict(set)
        text_words: dict[int, set[int]] = defaultdict(set)
        for size in range(shortest, n + 1):
            for start in range(len(words) - size + 1):
                gram = tuple(word for word, _, _ in words[start : start + size])
                for number, at in where.get(gram, ()):
                    row_words[number] |= set(range(at, at + size))
                    text_words[number] |= set(range(start, start + size))
        if not row_words:
            results.append(row_of(0.0, 0, None, None))
            continue
        best = min(row_words, key=lambda number: (-len(row_words[number]) / len(searchable[number]), number))
        covered = sorted(text_words[best])
        runs: list[list[int]] = []
        for word in covered:
            if runs and runs[-1][-1] == word - 1:
                runs[-1].append(word)
            else:
                runs.append([word])
        longest = max(runs, key=len)
        span = {"start": words[longest[0]][1], "stop": words[longest[-1]][2]}
        share = len(row_words[best]) / len(searchable[best])
        results.append(row_of(share, len(row_words[best]), f"test:{best}", span))
    return results


def row_of(share: float, count: int, by: str | None, span: dict[str, int] | None) -> Row:
    return {
        "contamination": float(np.float32(share)),
        "contaminated_words": count,
        "contaminated_by": by,
        "contaminated_span": span,
    }


# --- what counts -------------------------------------------------------------------------------------------------------------


def test_a_copied_prompt_is_found_whole_with_its_row_and_span(benchmark: Maker) -> None:
    text = f"He said: «{PROMPT}!» — and left."
    [found] = measure(benchmark("Another prompt of nine words is here before it", PROMPT), text)
    assert found["contamination"] == 1
    assert found["contaminated_words"] == len(PROMPT.split())
    assert found["contaminated_by"] == "test:1"
    assert text[found["contaminated_span"]["start"] : found["contaminated_span"]["stop"]] == f"«{PROMPT}!»"


@pytest.mark.parametrize(
    "disguise",
    [
        str.upper,
        lambda text: text.replace(" ", "\n\t\u3000"),
        lambda text: text.replace(" ", ", *") + "…",
        lambda text: text.replace("e", "é"),
        lambda text: text.replace("e", "e\u0301"),
        lambda text: text.replace("h", "h\u200b"),
        lambda text: "".join(chr(ord(c) + 0xFEE0) if "a" <= c <= "z" else c for c in text),
        lambda text: text.replace(" ", " 🙂 "),
    ],
    ids=["case", "spaces", "punctuation", "accents", "combining", "zero-width", "full-width", "emoji"],
)
def test_spelling_does_not_hide_a_prompt(benchmark: Maker, disguise: Callable[[str], str]) -> None:
    [found] = measure(benchmark(PROMPT), f"Before it. {disguise(PROMPT)} After it.")
    assert found["contamination"] == 1


@pytest.mark.parametrize(
    ("kept", "words"), [(slice(0, 13), 13), (slice(2, 15), 13), (slice(1, 16), 15), (slice(0, 12), 0)]
)
def test_the_share_counts_the_words_inside_shared_ngrams(benchmark: Maker, kept: slice, words: int) -> None:
    prompt = PROMPT.split()
    assert len(prompt) == 16
    [found] = measure(benchmark(PROMPT), f"unrelated {' '.join(prompt[kept])} words")
    assert found["contaminated_words"] == words
    assert found["contamination"] == pytest.approx(words / 16)


def test_a_changed_word_breaks_every_ngram_over_it(benchmark: Maker) -> None:
    words = [f"word{number}" for number in range(40)]
    changed = [*words[:20], "other", *words[21:]]
    near_an_end = [*words[:5], "other", *words[6:]]
    middle, end = measure(benchmark(" ".join(words)), " ".join(changed), " ".join(near_an_end))
    assert middle["contaminated_words"] == 39
    assert end["contaminated_words"] == 34
    assert end["contaminated_span"] == {"start": len(" ".join(near_an_end[:6])) + 1, "stop": len(" ".join(near_an_end))}


def test_chinese_is_compared_by_characters(benchmark: Maker) -> None:
    text = f"问题：{CHINESE[:15]}，{CHINESE[15:]}？谢谢。"
    found, part, clean = measure(benchmark(CHINESE), text, f"前文{CHINESE[2:15]}后文", f"前文{CHINESE[2:14]}后文")
    assert found["contamination"] == 1
    assert (
        text[found["contaminated_span"]["start"] : found["contaminated_span"]["stop"]]
        == f"{CHINESE[:15]}，{CHINESE[15:]}"
    )
    assert part["contaminated_words"] == 13
    assert clean["contamination"] == 0


@pytest.mark.parametrize(("words", "found"), [(7, False), (8, True), (12, True)])
def test_a_text_shorter_than_an_ngram_counts_as_a_whole(benchmark: Maker, words: int, found: bool) -> None:
    short = " ".join(PROMPT.split()[:words])
    benchmarks = benchmark(short)
    whole, part = measure(benchmarks, f"{short} and more", f"so {' '.join(short.split()[1:])} and more")
    assert whole["contamination"] == float(found)
    assert part["contamination"] == 0
    assert benchmarks.summary.select("searched", "too_short").row(0) == ((1, 0) if found else (0, 1))


def test_one_word_is_not_searched_unless_asked_for(benchmark: Maker) -> None:
    assert measure(benchmark("lighthouse"), "The lighthouse stands.")[0]["contamination"] == 0
    [found] = measure(benchmark("lighthouse", shortest=1), "The Lighthouse, again.")
    assert found == row_of(1, 1, "test:0", {"start": 4, "stop": 15})


def test_an_ngram_of_many_prompts_is_a_template(benchmark: Maker) -> None:
    template = "your answer must contain at least three sections and each of them must start with"
    prompts = [f"{template} the word number{number} in capital letters please" for number in range(11)]
    eleven, ten = benchmark(*prompts), benchmark(*prompts[:10], name="ten")
    assert measure(eleven, f"I think {template} that")[0]["contamination"] == 0
    assert measure(ten, f"I think {template} that")[0]["contamination"] > 0
    [own] = measure(eleven, prompts[7])
    assert own["contamination"] == 1
    assert own["contaminated_by"] == "test:7"
    assert own["contaminated_words"] < len(prompts[7].split())


def test_a_prompt_that_is_repeated_is_no_template(benchmark: Maker) -> None:
    benchmarks = benchmark(*[PROMPT] * 20)
    assert measure(benchmarks, PROMPT)[0]["contaminated_by"] == "test:0"
    assert benchmarks.summary.row(0, named=True) == {
        "name": "test",
        "texts": 20,
        "searched": 1,
        "too_short": 0,
        "repeated": 19,
        "common": 0,
    }


def test_a_prompt_of_one_word_over_and_over(benchmark: Maker) -> None:
    benchmarks = benchmark("buffalo " * 50)
    all_of_it, two = measure(benchmarks, "buffalo " * 13, "x " + "buffalo " * 1000)
    assert all_of_it["contaminated_words"] == two["contaminated_words"] == 50
    assert two["contaminated_span"] == {"start": 2, "stop": 2 + 8 * 1000 - 1}


def test_a_hash_is_not_believed(benchmark: Maker) -> None:
    benchmarks = benchmark(PROMPT)
    vocabulary = benchmarks._vocabulary
    other_words = dataclasses.replace(
        benchmarks, _vocabulary=vocabulary._replace(points=vocabulary.points + np.uint32(1))
    )
    assert measure(benchmarks, PROMPT)[0]["contamination"] == 1
    assert measure(other_words, PROMPT)[0]["contamination"] == 0


# --- against the plain version -----------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["a", "b", "B.", "-", "长", "长城", "É", "\u3000c", "🙂", "e\u0301"])
TEXTS = st.lists(st.lists(WORDS, max_size=30).map(" ".join), min_size=1, max_size=8)


@given(texts=TEXTS, prompts=TEXTS, n=st.integers(2, 5), shortest=st.integers(1, 2), common=st.integers(1, 3))
def test_any_texts_as_the_plain_version(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], prompts: list[str], n: int, shortest: int, common: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    benchmarks = Benchmarks.load([Benchmark("test", str(path))], Settings(n, shortest, common))
    assert measure(benchmarks, *texts) == brute_force(texts, prompts, n, shortest, common)


@pytest.mark.parametrize(("n", "shortest", "common"), [(13, 8, 10), (5, 3, 10), (4, 4, 1)])
def test_real_documents_as_the_plain_version(ifeval_path: Path, n: int, shortest: int, common: int) -> None:
    prompts = [json.loads(line)["prompt"] for line in ifeval_path.read_text(encoding="utf-8").splitlines()]
    documents = pl.read_ndjson(SHARED / "text" / "web_wiki_471.jsonl")["text"].to_list()
    chats = pl.read_ndjson(SHARED / "chats" / "sharegpt_500.jsonl").head(60)["conversations"].explode().struct["value"]
    texts = [*documents[:150], *chats.to_list(), *prompts[::7], "intro " + prompts[3] + " outro"]
    benchmarks = Benchmarks.load([Benchmark("test", str(ifeval_path))], Settings(n, shortest, common))
    found = measure(benchmarks, *texts)
    assert found == brute_force(texts, prompts, n, shortest, common)
    assert sum(row["contamination"] > 0 for row in found) > len(prompts) // 8


def test_letters_fold_as_python_folds_them() -> None:
    """Every character of Unicode 14 (Python 3.11); a few of them have moved to another category since."""
    assigned = [p for p in range(0x110000) if unicodedata.category(chr(p)) not in ("Cn", "Cs", "Co")]
    table = contamination.folding()
    different = [p for p in assigned if (chr(table[p]) if table[p] else "") != fold(chr(p))]
    moved = [p for p in different if not regex.match(rf"\p{{{unicodedata.category(chr(p))}}}", chr(p))]
    assert different == moved, [f"U+{p:04X}" for p in different[:20]]


# --- the same in any order, cut, or spelling of the call -----------------------------------------------------------------------


def test_order_changes_nothing(tmp_path: Path, ifeval_path: Path) -> None:
    prompts = [json.loads(line)["prompt"] for line in ifeval_path.read_text(encoding="utf-8").splitlines()]
    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps({"q": text, "a": [text[::-1]]}) + "\n" for text in prompts[100:140]))
    files = [Benchmark("ifeval", str(ifeval_path)), Benchmark("a", str(own), ("q", "a"))]
    forward, backward = Benchmarks.load(files), Benchmarks.load(files[::-1])
    texts = pl.Series(prompts[90:150] + ["nothing of it"] * 5)
    found = contamination.measure(texts, forward)
    assert forward.identity == backward.identity
    assert contamination.measure(texts, backward).equals(found)
    assert found["contaminated_by"].str.starts_with("a:").sum() == 40
    order = random.Random(0).sample(range(len(texts)), len(texts))
    assert contamination.measure(texts[order], forward).equals(found[order])


def test_texts_in_blocks(benchmark: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["", PROMPT, "é" * 50, None, f"é {PROMPT}", "x"] * 20
    benchmarks = benchmark(PROMPT)
    whole = measure(benchmarks, *texts)
    monkeypatch.setattr(contamination, "_BLOCK_BYTES", 100)
    assert measure(benchmarks, *texts) == whole


def test_no_texts(benchmark: Maker) -> None:
    frame = contamination.measure(pl.Series([], dtype=pl.String), benchmark(PROMPT))
    assert frame.schema == contamination.SCORES
    assert frame.height == 0


def test_columns_and_types(benchmark: Maker) -> None:
    for texts in (["nothing"], [PROMPT], [None, ""]):
        frame = contamination.measure(pl.Series(texts, dtype=pl.String), benchmark(PROMPT))
        assert frame.schema == contamination.SCORES
        assert frame.height == len(texts)


# --- the filter ----------------------------------------------------------------------------------------------------------------


def test_select_adds_scores_and_a_reason(benchmark: Maker) -> None:
    part = " ".join(PROMPT.split()[:13])
    frame = pl.DataFrame({"id": [1, 2, 3, 4], "text": ["clean", PROMPT, part, None]})
    strict = contamination.select(frame, benchmark(PROMPT))
    assert strict["id"].to_list() == [1, 2, 3, 4]
    assert strict["reason"].to_list() == [None, "contaminated", "contaminated", None]
    assert strict["failed"].to_list() == [[], ["contaminated"], ["contaminated"], []]
    lenient = contamination.select(frame, benchmark(PROMPT), maximum=13 / 16)
    assert lenient["reason"].to_list() == [None, "contaminated", None, None]


def test_what_is_added_quotes_nothing(benchmark: Maker) -> None:
    added = contamination.select(pl.DataFrame({"text": [PROMPT]}), benchmark(PROMPT)).drop("text")
    assert not set(PROMPT.lower().split()) & set(regex.findall(r"\w+", json.dumps(added.to_dicts())))


# --- benchmark files -------------------------------------------------------------------------------------------------------------


def test_files_of_every_kind(tmp_path: Path) -> None:
    lines = "".join(
        json.dumps({"q": text, "choices": [text[::-1], None]}) + "\n" for text in (PROMPT, PROMPT[4:])
    ).encode()
    (tmp_path / "plain.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n\n"))
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(lines))
    pl.read_ndjson(lines).write_parquet(tmp_path / "table.parquet")
    for name in ("plain.jsonl", "packed.jsonl.gz", "table.parquet"):
        benchmarks = Benchmarks.load([Benchmark("x", str(tmp_path / name), ("q", "choices"))])
        found = measure(benchmarks, PROMPT, PROMPT[4:][::-1])
        assert [row["contaminated_by"] for row in found] == ["x:0", "x:1"], name
        assert benchmarks.summary["texts"].to_list() == [4]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"prompt": "a"}\n{"prompt": \n', "file.jsonl: line 2: expected JSON"),
        (b'{"prompt": "a"}\n\n[1]\n', "file.jsonl: line 3: expected a JSON object, found list"),
        (b'{"prompt": "a"}\n{"other": "a"}\n', "file.jsonl: line 2: no column prompt"),
        (
            b'{"prompt": "a"}\n{"prompt": 7}\n',
            "file.jsonl: row 1 (the first is 0): column prompt: expected text, found int",
        ),
        (b'{"prompt": ["a", {}]}\n', "file.jsonl: row 0 (the first is 0): column prompt: expected text, found dict"),
        (b'{"prompt": "\\ud800"}\n', "file.jsonl: line 1: expected JSON"),
        (b'{"prompt": "\xff"}\n', "file.jsonl: line 1: expected JSON"),
        (b'{"prompt": null}\n', "file.jsonl: no text in prompt"),
        (b"", "file.jsonl: no text in prompt"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=regex.escape(says)):
        Benchmarks.load([Benchmark("test", str(path))])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gone.jsonl", None),
        ("cut.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 100)[:-12]),
        ("not.jsonl.gz", b'{"prompt": "a"}\n'),
        ("not.parquet", b"PAR1 but no table PAR1"),
        ("empty.parquet", b""),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=regex.escape(name)):
        Benchmarks.load([Benchmark("test", str(path))])


def test_a_benchmark_that_unpacks_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * 100_000))
    monkeypatch.setattr(contamination, "MAX_BYTES", 99_999)
    with pytest.raises(BenchmarkError, match="expected at most 99,999 bytes, unpacked"):
        Benchmarks.load([Benchmark("test", str(path))])


@pytest.mark.parametrize(
    ("frame", "says"),
    [({"other": ["a"]}, "no column prompt"), ({"prompt": [7]}, "row 0 (the first is 0): column prompt: expected text")],
)
def test_a_parquet_file_without_texts_is_named(tmp_path: Path, frame: dict[str, Any], says: str) -> None:
    path = tmp_path / "table.parquet"
    pl.DataFrame(frame).write_parquet(path)
    with pytest.raises(BenchmarkError, match=f"{regex.escape(str(path))}: {regex.escape(says)}"):
        Benchmarks.load([Benchmark("test", str(path))])


def test_two_benchmarks_of_a_name(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="several called x"):
        Benchmarks.load([Benchmark("x", str(tmp_path / "a")), Benchmark("x", str(tmp_path / "b"))])


@pytest.mark.parametrize(
    "settings",
    [{"ngram": 65}, {"ngram": 5, "shortest": 6}, {"shortest": 0}, {"common": 0}],
    ids=str,
)
def test_settings_out_of_bounds(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Settings(**settings)


def test_the_identity_is_of_contents_names_and_settings(tmp_path: Path, benchmark: Maker) -> None:
    known = benchmark(PROMPT).identity
    (tmp_path / "moved").mkdir()
    (tmp_path / "test.jsonl").rename(tmp_path / "moved" / "test.jsonl")
    moved = Benchmarks.load([Benchmark("test", str(tmp_path / "moved" / "test.jsonl"))])
    assert moved.identity == known
    others = [benchmark(PROMPT + "."), benchmark(PROMPT, name="other"), benchmark(PROMPT, ngram=12)]
    assert len({known, *(other.identity for other in others)}) == 4


def test_no_benchmarks() -> None:
    assert measure(Benchmarks.load([]), PROMPT, None)[0] == row_of(0, 0, None, None)

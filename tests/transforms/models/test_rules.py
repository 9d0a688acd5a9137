"""The rules engine: what a rule may say, what it does with texts, and how a bad file fails."""

import hashlib
import pickle
from pathlib import Path

import polars as pl
import pytest

from transforms.models import rules

HEADER = "name: test\nversion: 1\ndefault: none\n"


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "test.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(tmp_path: Path, body: str, header: str = HEADER) -> rules.RuleSet:
    return rules.load(write(tmp_path, header + body))


def labels(found: pl.DataFrame) -> list[object]:
    return found["label"].to_list()


def test_first_matching_rule_wins_and_the_rest_gets_the_default(tmp_path: Path) -> None:
    found = rules.classify(
        pl.Series(["a cat and a dog", "a dog", "a bird"]),
        load(tmp_path, "rules:\n- {id: one, label: x, pattern: cat}\n- {id: two, label: y, pattern: cat|dog}\n"),
    )
    assert found.rows() == [("x", "one", "cat"), ("y", "two", "dog"), ("none", None, None)]
    assert found.schema == {"label": pl.String, "rule": pl.String, "matched": pl.String}


def test_integer_labels_are_int8(tmp_path: Path) -> None:
    header = "name: test\nversion: 1\ndefault: 3\n"
    found = rules.classify(pl.Series(["a", "b"]), load(tmp_path, "rules: [{id: a, label: 1, pattern: a}]\n", header))
    assert found.schema["label"] == pl.Int8
    assert labels(found) == [1, 3]


def test_order_and_length_are_kept(tmp_path: Path) -> None:
    body = "rules:\n- {id: even, label: even, cue: '[02468]', pattern: '[02468]$'}\n- {id: five, label: five, pattern: '5'}"
    texts = pl.Series([str(number) for number in range(5000)])
    expected = ["even" if n % 2 == 0 else "five" if "5" in str(n) else "none" for n in range(5000)]
    assert labels(rules.classify(texts, load(tmp_path, body))) == expected
    chunked = pl.concat([texts[:1234], texts[1234:]], rechunk=False)
    assert labels(rules.classify(chunked, load(tmp_path, body))) == expected


def test_null_blank_and_no_texts(tmp_path: Path) -> None:
    loaded = load(tmp_path, "rules: [{id: a, label: x, pattern: '.'}, {id: b, label: y, scope: tail, pattern: '.'}]")
    found = rules.classify(pl.Series([None, "", " \n\u3000 ", "a"]), loaded)
    assert found.rows() == [("none", None, None)] * 3 + [("x", "a", "a")]
    empty = rules.classify(pl.Series([], dtype=pl.String), loaded)
    assert empty.height == 0
    assert empty.schema == found.schema
    assert labels(rules.classify(pl.Series([None, None], dtype=pl.String), loaded)) == ["none", "none"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("THANKS", "thanks"),
        ("  a \t\n b  ", "a b"),
        ("don’t", "don't"),
        ("好，的！？（是）：“甲”；乙。", '好,的!?(是):"甲";乙.'),
        ("謝謝，這個對嗎", "谢谢,这个对吗"),
        ("wait…", "wait..."),
    ],
)
def test_normalise(text: str, seen: str) -> None:
    assert pl.select(rules.normalise(pl.lit(text))).item() == seen


def test_scope(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "rules:\n"
        "- {id: head, label: head, scope: head, pattern: word}\n"
        "- {id: tail, label: tail, scope: tail, pattern: word}\n"
        "- {id: whole, label: whole, scope: whole, pattern: word}\n",
    )
    pad = "." * 300
    found = rules.classify(
        pl.Series([f"word{pad}{pad}", f"{pad}{pad}word", f"{pad}word{pad}", pad, "\n" * 500 + "word" + pad]), loaded
    )
    assert labels(found) == ["head", "tail", "whole", "none", "head"]


def test_only_the_scope_is_read(tmp_path: Path) -> None:
    loaded = load(tmp_path, "rules: [{id: a, label: x, pattern: 'a$'}, {id: b, label: y, scope: tail, pattern: '^b'}]")
    assert rules.HEAD_CHARS == 200
    assert rules.TAIL_CHARS == 120
    found = rules.classify(pl.Series(["-" * 199 + "a" + "-" * 99, "-" * 300 + "b" + "-" * 119]), loaded)
    assert labels(found) == ["x", "y"]


def test_min_and_max_chars(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "rules:\n"
        "- {id: short, label: short, scope: whole, max_chars: 5, pattern: a}\n"
        "- {id: mid, label: mid, scope: whole, min_chars: 10, max_chars: 300, pattern: a$}\n"
        "- {id: long, label: long, min_chars: 400, pattern: ^a}\n",
    )
    texts = ["aaaaa", "aaaaaa", "中文中文a", " a  ", "-" * 9 + "a", "-" * 299 + "a", "-" * 300 + "a", "a" * 500]
    found = rules.classify(pl.Series(texts), loaded)
    assert labels(found) == ["short", "none", "short", "short", "mid", "mid", "none", "long"]


def test_unless_reads_the_same_scope(tmp_path: Path) -> None:
    loaded = load(tmp_path, "rules: [{id: a, label: x, pattern: good, unless: not}, {id: b, label: y, pattern: 'no'}]")
    found = rules.classify(pl.Series(["good", "not good", "good" + "." * 300 + "not"]), loaded)
    assert found.rows() == [("x", "a", "good"), ("y", "b", "no"), ("x", "a", "good")]


def test_cue_is_needed_too(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "rules:\n- {id: a, label: x, cue: key, pattern: '[0-9]+'}\n- {id: b, label: y, scope: tail, cue: b, pattern: b}",
    )
    found = rules.classify(pl.Series(["key 12", "12", "b 12", "b key 7"]), loaded)
    assert labels(found) == ["x", "none", "y", "x"]


def test_skip_hides_the_opening_from_the_head(tmp_path: Path) -> None:
    header = HEADER + "skip: ((oh|ok)[,. ]+)+\n"
    loaded = load(tmp_path, "rules: [{id: a, label: x, pattern: ^fine}, {id: b, label: y, pattern: ok}]", header)
    assert labels(rules.classify(pl.Series(["Oh, ok. Fine", "fine", "ok"]), loaded)) == ["x", "x", "y"]


def test_terms_and_alternatives(tmp_path: Path) -> None:
    header = HEADER + "terms:\n  pet: [cat, dog|bird]\n  two: <pet> and <pet>\n"
    loaded = load(tmp_path, "rules: [{id: a, label: x, pattern: ['^<two>$', '^fish$'], unless: bird}]", header)
    texts = ["cat and dog", "fish", "cat and bird", "cat", "fish and cat"]
    assert labels(rules.classify(pl.Series(texts), loaded)) == ["x", "x", "none", "none", "none"]


def test_word_edges_are_ascii(tmp_path: Path) -> None:
    loaded = load(tmp_path, r"rules: [{id: a, label: x, pattern: '\bdraw\b'}, {id: b, label: y, pattern: '\\b'}]")
    found = rules.classify(pl.Series(["draw it", "drawback", "请draw一下", "a\\b"]), loaded)
    assert labels(found) == ["x", "none", "x", "y"]


def test_matched_is_cut_and_whole_even_with_groups(tmp_path: Path) -> None:
    loaded = load(tmp_path, "rules: [{id: a, label: x, pattern: '(a)(b)+c'}, {id: b, label: y, pattern: d+}]")
    found = rules.classify(pl.Series(["- abbc -", "d" * 150]), loaded)
    assert found["matched"].to_list() == ["abbc", "d" * 80]


def test_a_rule_set_is_a_value(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + "rules: [{id: a, label: x, pattern: a, language: en}]\n")
    loaded = rules.load(path)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (loaded.name, loaded.version, loaded.default) == ("test", 1, "none")
    assert loaded.rules == (rules.Rule(id="a", label="x", pattern="a", language="en"),)
    assert pickle.loads(pickle.dumps(loaded)) == loaded
    assert rules.load(path) == loaded


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("rules: [{id: bad, label: x, pattern: '(a'}]", "rule bad: pattern: .*unclosed group"),
        ("rules: [{id: bad, label: x, pattern: 'a(?=b)'}]", "rule bad: pattern: .*look-around"),
        ("rules: [{id: bad, label: x, pattern: a, unless: '[z-a]'}]", "rule bad: unless: .*range"),
        ("rules: [{id: bad, label: x, pattern: a, cue: '*'}]", "rule bad: cue: "),
        ("rules: [{id: bad, label: x, pattern: 'a*'}]", "rule bad: pattern: it matches the empty text"),
        ("rules: [{id: bad, label: x, pattern: <nope>}]", "rule bad: pattern: there is no term nope"),
        ("terms: {one: <two>, two: a}\nrules: [{id: a, label: x, pattern: a}]", "term one: there is no term two"),
        ("terms: {one: '['}\nrules: [{id: a, label: x, pattern: a}]", "term one: .*unclosed"),
        ("rules: [{id: bad, label: x, pattern: a, patern: b}]", "rule bad: patern: "),
        ("rules: [{id: bad, label: x}]", "rule bad: pattern: Field required"),
        ("rules: [{label: x, pattern: a}]", "rule 1: id: Field required"),
        ("rules: [{id: bad, label: x, pattern: a, scope: middle}]", "rule bad: scope: "),
        ("rules: [{id: bad, label: x, pattern: a, max_chars: '9'}]", "rule bad: max_chars: "),
        ("rules: [{id: bad, label: x, pattern: a, min_chars: 0}]", "rule bad: min_chars: "),
        ("rules: [{id: bad, label: 1, pattern: a}]", "rule bad: label must be of the type of default, str"),
        ("rules: [{id: bad, label: yes, pattern: a}]", "rule bad: label"),
        ("rules: [{id: bad, label: x, pattern: a}, {id: bad, label: x, pattern: b}]", "rule bad: the id is repeated"),
        ("rules: []", "rules: "),
        ("rules: [1]", "rules.0: "),
        ("rule: []", "rules: Field required"),
        ("rules: [{id: a, label: x, pattern: a}]\nextra: 1", "extra: "),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(rules.RulesError, match=f"(?s)test.yaml: .*{message}"):
        load(tmp_path, body)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1]\nb: *a\n", "aliases are not allowed"),
        ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("a: !custom 1\n", "could not determine a constructor"),
        ("name: a\nname: b\n", "'name' is repeated"),
        ("a: [1\n", "not plain YAML"),
        (b"a: \xff\xfe\n", "not plain YAML"),
        ("", "valid dictionary"),
        ("- 1\n", "valid dictionary"),
        ("[a]: 1\n", "test.yaml"),
    ],
)
def test_yaml_that_is_not_plain_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(rules.RulesError, match=message):
        rules.load(write(tmp_path, text))


def test_labels_fit_int8(tmp_path: Path) -> None:
    header = "name: test\nversion: 1\ndefault: 3\n"
    with pytest.raises(rules.RulesError, match="rule big: label"):
        load(tmp_path, "rules: [{id: big, label: 300, pattern: a}]", header)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rules.load(tmp_path / "none.yaml")

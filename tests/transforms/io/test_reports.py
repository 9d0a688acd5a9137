"""The report: complete, safe with hostile data, and legible."""

from __future__ import annotations

import base64
import copy
import hashlib
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.presentations.feedback import PRESENTATION as FEEDBACK
from schemas.feedback import INSTANCE_OUTCOMES, KEPT, REJECTED, ROW_OUTCOMES
from transforms.io import reports
from transforms.io.reports import Samples

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"{{ 7*7 }}{% raw %}\u202egnp.exe\u2066\x00"

MANIFEST: dict[str, Any] = {
    "manifest_version": 1,
    "schema_version": 1,
    "pipeline": "feedback",
    "dataset": {"name": "demo", "title": "Demo feedback", "description": "A demo.", "license": "odc-by"},
    "plan": {
        "hash": "ab" * 32,
        "settings": {"mining": {"threshold": 0.6, "window": 2}, "subset_by": "user"},
        "stages": [{"name": "extract turns", "version": 3}],
        "prompts": {"configs/feedback/judge.yaml": "cd" * 32},
        "models": [{"role": "judge", "engine": "rules", "name": "rules-en-zh"}],
    },
    "sources": [
        {"uri": "a.parquet", "container": "parquet", "format": "wildchat", "size": 12_345_678, "sha256": "ef" * 32}
        | {"rows": 1000, "error": None},
        {"uri": "b.jsonl", "container": "jsonl", "format": "openai", "size": 10, "sha256": None, "rows": None}
        | {"error": "truncated at byte 5"},
    ],
    "counts": {
        "rows_read": 1000,
        "rows_used": 900,
        "rows_rejected": {"no_feedback": 90, "invalid_json": 10},
        "instances": 2000,
        "kept": 500,
        "instances_rejected": {"neutral": 1400, "duplicate": 100},
        "levels": {"1": 60, "2": 280, "3": 1500, "4": 120, "5": 20},
        "labels": {"train": {"1": 60, "2": 280, "3": 100, "4": 10}, "test": {"1": 0, "2": 20, "3": 20, "4": 10}},
        "stages": [
            {"stage": "read", "unit": "row", "in": 1000, "out": 990, "rejected": {"invalid_json": 10}},
            {"stage": "extract turns", "unit": "row", "in": 990, "out": 900, "rejected": {"no_feedback": 90}},
            {"stage": "deduplicate", "unit": "instance", "in": 2000, "out": 1900, "rejected": {"duplicate": 100}},
            {"stage": "judge", "unit": "instance", "in": 1900, "out": 500, "rejected": {"neutral": 1400}},
        ],
    },
    "shards": [
        {
            "path": "data/train-00000-of-00001.parquet",
            "kind": "data",
            "subset": "train",
            "rows": 450,
            "bytes": 9000,
        }
        | {"sha256": "01" * 32},
        {"path": "data/test-00000-of-00001.parquet", "kind": "data", "subset": "test", "rows": 50, "bytes": 1000}
        | {"sha256": "02" * 32},
    ],
}

RUN: dict[str, Any] = {
    "sluice_version": "0.1.0",
    "code_revision": "0123456789abcdef",
    "python": "3.11.7",
    "packages": {"polars": "2.1.0"},
    "runner": "local",
    "workers": 2,
    "started": "2026-02-11T09:03:11+00:00",
    "finished": "2026-02-11T10:07:43.5+01:00",
    "seconds": 272.5,
    "splits": {"total": 4, "computed": 3, "reused": 1, "failed": 0},
    "stage_seconds": {"read": 3.0, "judge": 9.0},
    "rows_per_second": 1194.2,
    "requests": 0,
}


def kept_row(number: int, label: int = 1, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "record_id": f"{number:032x}",
        "query": f"question {number}",
        "response": f"answer {number}",
        "feedback": f"reaction {number}",
        "label": label,
        "level": {1: 1, 2: 2, 3: 4, 4: 5}[label],
        "judge": {"engine": "rules", "level": 3, "rule": "praise.ask", "reason": "praises, then asks"},
        "mining": {"applied": True, "source_turn": 7, "similarity": 0.7312},
        "refusal": {"candidate": True, "verdict": "answered", "rule": "refusal.cannot"},
        "language": "zh",
        "feedback_language": "zh",
        "subset": "train",
        "source_uri": "a.parquet",
        "source_row": 41,
    }
    return row | changes


def rejected_row(number: int, reason: str = "neutral", **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "record_id": f"{number:032x}",
        "unit": "instance",
        "stage": "judge",
        "reason": reason,
        "failed": [reason, "contains_url"],
        "detail": "matched the word x",
        "judge": {"rule": "neutral.default"},
        "excerpt": f"and then {number}",
        "source_uri": "a.parquet",
        "source_row": 97,
    }
    return row | changes


def write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=7)
    return path


def manifest(**counts: Any) -> dict[str, Any]:
    changed = copy.deepcopy(MANIFEST)
    changed["counts"].update(counts)
    return changed


class Page(HTMLParser):
    """Elements, attributes and text of a page; fails on unbalanced tags."""

    VOID = frozenset({"meta", "br", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] in self.inline:
            self.inline[self.stack[-1]].append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    data = write(tmp_path / "d.parquet", [kept_row(n, 1 + n % 4) for n in range(40)], KEPT)
    rejected = write(tmp_path / "r.parquet", [rejected_row(n) for n in range(9)], REJECTED)
    return reports.samples([data], [rejected], FEEDBACK, per_group=2)


# -- samples


def test_samples_are_the_first_rows_by_id_of_every_group_whatever_the_files(tmp_path: Path) -> None:
    rows = [kept_row(n, 1 + n % 3) for n in range(60)]
    one = write(tmp_path / "one.parquet", rows[::-1], KEPT)
    two = [write(tmp_path / f"{k}.parquet", rows[k::2], KEPT) for k in (1, 0)]
    whole, parts = reports.samples([one], [], FEEDBACK, 4), reports.samples(two, [], FEEDBACK, 4)
    assert whole == parts
    assert {label: [int(r["record_id"], 16) for r in rows] for label, rows in whole.kept.items()} == {
        1: [0, 3, 6, 9],
        2: [1, 4, 7, 10],
        3: [2, 5, 8, 11],
    }


def test_samples_carry_what_decided(samples: Samples) -> None:
    row = samples.kept[1][0]
    assert row["judge.rule"] == "praise.ask"
    assert row["mining.similarity"] == pytest.approx(0.7312)
    assert row["refusal.verdict"] == "answered"
    assert (row["source_uri"], row["source_row"]) == ("a.parquet", 41)
    assert samples.rejected["neutral"][0]["failed"] == ["neutral", "contains_url"]


def test_long_texts_are_clipped_and_their_length_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "d.parquet", [kept_row(1, response="好" * 50_000)], KEPT)
    row = reports.samples([path], [], FEEDBACK).kept[1][0]
    assert len(row["response"]) == 2000
    assert row["response.length"] == 50_000
    assert "49,400 more characters" in Page(reports.render({}, {}, Samples({1: [row]}), FEEDBACK)).text


def test_no_files_and_empty_files_give_no_samples(tmp_path: Path) -> None:
    empty = write(tmp_path / "d.parquet", [], KEPT)
    assert reports.samples([], [], FEEDBACK) == Samples()
    assert reports.samples([empty], [write(tmp_path / "r.parquet", [], REJECTED)], FEEDBACK) == Samples()
    full = write(tmp_path / "e.parquet", [kept_row(1)], KEPT)
    assert list(reports.samples([empty, full], [], FEEDBACK).kept) == [1]


def test_a_file_without_some_columns_is_sampled_too(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"record_id": ["x"], "label": [2], "query": ["q"]}), path)
    row = reports.samples([path], [], FEEDBACK).kept[2][0]
    assert (row["query"], row["response"], row["judge.rule"]) == ("q", None, None)


# -- content


def test_the_report_shows_the_numbers_that_matter(samples: Samples) -> None:
    text = Page(reports.render(MANIFEST, RUN, samples, FEEDBACK)).text
    for expected in (
        "Demo feedback",
        "Source rows 1,000 90.0% hold feedback",
        "Instances 2,000 2.2 per row used",
        "Kept 500 25.0% of instances",
        "Positive 28.0% labels 3 and 4",
        "Run time 4 min 32 s 1,194 rows/s",
        "Finished 2026-02-11 09:07:43 UTC",
        "990 → 900 90.9%",
        f"no_feedback {ROW_OUTCOMES['no_feedback']} −90 9.1%",
        f"neutral {INSTANCE_OUTCOMES['neutral']} −1,400 73.7%",
        "used + rejected 1,000 ✓ Closes",
        "kept + rejected 2,000 ✓ Closes",
        "neutral or ambiguous 75.8% 76% −0.2 1,500",
        "test 0 0% 20 40.0% 20 40.0% 10 20.0% 50 1 shard",
        "12.3 MB",
        "ef" * 32,
        "mining.threshold 0.6",
        "cd" * 32,
        "extract turns version 3",
        "4: 3 computed, 1 reused, 0 failed",
        "question 0",
        "answer 0",
        "reaction 0",
        "praise.ask",
        "level 1, from turn 7 at similarity 0.73",
        "a.parquet :41",
        "and then 0",
        "matched the word x",
        "neutral contains_url",
    ):
        assert expected in text, expected


def test_errors_come_before_the_figures(samples: Samples) -> None:
    text = Page(reports.render(MANIFEST, RUN, samples, FEEDBACK)).text
    assert text.index("1 of 2 source files could not be read") < text.index("hold feedback")
    assert text.index("truncated at byte 5") < text.index("hold feedback")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"rows_used": 890}, "The ledger of source rows does not close. 10 have no outcome."),
        ({"instances": 1999}, "The ledger of instances does not close. 1 outcome too many."),
        ({"kept": 499}, "499 instances were kept, the data shards hold 500."),
    ],
)
def test_counts_that_do_not_add_up_are_loud(counts: dict[str, int], message: str) -> None:
    assert message in Page(reports.render(manifest(**counts), RUN, Samples(), FEEDBACK)).text


def test_failed_splits_are_loud() -> None:
    run = RUN | {"splits": {"total": 4, "failed": 1}}
    assert "1 split failed" in Page(reports.render(MANIFEST, run, Samples(), FEEDBACK)).text


def test_a_sound_run_has_no_alert() -> None:
    sound = manifest() | {"sources": MANIFEST["sources"][:1]}
    page = Page(reports.render(sound, RUN, Samples(), FEEDBACK))
    assert not [attrs for _, attrs in page.elements if attrs.get("role") == "alert"]


def test_an_empty_dataset_renders() -> None:
    page = Page(reports.render({}, {}, Samples(), FEEDBACK))
    for expected in ("Untitled dataset", "✓ Closes", "No instance was judged.", "No instance was kept."):
        assert expected in page.text
    zeros = {
        "counts": {"rows_read": 0, "labels": {"train": {}}, "levels": {}, "stages": []},
        "sources": [],
        "plan": {},
    }
    Page(reports.render(zeros, {"seconds": 0.0, "splits": {}}, Samples(), FEEDBACK))


def test_unknown_reasons_and_subsets_are_shown() -> None:
    counts = {"instances_rejected": {"my_rule": 1500}, "labels": {"dev": {"1": 500}}, "stages": []}
    text = Page(reports.render(manifest(**counts), RUN, Samples(), FEEDBACK)).text
    assert "my_rule −1,500" in text
    assert "dev 500" in text


def test_ten_thousand_sources_do_not_make_a_huge_page() -> None:
    source = MANIFEST["sources"][0]
    many = manifest() | {"sources": [source | {"uri": f"{n}.parquet"} for n in range(10_000)] + MANIFEST["sources"][1:]}
    html = reports.render(many, RUN, Samples(), FEEDBACK)
    assert len(html) < 300_000
    text = Page(html).text
    assert "10,001 files" in text
    assert "1 of 10,001 source files could not be read" in text


def test_code_in_answers_is_set_as_code() -> None:
    row = kept_row(1, response="see\n```python\nx = 1\n```\ndone")
    row |= {"response.length": 30}
    html = reports.render({}, {}, Samples({1: [row]}), FEEDBACK)
    assert '<span class="fence">```python\nx = 1\n```\n</span>done' in html


def test_chinese_text_is_marked_as_such() -> None:
    html = reports.render({}, {}, Samples({1: [kept_row(1)]}), FEEDBACK)
    assert '<div class="prose" dir="auto" lang="zh">question 1</div>' in html
    assert ' lang="\'"' not in reports.render({}, {}, Samples({1: [kept_row(1, language="'\"><b>")]}), FEEDBACK)


def test_the_same_input_gives_the_same_bytes(samples: Samples) -> None:
    assert reports.render(MANIFEST, RUN, samples, FEEDBACK) == reports.render(MANIFEST, RUN, samples, FEEDBACK)


# -- safety


def poisoned(value: Any, text: str) -> Any:
    """The same structure with every string, and every free key, replaced."""
    if isinstance(value, dict):
        return {key: poisoned(inner, text) for key, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner, text) for inner in value]
    return text if isinstance(value, str) else value


def hostile_page() -> str:
    bad = poisoned(MANIFEST, HOSTILE)
    bad["counts"]["rows_rejected"] = {HOSTILE: 100}
    bad["counts"]["labels"] = {HOSTILE: {"1": 500}}
    bad["plan"]["settings"] = {HOSTILE: {HOSTILE: [HOSTILE]}}
    bad["plan"]["prompts"] = {HOSTILE: HOSTILE}
    bad["plan"]["models"] = [{"role": HOSTILE, HOSTILE: HOSTILE}]
    run = poisoned(RUN, HOSTILE) | {"packages": {HOSTILE: HOSTILE}, "stage_seconds": {HOSTILE: 1.0}}
    texts = {"query": HOSTILE, "response": HOSTILE + "W" * 10_000, "feedback": HOSTILE, "language": HOSTILE}
    kept = kept_row(1, source_uri=HOSTILE, record_id=HOSTILE) | texts
    kept |= {
        "judge.rule": HOSTILE,
        "judge.reason": HOSTILE,
        "mining.applied": HOSTILE,
        "mining.similarity": HOSTILE,
    }
    rejected = rejected_row(1, HOSTILE, detail=HOSTILE, excerpt=HOSTILE, failed=[HOSTILE, HOSTILE])
    return reports.render(bad, run, Samples({1: [kept]}, {HOSTILE: [rejected]}), FEEDBACK)


def test_hostile_data_adds_no_element_and_no_handler() -> None:
    page = Page(hostile_page())
    names = [name for name, _ in page.elements]
    assert names.count("script") == names.count("style") == 1
    assert not {"img", "iframe", "link", "object", "embed", "base"} & set(names)
    for _, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on") or name in ("style", "src", "srcset", "action")]
        assert re.fullmatch(r"#\w+|https://arxiv\.org/abs/2602\.08829", attrs.get("href", "#x"))
    assert "alert(1)" not in "".join(page.inline["script"])
    assert "{{ 7*7 }}{% raw %}" in page.text


def test_control_and_bidi_characters_are_spelled_out() -> None:
    html = hostile_page()
    assert "[U+202E]gnp.exe[U+2066][U+0000]" in html
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00]", html)


def test_lone_surrogates_do_not_break_the_file() -> None:
    html = reports.render({"dataset": {"title": "a\ud800b"}}, {}, Samples(), FEEDBACK)
    assert "a[U+D800]b" in html.encode().decode()


def test_the_policy_allows_exactly_the_inline_code() -> None:
    page = Page(reports.render(MANIFEST, RUN, Samples(), FEEDBACK))
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256("".join(page.inline[kind]).encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_nothing_is_fetched() -> None:
    html = reports.render(MANIFEST, RUN, Samples(), FEEDBACK)
    assert "url(" not in html
    assert "@import" not in html
    assert set(re.findall(r"https?://[^\s\"<]+", html)) == {"https://arxiv.org/abs/2602.08829"}


# -- legibility


def themes() -> list[dict[str, str]]:
    css = (resources.files("configs.templates") / "report.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block)) for block in blocks]


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def test_colours_meet_wcag_aa_in_light_dark_and_print() -> None:
    found = themes()
    assert len(found) == 3
    for theme in found:
        assert theme.keys() == found[0].keys()
        texts = [(t, b) for t in ("ink", "muted", "accent", "bad", "good") for b in ("bg", "surface")]
        texts += [("ink", "bad-soft"), ("bad", "bad-soft"), *(("on", f"v{n}") for n in range(1, 6))]
        graphics = [(g, "bg") for g in ("flow", "paper", "line-strong", *(f"v{n}" for n in range(1, 6)))]
        graphics += [("flow", "accent-soft")]
        for pairs, least in ((texts, 4.5), (graphics, 3.0)):
            for one, two in pairs:
                ratio = contrast(theme[one], theme[two])
                assert ratio >= least, f"{one} on {two}: {ratio:.2f}"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (reports.number(1234567), "1,234,567"),
        (reports.number(2.25), "2.2"),
        (reports.number(1194.2), "1,194"),
        (reports.percent(0.0), "0%"),
        (reports.percent(1.0), "100%"),
        (reports.percent(0.0004), "<0.1%"),
        (reports.percent(0.9996), ">99.9%"),
        (reports.percent(0.1234), "12.3%"),
        (reports.size(999), "999 bytes"),
        (reports.size(1_000), "1.0 kB"),
        (reports.size(999_999), "1,000 kB"),
        (reports.size(161_234_567), "161 MB"),
        (reports.size(3.1e12), "3.1 TB"),
        (reports.duration(3.14), "3.1 s"),
        (reports.duration(99.4), "99 s"),
        (reports.duration(3599.6), "1 h 0 min"),
        (reports.when("2026-02-11T10:00:00+01:00"), "2026-02-11 09:00:00 UTC"),
        (reports.when("yesterday"), "yesterday"),
        (reports.signed(-0.04), "0.0"),
        (reports.signed(-1.26), "−1.3"),
        (reports.signed(0.35), "+0.3"),
    ],
)
def test_formats(shown: str, expected: str) -> None:
    assert shown == expected

"""The same curation as Beam pipelines are usually written: one dictionary an element, one message after the other.

    python benchmarks/row_beam.py .bench/chats .bench/rows --workers 2

The rules are Sluice's own: the same rule files, word lists and patterns, here compiled by ``regex`` and applied to one text at a
time; with Python's own ``re`` some Chinese messages take minutes. The encoder is left out. Prints seconds as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import regex  # type: ignore[import-untyped]  # Beam brings it
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from schemas.feedback import KEPT, LABELS
from transforms.io.chats import _ROLES
from transforms.models import rules
from transforms.models.rules import Rule, RuleSet
from transforms.text import language, personal_data

Row = dict[str, Any]

COLUMNS: Final = (
    *("conversation_hash", "hashed_ip", "model", "language", "timestamp", "toxic", "redacted"),
    *(
        f"conversation.list.element.{name}"
        for name in ("role", "content", "language", "timestamp", "toxic", "redacted")
    ),
    "openai_moderation.list.element.flagged",
)
MAX_HISTORY, MIN_QUERY, MIN_RESPONSE, REFUSAL, TEST = 20, 5, 10, 300, 0.027
_EDGE: Final = r"(?:(?<![0-9A-Za-z_])(?=[0-9A-Za-z_])|(?<=[0-9A-Za-z_])(?![0-9A-Za-z_]))"  # of an ASCII word
_SPACES: Final = regex.compile(r"\s{2,}|[^\S ]")
_FOLDED: Final = str.maketrans(rules._FOLDED)


@cache
def compiled(pattern: str) -> regex.Pattern[str]:
    """A pattern of the rule files, which are Rust's, compiled once a process."""
    pattern = pattern.replace(r"(?-u:\b)", _EDGE).replace(f"(?-u:{_EDGE})", _EDGE).replace(r"\z", r"\Z")
    return regex.compile(regex.sub(r"\\x\{([0-9A-Fa-f]+)\}", lambda m: f"\\U{int(m[1], 16):08X}", pattern))


def instances(row: Row) -> Iterator[Row]:
    """Every user message that follows an answer, with all above it."""
    messages = row["conversation"] or []
    roles = [_ROLES.get((m["role"] or "").strip().lower()) for m in messages]
    digest = hashlib.sha256()
    turns = ordinal = 0
    for at, (message, role) in enumerate(zip(messages, roles, strict=True)):
        digest.update(f"{at}\0{role}\0{message['content']}\0".encode())
        turns += role == "user"
        if role != "user" or at < 1 or roles[at - 1] != "assistant":
            continue
        ordinal += 1
        if at < 2 or roles[at - 2] != "user":
            continue
        texts = [messages[at - 2]["content"], messages[at - 1]["content"], message["content"]]
        if any(not (text or "").strip() for text in texts):
            continue
        yield {
            "key": digest.hexdigest(),
            "record_id": hashlib.sha256(f"{row['conversation_hash']}\0{ordinal}".encode()).hexdigest()[:32],
            "instance_id": f"{row['conversation_hash']}_turn{turns - 2}",
            "conversation_id": row["conversation_hash"],
            "turn_index": turns - 2,
            "n_turns": roles.count("user"),
            "user": row["hashed_ip"],
            "model": row["model"],
            "language": language.code(row["language"]),
            "timestamp": messages[at - 1]["timestamp"] or row["timestamp"],
            "history": [{"role": r, "content": m["content"]} for r, m in zip(roles[: at - 2], messages, strict=False)],
            "history_turns": turns - 2,
            "query": texts[0],
            "response": texts[1],
            "feedback": texts[2],
            "flags": {
                "toxic": any(m["toxic"] for m in messages[: at + 1]),
                "redacted": any(m["redacted"] for m in messages[: at + 1]),
                "moderation_flagged": any(m["flagged"] for m in (row["openai_moderation"] or [])[: at + 1]),
            },
        }


def first(element: tuple[str, Iterable[Row]]) -> Row:
    """One of equal exchanges."""
    return min(element[1], key=lambda item: str(item["record_id"]))


def detect(text: str) -> str | None:
    """``transforms.text.language.detect`` for one text."""
    text = compiled(language._NO_EVIDENCE).sub(" ", text[: language.MAX_CHARACTERS].lower())
    script, units = None, 0
    if compiled(language._NOT_LATIN).search(text):
        counts = {name: len(compiled(p).findall(text)) for name, p in language._SCRIPTS.items()}
        kana, han = counts.pop("kana"), counts.pop("han")
        counts["ja" if kana and kana * language._JAPANESE_KANA >= han else "zh"] = han + kana
        script, units = max(counts.items(), key=lambda item: item[1])
    words = compiled(r"\p{Latin}{2,}").findall(text)
    points: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    for word in words:
        for name, worth in _words().get(word, ()):
            points[name] += worth
            hits[name] += 1
    if compiled(language._NOT_ASCII).search(text):
        for name, letters in language._LETTERS.items():
            points[name] += len(compiled(letters).findall(text))
    best = sorted(points.items(), key=lambda item: (-item[1], item[0]))[:2]
    second = best[1][1] if len(best) > 1 else 0
    latin = None
    if best and best[0][1] >= max(language._MIN_SCORE, second + language._MIN_LEAD):
        latin = best[0][0] if hits[best[0][0]] >= language._MIN_SHARE * len(words) else None
    if script and units and (latin is None or units >= len(words)):
        return {"cyrillic": "ru", "arabic": "ar"}.get(script, script)
    return latin


@cache
def _words() -> dict[str, list[tuple[str, int]]]:
    table: dict[str, list[tuple[str, int]]] = {}
    for word, name, points in language._WORD_TABLE.rows():
        table.setdefault(word, []).append((name, points))
    return table


def speaks(item: Row) -> Iterator[Row]:
    """English and Chinese only."""
    stated = item["language"] or detect(item["query"]) or detect(item["response"])
    spoken = detect(item["feedback"]) or stated
    if stated in ("en", "zh") and spoken in ("en", "zh"):
        yield {**item, "language": stated, "feedback_language": spoken}


@cache
def ruleset(name: str) -> RuleSet:
    """A rule file, loaded once a process."""
    return rules.load(Path(f"configs/feedback/{name}.yaml"))


def classify(text: str, name: str) -> tuple[Any, str | None, str | None]:
    """``transforms.models.rules.classify`` for one text: label, rule, what it matched."""
    found = ruleset(name)
    text = text.strip()
    views: dict[str, str] = {}
    for rule in found.rules:
        scope = rules._view(rule)
        if scope not in views:
            views[scope] = _view(text, scope, found)
        if match := _hit(rule, views[scope], len(text)):
            return rule.label, rule.id, match[0][: rules.MATCHED_CHARS]
    return found.default, None, None


def _view(text: str, scope: str, found: RuleSet) -> str:
    part = {
        "head": text[: rules.HEAD_CHARS],
        "tail": text[-rules.TAIL_CHARS :],
        "whole": text[: rules._whole_chars(found)],
    }
    plain = _SPACES.sub(" ", part[scope].lower().translate(_FOLDED)).strip()
    return (
        plain if found.skip is None or scope == "tail" else str(compiled(f"^(?:{found.skip})").sub("", plain, count=1))
    )


def _hit(rule: Rule, view: str, chars: int) -> regex.Match[str] | None:
    if not (rule.min_chars or 0) <= chars <= (rule.max_chars or chars):
        return None
    if (cue := getattr(rule, "cue", None)) and not compiled(cue).search(view):
        return None
    match = compiled(rule.pattern).search(view)
    return match if match and not (rule.unless and compiled(rule.unless).search(view)) else None


def judge(item: Row) -> Row:
    """The level of the feedback."""
    level, rule, matched = classify(item["feedback"], "judge")
    found = ruleset("judge")
    verdict = {
        "engine": "rules",
        "model": f"{found.name}-{found.version}",
        "prompt_sha256": found.sha256,
        "level": level,
        "rule": rule,
        "reason": matched,
        "raw": None,
        "parse_status": "ok",
    }
    mining = {"applied": False, "source_turn": None, "similarity": None, "encoder": None}
    return {**item, "level": level, "judge": verdict, "mining": mining}


def validate_refusal(item: Row) -> Row:
    """Turn negative feedback on a justified refusal around."""
    refused = len(item["response"]) < REFUSAL and classify(item["response"], "refusal")[0] == "refusal"
    candidate = refused and item["level"] <= 2
    harmful = candidate and classify(item["query"], "harmful_query")[0] != ruleset("harmful_query").default
    verdict = ("correct_refusal" if harmful else "false_refusal") if candidate else None
    refusal = {"candidate": candidate, "verdict": verdict, "rule": None, "raw": None}
    return {**item, "level": 5 if harmful else item["level"], "refusal": refusal}


def is_fit(item: Row) -> Iterator[Row]:
    """The filters, in order; the first that fails ends it."""
    item["query_length"], item["response_length"] = length(item["query"]), length(item["response"])
    texts = [item["query"], item["response"], item["feedback"], *(m["content"] or "" for m in item["history"])]
    if (
        item["history_turns"] <= MAX_HISTORY
        and item["query_length"] >= MIN_QUERY
        and item["response_length"] >= MIN_RESPONSE
        and classify(item["query"], "external_context")[0] == ruleset("external_context").default
        and not any(contains_url(text) for text in texts)
        and not any(is_personal(text) for text in texts)
    ):
        yield item


def length(text: str) -> int:
    """Words, or Chinese characters where they are more."""
    return max(len(text.split()), len(compiled(r"\p{Han}").findall(text)))


def contains_url(text: str) -> bool:
    """``personal_data.contains_url`` for one text."""
    if compiled(personal_data._EXPLICIT_URL).search(text):
        return True
    loose = compiled(personal_data._LOOSE_DOMAIN).search(text)
    return bool(
        loose and compiled(personal_data._BARE_DOMAIN).search(compiled(personal_data._NO_DOMAIN).sub(" ", text))
    )


def is_personal(text: str) -> bool:
    """``personal_data.kinds`` for one text."""
    return bool(compiled("[0-9@]").search(text) and personal_data._scan(text, personal_data.DETECTORS)[1])


def label(item: Row) -> Row:
    """Label, subset by user, and the columns of the published schema."""
    draw = int(hashlib.sha256(f"0:{item['user']}".encode()).hexdigest()[:16], 16) / 2**64
    added: Row = {
        "label": LABELS[item["level"]],
        "subset": "test" if draw < TEST else "train",
        "user_id": hashlib.sha256(str(item["user"]).encode()).hexdigest()[:32],
        "source_uri": "",
        "source_row": 0,
        "journal_keys": [],
    }
    row = {**item, **added}
    return {name: row[name] for name in KEPT.names}


def build(pipeline: beam.Pipeline, sources: Path, target: Path) -> None:
    """The pipeline."""
    (
        pipeline
        | "read" >> beam.io.ReadFromParquet(f"{sources}/*.parquet", columns=list(COLUMNS))
        | "spread" >> beam.Reshuffle()
        | "extract turns" >> beam.FlatMap(instances)
        | "key" >> beam.WithKeys(lambda item: item["key"])
        | "group" >> beam.GroupByKey()
        | "drop duplicates" >> beam.Map(first)
        | "require language" >> beam.FlatMap(speaks)
        | "judge" >> beam.Map(judge)
        | "validate refusals" >> beam.Map(validate_refusal)
        | "drop neutral" >> beam.Filter(lambda item: item["level"] != 3)
        | "filter" >> beam.FlatMap(is_fit)
        | "label" >> beam.Map(label)
        | "write" >> beam.io.WriteToParquet(f"{target}/kept", KEPT, file_name_suffix=".parquet", codec="zstd")
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, help="a folder of Parquet files in WildChat's schema")
    parser.add_argument("target", type=Path, help="a folder to write to")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    given.target.mkdir(parents=True, exist_ok=True)
    options = [f"--direct_num_workers={given.workers}", "--direct_running_mode=multi_processing"]
    began = time.perf_counter()
    pipeline = beam.Pipeline(FnApiRunner(), PipelineOptions(options if given.workers > 1 else []))
    build(pipeline, given.sources, given.target)
    pipeline.run().wait_until_finish()
    print(json.dumps({"seconds": round(time.perf_counter() - began, 3)}))


if __name__ == "__main__":
    importlib.import_module("benchmarks.row_beam").main()  # by the name under which worker processes can import it

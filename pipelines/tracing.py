"""The story of one row: where it came from, and what each stage decided of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pipelines import presentations
from schemas.feedback import LEVELS
from schemas.presentation import Presentation, chosen
from transforms.io.snapshots import SnapshotError
from transforms.io.tracing import origin, strings
from transforms.models.journal import Journal


def story(
    kind: str, row: dict[str, Any], manifest: dict[str, Any], where: dict[str, str], journal: Path
) -> dict[str, Any]:
    """Source row, stages, model answers and outcome of a published row.

    ``source.found`` says whether the source still holds the row's own texts, those that no stage changed;
    ``source.error`` why it could not be read.

    Raises:
        SnapshotError: this version does not know the pipeline that made the row.
    """
    presentation = presentations.of(manifest)
    listed: dict[str, Any] = next((s for s in manifest["sources"] if s["uri"] == row["source_uri"]), {})
    source: dict[str, Any] = {"uri": row["source_uri"], "row": row["source_row"], "sha256": listed.get("sha256")}
    try:
        read = origin(where[row["source_uri"]], row["source_row"], listed["container"])
        source |= {"line": read.line, "content": read.content, "redacted": _redacted(row)}
        held = strings(read.content)
        copied = presentation.texts if not source["redacted"] and _has_fields(listed["container"]) else ()
        source["found"] = {name: row[name] in held for name in copied if row.get(name) is not None}
    except (SnapshotError, KeyError) as error:
        source["error"] = str(error)
    return {
        "record_id": row["record_id"],
        "outcome": _outcome(kind, row, presentation),
        "source": source,
        "stages": _stages(kind, row, manifest, presentation),
        "answers": _answers(row, journal),
        "texts": list(presentation.texts),
        "row": row,
    }


def _redacted(row: dict[str, Any]) -> bool:
    """Whether personal data was replaced in the row's text, as its counts per kind tell."""
    found = row.get("personal_data")
    return any(found.values()) if isinstance(found, Mapping) else bool(found)


def _has_fields(container: str) -> bool:
    """Whether texts stand in the source as they are; out of pages they are extracted."""
    return container.startswith(("parquet", "jsonl"))


def _answers(row: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The journal's entries that decided the row, in the order they did."""
    keys = row.get("journal_keys") or []
    if not keys:
        return []
    with Journal(folder) as journal:
        found = journal.find(keys)
    return [{"key": key, **found[key]._asdict()} if key in found else {"key": key} for key in keys]


def _outcome(kind: str, row: dict[str, Any], presentation: Presentation) -> str:
    if kind == "data":
        told = [
            f"in {row['subset']}" if row.get("subset") else "",
            f"with label {row['label']}" if "label" in row else "",
        ]
        return " ".join(["kept", *filter(None, told)])
    meaning = presentation.meanings.get(row["reason"], "")
    return f"rejected by {row['stage']}: {row['reason']}" + (f" ({meaning})" if meaning else "")


def _stages(
    kind: str, row: dict[str, Any], manifest: dict[str, Any], presentation: Presentation
) -> list[dict[str, str]]:
    """One line a stage, as far as the row came."""
    told = _DECISIONS.get(presentation.pipeline, {})
    names = [stage["name"] for stage in manifest["plan"]["stages"]]
    if kind == "rejected" and row["stage"] in names:
        names = names[: names.index(row["stage"]) + 1]
    lines = []
    for name in names:
        last = kind == "rejected" and name == row["stage"]
        decided = told[name](row) if name in told else _evidence(row, presentation.evidence.get(name, ()))
        text = decided if row.get("unit") != "row" else ""
        detail = f"rejected: {row['reason']}" + (f" ({row['detail']})" if row.get("detail") else "") if last else ""
        lines.append({"stage": name, "decision": "; ".join(part for part in (text, detail) if part) or "passed"})
    return lines


def _evidence(row: dict[str, Any], patterns: tuple[str, ...]) -> str:
    """The columns that tell what a stage decided, those that hold something."""
    values = {name: row.get(name) for name in chosen(row, patterns)}
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items() if value not in (None, [], {}))


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and [type(inner) for inner in value.values()] == [str, int]:
        return ":".join(_short(inner) for inner in value.values())
    if isinstance(value, Mapping):
        return "+".join(f"{name}:{_short(inner)}" for name, inner in value.items() if inner) or "none"
    if isinstance(value, list):
        return "+".join(_short(inner) for inner in value)
    return f"{value:.4g}" if isinstance(value, float) else _clipped(str(value), 80)


def _judge(judge: dict[str, Any] | None) -> str:
    if not judge:
        return "not judged"
    level, who = judge["level"], f"{judge['engine']} {judge['model']}"
    if level is None:
        return f"{who}: {judge['parse_status']}"
    by_rule = f"rule {judge['rule']} on {judge['reason']!r}" if judge["rule"] else "no rule matched"
    return f"{who}: level {level} ({LEVELS[level]}), {by_rule if judge['engine'] == 'rules' else judge['reason']}"


def _mining(mining: dict[str, Any] | None) -> str:
    if not mining or mining["similarity"] is None:
        return "no positive message on the next turns"
    said = f"similarity {mining['similarity']:.4f} by {mining['encoder']}"
    return f"mined from turn {mining['source_turn']}, {said}" if mining["applied"] else f"too far off: {said}"


def _refusal(refusal: dict[str, Any] | None) -> str:
    if not refusal or not refusal["candidate"]:
        return "no refusal to judge"
    return f"{refusal['verdict'] or 'no valid verdict'} by {refusal['rule']}" + (
        " and a model" if refusal["raw"] else ""
    )


_DECISIONS: Final[Mapping[str, Mapping[str, Callable[[dict[str, Any]], str]]]] = {
    "feedback": {
        "extract turns": lambda row: f"{row['instance_id']}: turn {row['turn_index']} of {row['n_turns']}",
        "drop duplicates": lambda row: (
            f"duplicate of {row['duplicate_of']}" if row.get("duplicate_of") else "first of its kind"
        ),
        "require language": lambda row: f"conversation {row['language']}, feedback {row['feedback_language']}",
        "judge": lambda row: _judge(row["judge"]),
        "mine implicit feedback": lambda row: _mining(row["mining"]),
        "validate refusals": lambda row: _refusal(row["refusal"]),
        "drop neutral": lambda row: f"level {row['level']}",
        "filter": lambda row: ", ".join(row.get("failed") or []) or "passed every rule",
        "label": lambda row: f"level {row['level']} is label {row['label']}; subset {row['subset']}",
    }
}
"""What a stage decided of a row, where its columns must be put into words; elsewhere ``Presentation.evidence`` names them."""


def show(story: dict[str, Any]) -> None:
    """Print a story for people."""
    source = story["source"]
    print(f"record   {story['record_id']}\noutcome  {story['outcome']}\n")
    for line in story["stages"]:
        print(f"  {line['stage']:<24} {line['decision']}")
    for answer in story["answers"]:
        said = (
            f"{answer['failure'] or answer['finish_reason']}, {answer['latency']:.2f} s" if "text" in answer else "gone"
        )
        print(f"\nanswer   {answer['key']} ({said})")
        for part in ("reasoning", "text", "detail"):
            if answer.get(part):
                print(f"  {_clipped(answer[part])}")
    for name in story["texts"]:
        if story["row"].get(name):
            print(f"\n{name}\n  {_clipped(story['row'][name])}")
    place = f"line {source['line']}, byte {source['row']}" if source.get("line") else f"row {source['row']}"
    print(f"\nsource   {source['uri']}, {place}\nsha256   {source['sha256']}")
    if "error" in source:
        print(f"source cannot be shown: {source['error']}")
        return
    if source["redacted"]:
        print("check    personal data was replaced in the text")
    missing = [name for name, held in source["found"].items() if not held]
    if source["found"]:
        print(
            "check    "
            + (
                f"the source row no longer holds: {', '.join(missing)}"
                if missing
                else "the source row holds these texts"
            )
        )
    print(f"raw      {_clipped(json.dumps(source['content'], ensure_ascii=False, default=str))}")


def _clipped(text: str, length: int = 600) -> str:
    plain = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text).replace(
        "\n", "\n  "
    )
    return plain if len(plain) <= length else f"{plain[:length]} [... {len(plain) - length:,} more characters]"

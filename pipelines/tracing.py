"""The story of one row: where it came from, and what each stage decided of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.feedback import INSTANCE_OUTCOMES, LEVELS, ROW_OUTCOMES
from transforms.io.snapshots import SnapshotError
from transforms.io.tracing import origin, strings
from transforms.models.journal import Journal

_TEXTS = ("query", "response", "feedback")


def story(
    kind: str, row: dict[str, Any], manifest: dict[str, Any], where: dict[str, str], journal: Path
) -> dict[str, Any]:
    """Source row, stages, model answers and outcome of a published row.

    ``source.found`` says whether the source still holds the row's own texts; ``source.error`` why it could
    not be read.
    """
    listed: dict[str, Any] = next((s for s in manifest["sources"] if s["uri"] == row["source_uri"]), {})
    source: dict[str, Any] = {"uri": row["source_uri"], "row": row["source_row"], "sha256": listed.get("sha256")}
    try:
        read = origin(where[row["source_uri"]], row["source_row"], listed["container"])
        held = strings(read.content)
        texts = {name: row[name] for name in _TEXTS if row.get(name) is not None}
        source |= {"line": read.line, "content": read.content, "found": {n: t in held for n, t in texts.items()}}
    except (SnapshotError, KeyError) as error:
        source["error"] = str(error)
    return {
        "record_id": row["record_id"],
        "outcome": _outcome(kind, row),
        "source": source,
        "stages": _stages(kind, row, manifest),
        "answers": _answers(row, journal),
        "row": row,
    }


def _answers(row: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The journal's entries that decided the row, in the order they did."""
    keys = row["journal_keys"] or []
    if not keys:
        return []
    with Journal(folder) as journal:
        found = journal.find(keys)
    return [{"key": key, **found[key]._asdict()} if key in found else {"key": key} for key in keys]


def _outcome(kind: str, row: dict[str, Any]) -> str:
    if kind == "data":
        return f"kept in {row['subset']} with label {row['label']}"
    meaning = {**ROW_OUTCOMES, **INSTANCE_OUTCOMES}.get(row["reason"], "")
    return f"rejected by {row['stage']}: {row['reason']}" + (f" ({meaning})" if meaning else "")


def _stages(kind: str, row: dict[str, Any], manifest: dict[str, Any]) -> list[dict[str, str]]:
    """One line a stage, as far as the row came."""
    told = {
        "extract turns": lambda: f"{row['instance_id']}: turn {row['turn_index']} of {row['n_turns']}",
        "drop duplicates": lambda: (
            f"duplicate of {row['duplicate_of']}" if row.get("duplicate_of") else "first of its kind"
        ),
        "require language": lambda: f"conversation {row['language']}, feedback {row['feedback_language']}",
        "judge": lambda: _judge(row["judge"]),
        "mine implicit feedback": lambda: _mining(row["mining"]),
        "validate refusals": lambda: _refusal(row["refusal"]),
        "drop neutral": lambda: f"level {row['level']}",
        "filter": lambda: ", ".join(row.get("failed") or []) or "passed every rule",
        "label": lambda: f"level {row['level']} is label {row['label']}; subset {row['subset']}",
    }
    names = [stage["name"] for stage in manifest["plan"]["stages"]]
    if kind == "rejected":
        names = names[: names.index(row["stage"]) + 1]
    lines = []
    for name in names:
        last = kind == "rejected" and name == row["stage"]
        text = told[name]() if name in told and row.get("unit") != "row" else ""
        detail = f"rejected: {row['reason']}" + (f" ({row['detail']})" if row.get("detail") else "") if last else ""
        lines.append({"stage": name, "decision": "; ".join(part for part in (text, detail) if part) or "passed"})
    return lines


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
    for name in _TEXTS:
        if story["row"].get(name):
            print(f"\n{name}\n  {_clipped(story['row'][name])}")
    place = f"line {source['line']}, byte {source['row']}" if source.get("line") else f"row {source['row']}"
    print(f"\nsource   {source['uri']}, {place}\nsha256   {source['sha256']}")
    if "error" in source:
        print(f"source cannot be shown: {source['error']}")
        return
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

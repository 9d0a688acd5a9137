"""The report of a snapshot: one HTML file that needs nothing but itself.

A report shows what went in, what came out, why the rest did not, and enough samples to judge the rules by.
Everything it prints comes from logs and crawls, so nothing is trusted: Jinja escapes every value, a content
security policy allows one stylesheet and one script, by hash, and control characters are spelled out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import polars as pl
from jinja2 import ChainableUndefined, Environment, FunctionLoader
from markupsafe import Markup

from schemas.presentation import Presentation, Scale, Tally, chosen
from transforms.io import files, tallies

_TEMPLATES: Final = "configs.templates"

_CLIP: Final = 2_000
"""Characters of a text that a sample carries."""

_FOLD: Final = 600
"""Characters of a text that are shown before it must be unfolded."""

_MAX_LISTED: Final = 200
"""Sources and shards listed at most; the manifest has them all."""

_MAX_VALUES: Final = 20
"""Values of a distribution shown at most; the rest is summed up."""

_MAX_FACT: Final = 300
"""Characters of a fact that a sample shows."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows to show: kept ones by the value that groups them (None where nothing does), rejected ones per reason.

    A row maps a column to its value; a struct's fields are columns of their own, named ``judge.rule``. Texts
    are clipped, and ``query.length`` (in characters) tells what a text was before.
    """

    kept: dict[Any, list[dict[str, Any]]] = field(default_factory=dict)
    rejected: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def samples(
    data_files: Sequence[Path],
    rejected_files: Sequence[Path],
    presentation: Presentation,
    per_group: int = 5,
) -> Samples:
    """Pick the first ``per_group`` rows by ``record_id`` of every group of kept rows and every rejection reason.

    ``record_id`` is a hash, so the pick is as good as random, and the same in every run.
    """
    shown = presentation.samples
    return Samples(
        kept=_pick(data_files, shown.group, shown.kept, shown.texts, per_group),
        rejected=_pick(rejected_files, "reason", shown.rejected, shown.texts, per_group),
    )


def render(manifest: Mapping[str, Any], run: Mapping[str, Any], samples: Samples, presentation: Presentation) -> str:
    """Render the report of one snapshot as a self-contained HTML document."""
    css, script = _asset("report.css"), _asset("report.js")
    policy = f"default-src 'none'; style-src '{_hash(css)}'; script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    template = templates().get_template(presentation.report_template)
    view = _view(manifest, run, samples, presentation)
    return template.render(css=Markup(css), script=Markup(script), policy=policy, presentation=presentation, **view)


# -- samples -----------------------------------------------------------------------------------------------


def _pick(
    paths: Sequence[Path], group: str | None, columns: Sequence[str], texts: Sequence[str], per_group: int
) -> dict[Any, list[dict[str, Any]]]:
    """Find the rows by their keys alone, one file at a time, then read the text of only those."""
    key = pl.lit(None, pl.String) if group is None else pl.col(group)
    best = pl.DataFrame()
    for number, path in enumerate(paths):
        keys = (
            files.scan_parquet([path])
            .select("record_id", group=key)
            .group_by("group")
            .agg(pl.col("record_id").sort().head(per_group))
            .explode("record_id", empty_as_null=False)
            .with_columns(file=pl.lit(number, pl.UInt32))
            .collect(engine="streaming")
        )
        best = (
            pl.concat([best, keys], how="diagonal")
            .sort("record_id", "file")
            .group_by("group", maintain_order=True)
            .head(per_group)
        )
    if best.is_empty():
        return {}
    rows: list[dict[str, Any]] = []
    for (number,), picked in best.group_by("file", maintain_order=True):
        scan = files.scan_parquet([paths[number]])
        wanted = scan.filter(pl.col("record_id").is_in(picked["record_id"].to_list()))
        rows += wanted.select(_clipped(scan.collect_schema(), columns, texts)).collect(engine="streaming").to_dicts()
    rows.sort(key=lambda row: str(row["record_id"]))
    groups: dict[Any, list[dict[str, Any]]] = {key: [] for key in best["group"].unique().sort().to_list()}
    for row in rows:
        value = row[group] if group else None
        if value in groups and len(groups[value]) < per_group:
            groups[value].append(row)
    return groups


def _clipped(schema: pl.Schema, columns: Sequence[str], texts: Sequence[str]) -> Iterator[pl.Expr]:
    """Read the columns that the file has, texts up to ``_CLIP`` characters."""
    for name in dict.fromkeys(chosen(schema.names(), columns)):
        top, _, inner = name.partition(".")
        dtype: Any = schema.get(top)
        expr = pl.col(top)
        if inner:
            dtype = dict(dtype).get(inner) if isinstance(dtype, pl.Struct) else None
            expr = expr.struct.field(inner)
        if dtype is None:
            yield pl.lit(None).alias(name)
        elif dtype == pl.String:
            yield expr.str.head(_CLIP).alias(name)
            if name in texts:
                yield expr.str.len_chars().alias(f"{name}.length")
        else:
            yield expr.alias(name)


# -- the view ----------------------------------------------------------------------------------------------


def _view(
    manifest: Mapping[str, Any], run: Mapping[str, Any], samples: Samples, presentation: Presentation
) -> dict[str, Any]:
    """Everything the template shows, computed; the template only lays out."""
    counts = _mapping(manifest, "counts")
    plan = _mapping(manifest, "plan")
    dataset = _mapping(manifest, "dataset")
    sources = _list(manifest, "sources")
    shards = _list(manifest, "shards")
    read, used = _count(counts, "rows_read"), _count(counts, "rows_used")
    instances, kept = _count(counts, "instances"), _count(counts, "kept")
    rows_rejected, instances_rejected = _mapping(counts, "rows_rejected"), _mapping(counts, "instances_rejected")
    named, scale = presentation.instances.capitalize(), presentation.scale
    ledgers = [
        _ledger("Source rows", "read", read, "used", used, rows_rejected, presentation.row_outcomes),
        _ledger(named, "found", instances, "kept", kept, instances_rejected, presentation.instance_outcomes),
    ]
    subsets = _subsets(_mapping(counts, "labels"), shards, scale)
    return {
        "title": dataset.get("title") or dataset.get("name") or "Untitled dataset",
        "dataset": dataset,
        "pipeline": manifest.get("pipeline") or "",
        "plan": plan,
        "run": run,
        "alerts": [
            *_alerts(ledgers, sources, shards, kept, run, presentation),
            *_warned(warnings(manifest, run)),
        ],
        "figures": _figures(counts, run, subsets, presentation),
        "funnels": _funnels(_list(counts, "stages") or _implied_stages(counts), presentation),
        "ledgers": ledgers,
        "distributions": distributions(counts, presentation),
        "levels": _levels(_mapping(counts, "levels"), scale) if scale else [],
        "judged": sum(_numbers(_mapping(counts, "levels")).values()),
        "subsets": subsets,
        "labels": _labels(subsets, scale) if scale else [],
        "kept_groups": _labelled_groups(samples, subsets, scale)
        if scale
        else _kept_groups(samples, kept, presentation),
        "has_samples": bool(samples.kept or samples.rejected),
        "rejected_groups": _rejected_groups(samples, counts, presentation),
        "sources": sorted(sources, key=lambda s: not s.get("error"))[:_MAX_LISTED],
        "sources_total": {
            "files": len(sources),
            "size": sum(_count(s, "size") for s in sources),
            "rows": sum(_count(s, "rows") for s in sources),
            "failed": sum(bool(s.get("error")) for s in sources),
        },
        "shards": shards[:_MAX_LISTED],
        "shards_total": {
            "files": len(shards),
            "rows": sum(_count(s, "rows") for s in shards),
            "bytes": sum(_count(s, "bytes") for s in shards),
        },
        "settings": list(_flatten(plan.get("settings"))),
        "timings": _timings(_mapping(run, "stage_seconds"), _mapping(run, "stage_bytes")),
        "fold": _FOLD,
        "max_listed": _MAX_LISTED,
    }


def _ledger(
    title: str,
    total_name: str,
    total: int,
    rest_name: str,
    rest: int,
    rejected: Mapping[str, Any],
    meanings: Mapping[str, str],
) -> dict[str, Any]:
    reasons = _numbers(rejected)
    lost = sum(reasons.values())
    return {
        "title": title,
        "total_name": total_name,
        "total": total,
        "rest_name": rest_name,
        "rest": rest,
        "rejected": lost,
        "reasons": [
            {"name": name, "count": n, "share": _share(n, total), "meaning": meanings.get(name, "")}
            for name, n in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        ],
        "difference": total - rest - lost,
    }


def _alerts(
    ledgers: Sequence[Mapping[str, Any]],
    sources: Sequence[Mapping[str, Any]],
    shards: Sequence[Mapping[str, Any]],
    kept: int,
    run: Mapping[str, Any],
    presentation: Presentation,
) -> Iterator[dict[str, Any]]:
    """What a reader must know before any number."""
    for ledger in ledgers:
        missing = ledger["difference"]
        if missing:
            one = abs(missing) == 1
            fault = (
                ("has" if one else "have") + " no outcome" if missing > 0 else f"outcome{'' if one else 's'} too many"
            )
            yield {
                "title": f"The ledger of {ledger['title'].lower()} does not close",
                "text": f"{number(abs(missing))} {fault}.",
                "items": [],
            }
    failed = [source for source in sources if source.get("error")]
    if failed:
        shown = failed[:10]
        more = len(failed) - len(shown)
        yield {
            "title": f"{number(len(failed))} of {number(len(sources))} source files could not be read",
            "text": f"The first {len(shown)}; the table of sources has more." if more else "",
            "items": [{"name": s.get("uri") or "?", "text": s["error"]} for s in shown],
        }
    splits_failed = _count(_mapping(run, "splits"), "failed")
    if splits_failed:
        yield {
            "title": f"{number(splits_failed)} {'split' if splits_failed == 1 else 'splits'} failed",
            "text": "Their rows are in no count below. Run the same command again to resume.",
            "items": [],
        }
    stored = sum(_count(s, "rows") for s in shards if s.get("kind") == "data")
    if shards and stored != kept:
        yield {
            "title": "Shards and counts disagree",
            "text": f"{number(kept)} {presentation.instances} were kept, the data shards hold {number(stored)}.",
            "items": [],
        }


def warnings(manifest: Mapping[str, Any], run: Mapping[str, Any]) -> list[str]:
    """What a run or its manifest warns of: sentences under ``warnings``."""
    found = [holder.get("warnings") for holder in (manifest, run)]
    return [str(text) for texts in found if isinstance(texts, list | tuple) for text in texts]


def _warned(texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    for text in texts[:_MAX_VALUES]:
        yield {"title": "Warning", "text": text, "items": []}
    if (more := len(texts) - _MAX_VALUES) > 0:
        yield {
            "title": f"{number(more)} more warnings",
            "text": "The manifest and run.json have them all.",
            "items": [],
        }


def _figures(
    counts: Mapping[str, Any],
    run: Mapping[str, Any],
    subsets: Sequence[Mapping[str, Any]],
    presentation: Presentation,
) -> list[dict[str, str]]:
    read, used = _count(counts, "rows_read"), _count(counts, "rows_used")
    instances, kept = _count(counts, "instances"), _count(counts, "kept")
    called = presentation.instances
    figures = [
        {"name": "Source rows", "value": number(read), "note": f"{percent(_share(used, read))} {presentation.used}"},
        {"name": called.capitalize(), "value": number(instances), "note": f"{_ratio(instances, used)} per row used"},
        {"name": "Kept", "value": number(kept), "note": f"{percent(_share(kept, instances))} of {called}"},
    ]
    if presentation.scale and (labelled := sum(s["total"] for s in subsets)):
        labels = sorted(presentation.scale.labels.values())
        upper = labels[len(labels) // 2 :]
        positive = sum(part["count"] for s in subsets for part in s["parts"] if part["label"] in upper)
        note = f"labels {' and '.join(map(str, upper))}"
        figures.append({"name": "Positive", "value": percent(positive / labelled), "note": note})
    if run.get("seconds") is not None:
        speed = run.get("rows_per_second")
        note = f"{number(speed)} rows/s" if speed else ""
        figures.append({"name": "Run time", "value": duration(run["seconds"]), "note": note})
    return figures


def _funnels(stages: Sequence[Mapping[str, Any]], presentation: Presentation) -> list[dict[str, Any]]:
    """Consecutive stages that count the same thing share one funnel and one scale."""
    funnels: list[dict[str, Any]] = []
    for stage in stages:
        unit = str(stage.get("unit") or "instance")
        if not funnels or funnels[-1]["unit"] != unit:
            funnels.append({"unit": unit, "stages": []})
        funnels[-1]["stages"].append(stage)
    for funnel in funnels:
        meanings = presentation.row_outcomes if funnel["unit"] == "row" else presentation.instance_outcomes
        scale = max((max(_count(s, "in"), _count(s, "out")) for s in funnel["stages"]), default=0)
        funnel["title"] = "Source rows" if funnel["unit"] == "row" else presentation.instances.capitalize()
        funnel["stages"] = [_funnel_stage(stage, scale, meanings) for stage in funnel["stages"]]
    return funnels


def _funnel_stage(stage: Mapping[str, Any], scale: int, meanings: Mapping[str, str]) -> dict[str, Any]:
    entering, leaving = _count(stage, "in"), _count(stage, "out")
    reasons = _numbers(_mapping(stage, "rejected"))
    top, bottom = 100 * _share(entering, scale), 100 * _share(leaving, scale)
    left, right = 50 - top / 2, 50 + top / 2
    return {
        "name": stage.get("stage") or "?",
        "in": entering,
        "out": leaving,
        "rejected": sum(reasons.values()),
        "share": _share(leaving, entering),
        "outer": f"{left:.2f} 0 {right:.2f} 0 {right:.2f} 100 {left:.2f} 100",
        "inner": f"{left:.2f} 0 {right:.2f} 0 {50 + bottom / 2:.2f} 100 {50 - bottom / 2:.2f} 100",
        "reasons": [
            {"name": name, "count": n, "share": _share(n, entering), "meaning": meanings.get(name, "")}
            for name, n in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        ],
    }


def _implied_stages(counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Two stages from the ledgers, for a manifest that does not count per stage."""
    return [
        {
            "stage": "rows",
            "unit": "row",
            "in": _count(counts, "rows_read"),
            "out": _count(counts, "rows_used"),
            "rejected": _mapping(counts, "rows_rejected"),
        },
        {
            "stage": "instances",
            "unit": "instance",
            "in": _count(counts, "instances"),
            "out": _count(counts, "kept"),
            "rejected": _mapping(counts, "instances_rejected"),
        },
    ]


def distributions(counts: Mapping[str, Any], presentation: Presentation) -> list[dict[str, Any]]:
    """The tallies of a manifest that hold something: titles, and rows with counts, shares and bars."""
    found = tallies.told(counts, presentation)
    return [
        _distribution(name, values, presentation.tallies[name])
        for name, values in found.items()
        if any(values.values())
    ]


def _distribution(name: str, counted: Mapping[str, int], tally: Tally) -> dict[str, Any]:
    total, most = sum(counted.values()), max(counted.values())
    bins = tally.bins
    ordered = _binned(counted, bins) if bins else sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    shown = ordered if bins else ordered[:_MAX_VALUES]
    rest = [n for _, n in ordered[len(shown) :]]
    return {
        "name": name,
        "title": tally.title or _words(name),
        "total": total,
        "histogram": bool(bins),
        "rows": [
            {"name": value, "count": n, "share": _share(n, total), "width": 100 * _share(n, most)} for value, n in shown
        ],
        "rest": len(rest),
        "rest_count": sum(rest),
        "rest_share": _share(sum(rest), total),
    }


def _binned(counted: Mapping[str, int], bins: Sequence[float]) -> list[tuple[str, int]]:
    """The bins of a histogram from the first to the last that holds something; then what stands under no bound."""
    bounds = [-math.inf, *bins]
    labels = [f"below {bins[0]:,.12g}", *(f"{low:,.12g} to {high:,.12g}" for low, high in pairwise(bins))]
    labels.append(f"{bins[-1]:,.12g} and more")
    keys = [f"{bound:.12g}" for bound in bounds]
    held = [at for at, key in enumerate(keys) if counted.get(key)]
    span = range(held[0], held[-1] + 1) if held else range(0)
    others = sorted((key, n) for key, n in counted.items() if key not in keys)
    return [*((labels[at], counted.get(keys[at], 0)) for at in span), *others]


def _words(name: str) -> str:
    """A column's name as words: language_probability -> Language probability."""
    words = name.replace("_", " ").replace(".", " ").strip()
    return "URL" if words == "url" else words[:1].upper() + words[1:]


def _levels(levels: Mapping[str, Any], scale: Scale) -> list[dict[str, Any]]:
    counted = _numbers(levels)
    total = sum(counted.values())
    shares = {level: _share(counted.get(str(level), 0), total) for level in scale.levels}
    widest = max(*shares.values(), *scale.paper_shares.values())
    return [
        {
            "level": level,
            "name": name,
            "label": scale.labels.get(level),
            "count": counted.get(str(level), 0),
            "share": shares[level],
            "width": 100 * shares[level] / widest,
            "paper": scale.paper_shares[level],
            "paper_width": 100 * scale.paper_shares[level] / widest,
            "difference": 100 * (shares[level] - scale.paper_shares[level]),
        }
        for level, name in scale.levels.items()
    ]


def _label_names(scale: Scale | None) -> dict[int, str]:
    """Names of the published labels."""
    return {label: scale.levels[level] for level, label in scale.labels.items()} if scale else {}


def _subsets(
    labels: Mapping[str, Any], shards: Sequence[Mapping[str, Any]], scale: Scale | None
) -> list[dict[str, Any]]:
    """Rows, shards and bytes of every subset; where rows are labelled, their labels."""
    names = dict.fromkeys([*labels, *(str(s["subset"]) for s in shards if s.get("subset"))])
    order = {"train": 0, "validation": 1, "test": 2}
    subsets = []
    for name in sorted(names, key=lambda n: (order.get(n, 3), n)):
        counted = _numbers(_mapping(labels, name))
        total = sum(counted.values())
        x, parts = 0.0, []
        for label in _label_names(scale):
            n = counted.get(str(label), 0)
            width = 100 * _share(n, total)
            parts.append({"label": label, "count": n, "share": _share(n, total), "x": x, "width": width})
            x += width
        own = [s for s in shards if s.get("kind") == "data" and s.get("subset") == name]
        subsets.append(
            {
                "name": name,
                "total": total if scale else sum(_count(s, "rows") for s in own),
                "parts": parts,
                "shards": len(own),
                "bytes": sum(_count(s, "bytes") for s in own),
            }
        )
    return subsets


def _labels(subsets: Sequence[Mapping[str, Any]], scale: Scale) -> list[dict[str, Any]]:
    total = sum(s["total"] for s in subsets)
    rows = []
    for position, (label, name) in enumerate(_label_names(scale).items()):
        count = sum(s["parts"][position]["count"] for s in subsets)
        rows.append({"label": label, "name": name, "count": count, "share": _share(count, total)})
    return rows


def _labelled_groups(samples: Samples, subsets: Sequence[Mapping[str, Any]], scale: Scale) -> list[dict[str, Any]]:
    totals = {row["label"]: row["count"] for row in _labels(subsets, scale)}
    return [
        {"label": label, "name": name, "total": totals.get(label, 0), "rows": samples.kept.get(label, [])}
        for label, name in _label_names(scale).items()
    ]


def _kept_groups(samples: Samples, kept: int, presentation: Presentation) -> list[dict[str, Any]]:
    group = presentation.samples.group
    return [
        {
            "name": presentation.instances if group is None else f"{_words(group)} {_fact(value)}",
            "total": kept if group is None else None,
            "rows": [_sample(row, presentation.samples.kept, presentation) for row in rows],
        }
        for value, rows in samples.kept.items()
    ]


def _sample(row: Mapping[str, Any], columns: Sequence[str], presentation: Presentation) -> dict[str, Any]:
    """A row as the general layout shows it: its texts, and its facts.

    Of families, a kept row shows the scores that are not nought, a rejected row those of the rules that failed.
    """
    texts = [name for name in presentation.samples.texts if row.get(name)]
    failed = row.get("failed") or []
    facts: dict[str, list[str]] = {}
    for name in chosen(row, columns):
        value, family = row.get(name), presentation.family(name)
        if name in (*presentation.samples.texts, *_HEAD) or value in (None, [], "", {}):
            continue
        if name == "failed":
            facts["Failed"] = [", ".join(_scored(rule, row.get(rule)) for rule in failed)]
        elif family is None:
            facts[_words(name)] = [_fact(value)]
        elif value and not failed:
            facts.setdefault(family, []).append(_scored(name, value))
    return {
        **row,
        "texts": [{"name": _words(name), "text": row[name], "length": row.get(f"{name}.length")} for name in texts],
        "facts": [{"name": name, "value": " · ".join(values)} for name, values in facts.items() if any(values)],
    }


def _scored(name: str, value: Any) -> str:
    return f"{name} {_fact(value)}" if isinstance(value, int | float) else name


_HEAD: Final = ("record_id", "unit", "stage", "reason", "subset", "language", "source_uri", "source_row")
"""Columns that every sample shows at its place, in its head or as its source."""


def _fact(value: Any) -> str:
    """A value in a line: numbers short, nulls left out, a text with its count as ``email 2``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return number(value)
    if isinstance(value, Mapping) and [type(inner) for inner in value.values()] == [str, int]:
        return " ".join(_fact(inner) for inner in value.values())
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_fact(inner)}" for name, inner in value.items() if inner is not None)
    if isinstance(value, list | tuple):
        return ", ".join(_fact(inner) for inner in value)
    text = str(value)
    return text if len(text) <= _MAX_FACT else f"{text[:_MAX_FACT]}…"


def _rejected_groups(samples: Samples, counts: Mapping[str, Any], presentation: Presentation) -> list[dict[str, Any]]:
    totals: dict[str, int] = {}
    for key in ("rows_rejected", "instances_rejected"):
        for reason, n in _numbers(_mapping(counts, key)).items():
            totals[reason] = totals.get(reason, 0) + n
    meanings, columns = presentation.meanings, presentation.samples.rejected
    names = {*samples.rejected, *(reason for reason, n in totals.items() if n)}
    return [
        {
            "name": name,
            "total": totals.get(name, 0),
            "meaning": meanings.get(name, ""),
            "rows": [_sample(row, columns, presentation) for row in samples.rejected.get(name, [])],
        }
        for name in sorted(names, key=lambda n: (-totals.get(n, 0), n))
    ]


def _timings(seconds: Mapping[str, Any], passed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Seconds of every stage over all workers, and bytes per second where the run tells the bytes that entered it."""
    values = [(name, float(value or 0)) for name, value in seconds.items()]
    longest = max((value for _, value in values), default=0.0)
    return [
        {
            "name": name,
            "seconds": value,
            "width": 100 * _share(value, longest),
            "speed": _count(passed, name) / value if value and passed.get(name) else None,
        }
        for name, value in values
    ]


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Turn nested settings into dotted names and JSON values."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


# -- values ------------------------------------------------------------------------------------------------


def _mapping(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = holder.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(holder: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = holder.get(key)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def _count(holder: Mapping[str, Any], key: str) -> int:
    return int(holder.get(key) or 0)


def _numbers(counts: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(n or 0) for name, n in counts.items()}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _ratio(part: int, whole: int) -> str:
    return number(part / whole) if whole else "0"


def number(value: float) -> str:
    """12345 -> 12,345; fractions only below 10."""
    return f"{value:,.1f}" if isinstance(value, float) and abs(value) < 10 else f"{round(value):,}"


def percent(share: float) -> str:
    """0.1234 -> 12.3%; what is not nothing never reads 0%, what is not all never 100%."""
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{100 * share:.0f}%" if share in (0, 1) else f"{100 * share:.1f}%"


def size(value: float) -> str:
    """Bytes in decimal units, as file managers and hubs show them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def duration(seconds: float) -> str:
    """12.3 s, 4 min 5 s, 6 h 7 min."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def when(moment: Any) -> str:
    """An ISO time, in UTC, to the second."""
    try:
        parsed = datetime.fromisoformat(str(moment))
    except ValueError:
        return str(moment)
    utc = parsed.astimezone(UTC) if parsed.tzinfo else parsed
    return utc.strftime("%Y-%m-%d %H:%M:%S") + (" UTC" if parsed.tzinfo else "")


def signed(points: float) -> str:
    """A difference in percentage points, with a true minus sign."""
    rounded = round(points, 1)
    if rounded == 0:
        return "0.0"
    return f"{rounded:+.1f}".replace("-", "\u2212")


_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def spelled(text: str) -> str:
    """Spell out what would reorder, hide or break the text around it: controls, bidi overrides, surrogates."""
    return _UNSAFE.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)


def _printed(value: Any) -> Any:
    if value is None:
        return ""
    return spelled(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_FENCE: Final = re.compile(r"^[ \t]{0,3}```.*$", re.MULTILINE)


def _folded(text: str | None, length: int | None = None) -> dict[str, Any]:
    """Split a text where it folds, each side into prose and code; ``hidden`` characters are out of sight.

    ``omitted`` of them are in the dataset only.
    """
    text = text or ""
    cut = len(text)
    if cut > _FOLD * 1.25:
        space = max(text.rfind(" ", 0, _FOLD), text.rfind("\n", 0, _FOLD))
        cut = space if space > _FOLD * 0.75 else _FOLD
    pieces: dict[str, list[dict[str, Any]]] = {"head": [], "rest": []}
    for start, stop, code in _fenced(text):
        for side, low, high in (("head", start, min(stop, cut)), ("rest", max(start, cut), stop)):
            if low < high:
                pieces[side].append({"code": code, "text": text[low:high]})
    omitted = max(0, (length or 0) - len(text))
    return {**pieces, "omitted": omitted, "hidden": len(text) - cut + omitted}


def _fenced(text: str) -> Iterator[tuple[int, int, bool]]:
    """Spans of a text outside and inside code fences; the fences themselves count as code."""
    start, code = 0, False
    for fence in _FENCE.finditer(text):
        if code:
            stop = min(fence.end() + 1, len(text))
            yield start, stop, True
            start = stop
        elif fence.start() > start:
            yield start, fence.start(), False
            start = fence.start()
        code = not code
    if start < len(text):
        yield start, len(text), code


def _language(value: Any) -> str:
    """The value as a ``lang`` attribute, so that Chinese gets Chinese glyphs; empty where it is no code."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", value) else ""


@cache
def templates() -> Environment:
    """The environment of the shipped templates: escaping on, untrusted values spelled out."""
    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=ChainableUndefined,
        finalize=_printed,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        number=number,
        percent=percent,
        size=size,
        duration=duration,
        when=when,
        signed=signed,
        folded=_folded,
        language=_language,
    )
    return environment


def _asset(name: str) -> str:
    return resources.files(_TEMPLATES).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A source expression of a content security policy that allows exactly this inline text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

"""The dataset card and the Croissant metadata of a snapshot.

The card's front matter is what ``datasets.load_dataset`` reads: which files make which subset, and the exact
type of every column. Croissant says the same to search engines and other loaders, with a checksum per file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any, Final

import pyarrow as pa
import yaml
from markupsafe import Markup, escape

from schemas.presentation import Presentation, Scale
from transforms.io.reports import distributions, percent, spelled, templates, warnings

_LICENSE_URLS: Final = {
    "odc-by": "https://opendatacommons.org/licenses/by/1-0/",
    "mit": "https://opensource.org/license/mit",
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
}

_MAX_SOURCES: Final = 200


def render_card(manifest: Mapping[str, Any], run: Mapping[str, Any], presentation: Presentation) -> str:
    """Render README.md: front matter for the hub and its loader, then what a reader must know."""
    counts = manifest.get("counts") or {}
    plan = manifest.get("plan") or {}
    sources = list(manifest.get("sources") or [])
    shards = list(manifest.get("shards") or [])
    environment = templates().overlay()
    environment.filters = {**environment.filters, "md": _markdown, "code": _code, "cell": _cell}
    template = environment.get_template(presentation.card_template)
    return template.render(
        presentation=presentation,
        front_matter=Markup(_front_matter(manifest, shards, presentation)),
        title=_title(manifest),
        summary=Markup(presentation.summary),
        dataset=manifest.get("dataset") or {},
        plan=plan,
        run=run,
        counts=counts,
        warnings=warnings(manifest, run),
        stages=list(_stages(counts, presentation)),
        distributions=distributions(counts, presentation),
        **(_judged(counts, presentation.scale) if presentation.scale else {}),
        subsets={name: _total(own, "rows") for name, own in _subsets(shards).items()},
        columns=_columns(presentation.kept, presentation),
        families=_families(presentation),
        rejected_columns=_columns(presentation.rejected, presentation),
        has_rejected=any(s.get("kind") == "rejected" for s in shards),
        sources=sources[:_MAX_SOURCES],
        sources_left=max(0, len(sources) - _MAX_SOURCES),
        sources_failed=[s for s in sources if s.get("error")],
        subset_by=_find(plan.get("settings"), "subset_by") or _find(plan.get("settings"), "by"),
        formats=[s.get("format") for s in sources],
        statements=[*presentation.personal_data, *presentation.limits],
        paper=presentation.paper and {name: Markup(getattr(presentation.paper, name)) for name in ("url", "bibtex")},
    )


# -- front matter ------------------------------------------------------------------------------------------


def _front_matter(manifest: Mapping[str, Any], shards: list[Mapping[str, Any]], presentation: Presentation) -> str:
    dataset, plan = manifest.get("dataset") or {}, manifest.get("plan") or {}
    subsets = {name: [s for s in own if s.get("rows")] for name, own in _subsets(shards).items()}
    rejected = [s for s in shards if s.get("kind") == "rejected" and s.get("rows")]
    head: dict[str, Any] = {
        "license": str(dataset.get("license") or "other"),
        "language": _languages(manifest, presentation),
        "pretty_name": _title(manifest),
        "task_categories": list(presentation.tasks),
        "size_categories": [_size_category(sum(_total(own, "rows") for own in subsets.values()))],
        "tags": [*presentation.tags, "croissant", "sluice"],
    }
    head = {key: value for key, value in head.items() if value != []}
    upstream = sorted(
        set(re.findall(r"allenai/WildChat[\w.-]*\w", repr([plan.get("settings"), manifest.get("sources")])))
    )
    if upstream:
        head["source_datasets"] = [f"extended|{name}" for name in upstream]
    configs: list[dict[str, Any]] = []
    for name, schema, files in (
        ("default", presentation.kept, subsets),
        ("rejected", presentation.rejected, {"rejected": rejected}),
    ):
        present = {subset: own for subset, own in files.items() if own}  # the loader fails on a subset without rows
        if present:
            data_files = [{"split": subset, "path": _pattern(own, shards)} for subset, own in present.items()]
            configs.append({"config_name": name, "data_files": data_files})
            head.setdefault("dataset_info", []).append(_info(name, schema, present))
    if configs:
        configs[0]["default"] = True
        head["configs"] = configs
    text: str = yaml.safe_dump(_spelled(head), sort_keys=False, allow_unicode=True, width=100)
    return text


def _info(name: str, schema: pa.Schema, subsets: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, Any]:
    size = sum(_total(shards, "bytes") for shards in subsets.values())
    return {
        "config_name": name,
        "features": [_feature(f) for f in schema],
        "splits": [
            {"name": subset, "num_bytes": _total(shards, "bytes"), "num_examples": _total(shards, "rows")}
            for subset, shards in subsets.items()
        ],
        "download_size": size,
        "dataset_size": size,
    }


def _feature(column: pa.Field) -> dict[str, Any]:
    """A column as the hub's loader writes its features."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_type
        if pa.types.is_struct(inner):
            return {"name": column.name, "list": [_feature(f) for f in inner.fields]}
        return {"name": column.name, "list": _dtype(inner)}
    if pa.types.is_struct(kind):
        return {"name": column.name, "struct": [_feature(f) for f in kind.fields]}
    return {"name": column.name, "dtype": _dtype(kind)}


def _dtype(kind: pa.DataType) -> str:
    return {"float": "float32", "double": "float64", "halffloat": "float16"}.get(str(kind), str(kind))


def _type_name(kind: pa.DataType) -> str:
    """A type for people: string, list of {role, content}, {applied, ...}."""
    if pa.types.is_list(kind):
        return f"list of {_type_name(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "{" + ", ".join(f.name for f in kind.fields) + "}"
    return _dtype(kind)


def _size_category(rows: int) -> str:
    bounds = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
    if rows < 1000:
        return "n<1K"
    for exponent, (low, high) in enumerate(pairwise(bounds), start=4):
        if rows < 10**exponent:
            return f"{low}<n<{high}"
    return "n>1T"


def _languages(manifest: Mapping[str, Any], presentation: Presentation) -> list[str]:
    """The languages in the settings, wherever they stand; those of the pipeline otherwise."""
    found = _find((manifest.get("plan") or {}).get("settings"), "languages")
    codes = [str(code) for code in found if re.fullmatch(r"[a-z]{2,3}", str(code))] if isinstance(found, list) else []
    return codes or list(presentation.languages)


def _find(value: Any, key: str) -> Any:
    if not isinstance(value, Mapping):
        return None
    if value.get(key):
        return value[key]
    return next((found for inner in value.values() if (found := _find(inner, key))), None)


# -- the body ----------------------------------------------------------------------------------------------


def _title(manifest: Mapping[str, Any]) -> str:
    dataset = manifest.get("dataset") or {}
    return str(dataset.get("title") or dataset.get("name") or "Untitled dataset")


def _subsets(shards: list[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Data shards by subset, train first."""
    names = {str(s["subset"]) for s in shards if s.get("kind") == "data" and s.get("subset")}
    order = {"train": 0, "validation": 1, "test": 2}
    return {
        name: [s for s in shards if s.get("kind") == "data" and s.get("subset") == name]
        for name in sorted(names, key=lambda name: (order.get(name, 3), name))
    }


def _pattern(wanted: list[Mapping[str, Any]], shards: list[Mapping[str, Any]]) -> str | list[str]:
    """A glob for the shards, or their paths where the glob would catch one without rows."""
    paths = [str(s["path"]) for s in wanted]
    globs = {re.sub(r"\d+-of-\d+", "*", path) for path in paths}
    if len(globs) == 1:
        glob = globs.pop()
        if [str(s["path"]) for s in shards if fnmatchcase(str(s["path"]), glob)] == paths:
            return glob
    return paths


def _total(shards: list[Mapping[str, Any]], key: str) -> int:
    return sum(int(s.get(key) or 0) for s in shards)


def _columns(schema: pa.Schema, presentation: Presentation) -> list[tuple[str, str, str]]:
    """Name, type and content of every column that belongs to no family."""
    return [_column(column, presentation) for column in schema if presentation.family(column.name) is None]


def _families(presentation: Presentation) -> dict[str, list[tuple[str, str, str]]]:
    """The columns of every family, kept or rejected."""
    columns = {column.name: column for schema in (presentation.kept, presentation.rejected) for column in schema}
    families: dict[str, list[tuple[str, str, str]]] = {title: [] for title in presentation.families}
    for name, column in columns.items():
        if title := presentation.family(name):
            families[title].append(_column(column, presentation))
    return {title: rows for title, rows in families.items() if rows}


def _column(column: pa.Field, presentation: Presentation) -> tuple[str, str, str]:
    return column.name, _type_name(column.type), presentation.columns.get(column.name, "")


def _stages(counts: Mapping[str, Any], presentation: Presentation) -> Iterator[dict[str, Any]]:
    meanings = {"row": presentation.row_outcomes}
    for stage in counts.get("stages") or []:
        known = meanings.get(str(stage.get("unit")), presentation.instance_outcomes)
        rejected = sorted((stage.get("rejected") or {}).items(), key=lambda item: (-int(item[1] or 0), item[0]))
        yield {
            "name": stage.get("stage") or "?",
            "unit": presentation.instance if (stage.get("unit") or "instance") == "instance" else stage["unit"],
            "in": int(stage.get("in") or 0),
            "out": int(stage.get("out") or 0),
            "reasons": [(name, int(n), known.get(name, "")) for name, n in rejected if n],
        }


def _judged(counts: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
    """Labels and levels of an ordinal judgement, for its tables."""
    return {
        "labels": list(_label_rows(counts, scale)),
        "label_subsets": list(counts.get("labels") or {}),
        "levels": list(_level_rows(counts, scale)),
    }


def _label_rows(counts: Mapping[str, Any], scale: Scale) -> Iterator[dict[str, Any]]:
    labels = counts.get("labels") or {}
    total = sum(int(n or 0) for subset in labels.values() for n in subset.values())
    for level, label in scale.labels.items():
        per_subset = [int(subset.get(str(label)) or 0) for subset in labels.values()]
        share = sum(per_subset) / total if total else 0.0
        yield {"label": label, "name": scale.levels[level], "counts": per_subset, "share": percent(share)}


def _level_rows(counts: Mapping[str, Any], scale: Scale) -> Iterator[dict[str, Any]]:
    levels = counts.get("levels") or {}
    total = sum(int(n or 0) for n in levels.values())
    for level, name in scale.levels.items():
        n = int(levels.get(str(level)) or 0)
        yield {
            "level": level,
            "name": name,
            "label": scale.labels.get(level, "–"),
            "count": n,
            "share": percent(n / total if total else 0.0),
            "paper": f"{100 * scale.paper_shares[level]:.0f}%",
        }


def _spelled(value: Any) -> Any:
    """Put every string of a document on one line, control characters spelled out."""
    if isinstance(value, Mapping):
        return {key: _spelled(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_spelled(inner) for inner in value]
    return " ".join(spelled(value).split()) if isinstance(value, str) else value


def _markdown(value: Any) -> Markup:
    """Plain text as one Markdown line: no markup of any kind survives."""
    text = " ".join(spelled(str(value if value is not None else "")).split())
    text = re.sub(r"([\\`*_\[\]{}|~$])", r"\\\1", text)
    text = re.sub(r"^([#+>=-])", r"\\\1", str(escape(text)))
    return Markup(re.sub(r"^(\d+)([.)])", r"\1\\\2", text))


def _code(value: Any) -> Markup:
    """A code span that its content cannot leave, in a table cell too."""
    text = " ".join(spelled(str(value if value is not None else "")).split())
    if "`" in text or "|" in text:
        return (
            Markup("<code>")
            + Markup(re.sub(r"([`*_\[\]~\\$|])", lambda m: f"&#{ord(m[0])};", str(escape(text))))
            + Markup("</code>")
        )
    return Markup(f"`{text}`") if text else Markup("")


def _cell(value: Any) -> Markup:
    """Our own Markdown in a table cell."""
    return Markup(str(value).replace("|", "\\|"))


# -- Croissant ---------------------------------------------------------------------------------------------


def croissant(manifest: Mapping[str, Any], presentation: Presentation, published: str | None = None) -> dict[str, Any]:
    """Describe the snapshot in Croissant 1.0: every shard with its checksum, every column with its type.

    ``published`` is an ISO time. The result is JSON, to be stored beside ``data/``, where its paths start.
    """
    import mlcroissant as mlc  # here, because it takes a second to import

    dataset = manifest.get("dataset") or {}
    shards = list(manifest.get("shards") or [])
    context = mlc.Context(conforms_to="http://mlcommons.org/croissant/1.0")
    distribution: list[Any] = [
        mlc.FileObject(
            ctx=context,
            id=str(shard["path"]),
            name=str(shard["path"]),
            content_url=str(shard["path"]),
            content_size=f"{int(shard.get('bytes') or 0)} B",
            encoding_formats=[_PARQUET],
            sha256=str(shard["sha256"]),
        )
        for shard in shards
    ]
    record_sets = []
    for kind, name, schema, description in (
        ("data", "kept", presentation.kept, presentation.record),
        (
            "rejected",
            "rejected",
            presentation.rejected,
            f"Source rows and {presentation.instances} that were not kept, and why.",
        ),
    ):
        paths = [str(s["path"]) for s in shards if s.get("kind") == kind]
        if not paths:
            continue
        files = f"{name}-files"
        distribution.append(
            mlc.FileSet(
                ctx=context,
                id=files,
                name=files,
                description=f"The shards of the record set {name}.",
                encoding_formats=[_PARQUET],
                includes=sorted({re.sub(r"\d+-of-\d+", "*", path) for path in paths}),
            )
        )
        record_sets.append(
            mlc.RecordSet(
                ctx=context,
                id=name,
                name=name,
                description=description,
                key=f"{name}/record_id",
                fields=[_field(mlc, context, presentation.columns, column, name, files) for column in schema],
            )
        )
    license_id = str(dataset.get("license") or "")
    metadata = mlc.Metadata(
        ctx=context,
        name=spelled(str(dataset.get("name") or _title(manifest))),
        description=spelled(str(dataset.get("description") or _title(manifest))),
        license=[_LICENSE_URLS.get(license_id, license_id)] if license_id else None,
        url=dataset.get("url"),
        date_published=published,
        version=f"{int(manifest.get('schema_version') or 1)}.0.0",
        cite_as=presentation.paper.bibtex if presentation.paper else None,
        in_language=_languages(manifest, presentation) or None,
        keywords=list(presentation.keywords) or None,
        distribution=distribution,
        record_sets=record_sets,
        data_collection_type=list(presentation.collection) or None,
        data_annotation_protocol=list(presentation.annotation) or None,
        machine_annotation_tools=[
            spelled(f"{m.get('role', 'model')}: {m.get('name', '')}")
            for m in (manifest.get("plan") or {}).get("models") or []
        ],
        personal_sensitive_information=list(presentation.personal_data) or None,
        data_limitations=list(presentation.limits) or None,
    )
    result: dict[str, Any] = metadata.to_json()
    return result


_PARQUET: Final = "application/x-parquet"


def _field(
    mlc: Any,
    context: Any,
    meanings: Mapping[str, str],
    column: pa.Field,
    parent: str,
    files: str,
    path: str = "",
    top: str = "",
) -> Any:
    """A column as a Croissant field. A struct's fields are read out of their column by a JSON path."""
    name = f"{parent}/{column.name}"
    top = top or column.name
    kind, repeated = column.type, False
    if pa.types.is_list(kind):
        kind, repeated = kind.value_type, True
    if pa.types.is_struct(kind):
        return mlc.Field(
            ctx=context,
            id=name,
            name=name,
            description=meanings.get(column.name),
            repeated=repeated or None,
            sub_fields=[
                _field(mlc, context, meanings, inner, name, files, f"{path}{inner.name}", top) for inner in kind.fields
            ],
        )
    transforms = [mlc.Transform(ctx=context, json_path=path)] if path else []
    return mlc.Field(
        ctx=context,
        id=name,
        name=name,
        description=None if path else meanings.get(column.name),
        data_types=[_croissant_type(mlc, kind)],
        repeated=repeated or None,
        source=mlc.Source(
            ctx=context, file_set=files, extract=mlc.Extract(ctx=context, column=top), transforms=transforms
        ),
    )


def _croissant_type(mlc: Any, kind: pa.DataType) -> Any:
    types = mlc.DataType
    if pa.types.is_boolean(kind):
        return types.BOOL
    if pa.types.is_integer(kind):
        return types.INTEGER
    if pa.types.is_floating(kind):
        return types.FLOAT
    if pa.types.is_timestamp(kind):
        return types.DATETIME
    return types.TEXT

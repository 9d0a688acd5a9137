"""The duplicate pass over files: the same as in memory, whatever the cut, the order and the workers; nothing read
twice."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import apache_beam as beam
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from schemas.provenance import SourceFile, Split
from transforms.io import duplicate_files, duplicate_pass, files, keys
from transforms.io.duplicate_files import Published, Signed, TextTable
from transforms.io.duplicate_pass import SUMMARY, DuplicatePass, Steps
from transforms.io.records import record_ids
from transforms.text import duplicates
from transforms.text.duplicates import Settings

QUICK = Settings(slots=20, bands=(5, 4))
WORDS = [f"w{number}" for number in range(5_000)]
Files = dict[str, list[str | None]]


def corpus(seed: int, rows: int) -> list[str | None]:
    """Texts of which about half come again, exactly, nearly, or in chains of small changes."""
    draw = random.Random(seed)
    shared = random.Random(7)
    bases = [[shared.choice(WORDS) for _ in range(80)] for _ in range(12)]
    found: list[str | None] = [None, "", " \n", "!!!", "中文" * 30]
    while len(found) < rows:
        kind = draw.random()
        words = list(draw.choice(bases)) if kind < 0.6 else [draw.choice(WORDS) for _ in range(draw.randint(1, 120))]
        if kind < 0.3:
            at = draw.randint(0, 40)
            words[at : at + draw.randint(0, 6)] = ["changed"] * draw.randint(0, 6)
        found.append(" ".join(words).upper() if draw.random() < 0.1 else " ".join(words))
    draw.shuffle(found)
    return found


@dataclass
class Cut:
    """Files cut into splits of so many rows; what was read is noted. ``open_end``: only the first split is planned."""

    files: Files
    rows: int
    open_end: bool = False
    source: dict[str, int] = field(default_factory=dict)

    def split(self, uri: str, ordinal: int) -> Split:
        known = self.source.get(uri, 0)
        file = SourceFile(
            f"file:///{uri}", uri, known, "jsonl", "text", 0, "", "", keyed(uri, len(self.files[uri]), self.rows)
        )
        start = ordinal * self.rows
        return Split(file, ordinal, start, None if self.open_end else start + self.rows, self.rows)

    def planned(self) -> list[Split]:
        ends = {uri: 1 if self.open_end else max(1, -(-len(texts) // self.rows)) for uri, texts in self.files.items()}
        return [self.split(uri, ordinal) for uri in self.files for ordinal in range(ends[uri])]

    def frame(self, split: Split) -> pl.DataFrame:
        texts = self.files[split.file.relative_uri][split.start : split.start + self.rows]
        rows = range(split.start, split.start + len(texts))
        schema = {"source_row": pl.Int64, "ordinal": pl.Int32, "text": pl.String, "rank": pl.Float64}
        entries = [(row, 0, text, float(row * 7919 % 13)) for row, text in zip(rows, texts, strict=True)]
        return pl.DataFrame(entries, schema, orient="row")

    def read(self, split: Split, log: Path) -> Iterator[TextTable]:
        while True:
            with log.open("a") as stream:
                stream.write(f"{split}\n")
            frame = self.frame(split)
            end = split.start + self.rows >= len(self.files[split.file.relative_uri])
            yield TextTable(split, frame.sample(fraction=1.0, shuffle=True, seed=1), len(frame) + 1, end)
            if end or not self.open_end:
                return
            split = following(split)


def keyed(uri: str, texts: int, rows: int) -> str:
    return f"{sum(map(ord, uri)):08x}{texts:08x}{rows:08x}"


def following(split: Split) -> Split:
    return replace(split, ordinal=split.ordinal + 1, start=split.start + split.bytes)


def sign(index: int, cut: Cut, work: Path, log: Path, settings: Settings) -> Iterator[Signed]:
    folder = duplicate_files.area(work, settings)
    yield from duplicate_files.cached(partial(cut.read, log=log), folder, cut.planned()[index], following, settings)


@dataclass
class Passed:
    """What a pass removed, by (file, row): reason, survivor's record id, similarity."""

    removed: dict[tuple[str, int], tuple[str, str, float]]
    lists: Path
    read: list[str]


def run(
    cut: Cut,
    work: Path,
    settings: Settings = QUICK,
    order: Sequence[int] | None = None,
    published: Sequence[Published] = (),
    name: str = "lists",
    options: Iterable[str] = (),
) -> Passed:
    log, lists = work.parent / f"{name}-read.txt", work / "lists" / name
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    read = partial(sign, cut=cut, work=work, log=log, settings=settings)
    indices = range(len(cut.planned())) if order is None else order
    with beam.Pipeline(FnApiRunner(), PipelineOptions(list(options))) as pipeline:
        create = pipeline | beam.Create(list(indices), reshuffle=False)
        _ = create | DuplicatePass(read, work, lists, settings, published)
    removed = {}
    written = keys.written(lists)
    for split, rows, digest in written.iter_rows():
        ordinal = int(split.rpartition("-")[2])
        (uri,) = (uri for uri in cut.files if cut.split(uri, 0).file.key == split.rpartition("-")[0])
        piece = replace(cut.split(uri, ordinal), listed=f"{rows}.{digest}")
        frame = cut.frame(piece)
        assert rows == len(frame) + 1, "rows read, not rows used"
        told = duplicate_files.drop_duplicates(frame, piece, lists)
        assert told.drop("reason", "duplicate_of", "similarity").equals(frame)
        for row in told.filter(pl.col("reason").is_not_null()).iter_rows(named=True):
            removed[uri, row["source_row"]] = (row["reason"], row["duplicate_of"], row["similarity"])
    return Passed(removed, lists, log.read_text().splitlines())


def in_memory(held: Files, settings: Settings) -> dict[tuple[str, int], tuple[str, str, float]]:
    """The same by ``duplicates.mark`` over all texts in order of file and row."""
    places = [(uri, row) for uri in sorted(held) for row in range(len(held[uri]))]
    frame = pl.DataFrame(
        {
            "text": pl.Series([held[uri][row] for uri, row in places], dtype=pl.String),
            "rank": [float(row * 7919 % 13) for _, row in places],
            "uri": [uri for uri, _ in places],
            "row": [row for _, row in places],
        }
    )
    ids = frame.select(record_ids(pl.col("uri"), pl.col("row"), pl.lit(0))).to_series()
    marked = duplicates.mark(frame, settings).with_columns(id=ids.gather(pl.int_range(len(ids), eager=True)))
    return {
        (row["uri"], row["row"]): (row["reason"], ids[row["duplicate_of"]], row["similarity"])
        for row in marked.filter(pl.col("reason").is_not_null()).iter_rows(named=True)
    }


@pytest.fixture(scope="module")
def held() -> Files:
    return {"b.jsonl": corpus(1, 120), "a/c.jsonl": corpus(2, 200), "z.jsonl": corpus(3, 60), "none.jsonl": []}


@pytest.mark.parametrize(
    ("rows", "open_end", "survivor", "seed"),
    [(1000, False, "first", 0), (37, False, "longest", 1), (50, True, "best", 2), (64, True, "first", 3)],
)
def test_the_pass_removes_what_is_removed_in_memory_whatever_the_cut_and_the_order(
    held: Files, tmp_path: Path, rows: int, open_end: bool, survivor: duplicates.Survivor, seed: int
) -> None:
    settings = replace(QUICK, survivor=survivor)
    cut = Cut(held, rows, open_end)
    order = list(range(len(cut.planned())))
    random.Random(seed).shuffle(order)
    found = run(cut, tmp_path / "work", settings, order)
    wanted = in_memory(held, settings)
    assert found.removed == wanted
    assert {reason for reason, _, _ in wanted.values()} == {"duplicate", "near_duplicate"}
    summary = json.loads((found.lists / SUMMARY).read_text())
    assert summary["documents"] == sum(map(len, held.values()))
    assert sum(summary["removed"].values()) == len(wanted)
    splits = sum(max(1, -(-len(texts) // rows)) for texts in held.values())
    assert len(keys.written(found.lists)) == splits, "every split has a list"


def test_prefixes_and_small_buckets_make_no_difference(
    held: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicate_pass, "PREFIX_DOCUMENTS", 50)
    monkeypatch.setattr(duplicate_files, "_BATCH", 16)
    found = run(Cut(held, 40), tmp_path / "work")
    assert found.removed == in_memory(held, QUICK)


def test_workers_side_by_side_write_the_same_bytes(held: Files, tmp_path: Path) -> None:
    one = run(Cut(held, 40), tmp_path / "one" / "work")
    options = ["--direct_num_workers=3", "--direct_running_mode=multi_threading"]
    many = run(Cut(held, 40), tmp_path / "many" / "work", options=options)
    assert one.removed == many.removed
    assert _bytes(tmp_path / "one" / "work") == _bytes(tmp_path / "many" / "work")


def _bytes(work: Path) -> dict[str, bytes]:
    """All files of a pass but the catalogue, which names folders."""
    found = (path for path in sorted(work.rglob("*")) if path.is_file() and path.name != "catalogue.arrow")
    return {str(path.relative_to(work)): path.read_bytes() for path in found}


def test_a_second_run_reads_no_text_and_a_new_file_only_its_own(held: Files, tmp_path: Path) -> None:
    work = tmp_path / "work"
    first = run(Cut(held, 50, open_end=True), work)
    assert len(first.read) > len(held)
    again = run(Cut(held, 50, open_end=True), work, name="again")
    assert again.read == [] and again.removed == first.removed
    more = {**held, "y.jsonl": corpus(4, 90)}
    grown = run(Cut(more, 50, open_end=True), work, name="grown")
    assert len(grown.read) == 2 and all(line.startswith("y.jsonl") for line in grown.read)
    assert grown.removed == in_memory(more, QUICK)
    other = run(Cut(held, 50, open_end=True), work, replace(QUICK, threshold=0.9), name="other")
    assert other.read == [], "the threshold decides no signature"


def test_what_is_published_survives_and_keeps_its_lists(held: Files, tmp_path: Path) -> None:
    work, settings = tmp_path / "work", replace(QUICK, survivor="longest")
    area = duplicate_files.area(work, settings)
    old = run(Cut(held, 50), work, settings)
    names = {
        f"{split}": f"{split}.{rows}.{digest}.arrow" for split, rows, digest in keys.written(old.lists).iter_rows()
    }
    published = [Published(split, area, old.lists / name) for split, name in names.items()]
    more: Files = {**held, "a/a.jsonl": [f"{text} more words" for text in held["z.jsonl"]] + corpus(9, 60)}
    new = run(Cut(more, 50), work, settings, published=published, name="new")
    assert all(line.startswith("a/a.jsonl") for line in new.read)
    assert {place: told for place, told in new.removed.items() if place[0] in held} == old.removed
    assert {f"{s}.{r}.{d}.arrow" for s, r, d in keys.written(new.lists).iter_rows()} > set(names.values())
    gone = [told for place, told in new.removed.items() if place[0] == "a/a.jsonl"]
    ids = {_record_id(uri, row) for uri, texts in more.items() for row in range(len(texts))}
    removed = {_record_id(*place) for place in new.removed}
    assert len(gone) > 30 and all(told[1] in ids - removed for told in gone)
    assert any(told[1] in {_record_id("z.jsonl", row) for row in range(60)} for told in gone), "though it is shorter"


def _record_id(uri: str, row: int) -> str:
    return str(pl.select(record_ids(pl.lit(uri), pl.lit(row), pl.lit(0))).item())


def test_another_dataset_is_looked_up_by_its_texts(
    held: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicate_files, "_TEXTS_AT_ONCE", 7)
    monkeypatch.setattr(duplicate_files, "_BATCH", 16)
    work, settings = tmp_path / "work", QUICK
    texts = [text for text in held["b.jsonl"] if text]
    ids = [f"{number:032x}" for number in range(len(texts))]
    pl.DataFrame({"record_id": ids, "text": texts, "other": 1}).write_parquet(tmp_path / "train.parquet")
    pl.DataFrame({"body": texts[:3]}).write_parquet(tmp_path / "bare.parquet")
    pl.DataFrame({"text": []}, {"text": pl.String}).write_parquet(tmp_path / "none.parquet")
    area = duplicate_files.area(work, settings)
    none = duplicate_files.sign_published(tmp_path / "none.parquet", area, settings)
    other = duplicate_files.sign_published(tmp_path / "train.parquet", area, settings)
    bare = duplicate_files.sign_published(tmp_path / "bare.parquet", area, settings, text="body", key="0" * 64)
    stamp = (area / f"{other.key}.parquet").stat().st_mtime_ns
    assert duplicate_files.sign_published(tmp_path / "train.parquet", area, settings) == other
    assert (area / f"{other.key}.parquet").stat().st_mtime_ns == stamp
    found = run(Cut({"b.jsonl": held["b.jsonl"]}, 50), work, settings, published=[other, none, bare])
    gone = {row for row, text in enumerate(held["b.jsonl"]) if text}
    assert {row for _, row in found.removed} >= gone
    named = [told for (_, row), told in found.removed.items() if row in gone]
    bare_ids = {_record_id("bare.parquet", row) for row in range(3)}
    assert all(survivor in {*ids, *bare_ids} and similarity == 1.0 for _, survivor, similarity in named)


def test_a_group_that_is_much_of_its_source_is_a_warning(tmp_path: Path) -> None:
    pages: list[str | None] = [" ".join([*WORDS[:100], f"page{at}"]) for at in range(300)]
    held: Files = {"site.jsonl": pages, "other.jsonl": corpus(5, 100)}
    found = run(Cut(held, 70, source={"site.jsonl": 1}), tmp_path / "work", replace(QUICK, group_share=0.3))
    summary = json.loads((found.lists / SUMMARY).read_text())
    (warning,) = summary["warnings"]
    assert warning == f"source 1: a group of 300 documents like {_record_id('site.jsonl', 0)} is 100.0% of it"
    assert len(found.removed) == 299 + len(in_memory({"other.jsonl": held["other.jsonl"]}, QUICK))


def test_a_split_whose_second_file_is_missing_is_signed_again(held: Files, tmp_path: Path) -> None:
    work = tmp_path / "work"
    cut = Cut({"b.jsonl": held["b.jsonl"]}, 50)
    first = run(cut, work)
    area = duplicate_files.area(work, QUICK)
    assert {path.suffix for path in area.iterdir()} == {".parquet", ".arrow"}
    lost = f"{cut.planned()[1].key}.parquet"
    data = (area / lost).read_bytes()
    (area / lost).unlink()
    again = run(cut, work, name="again")
    assert len(again.read) == 1 and again.removed == first.removed
    assert (area / lost).read_bytes() == data


def test_one_band_is_one_column(held: Files, tmp_path: Path) -> None:
    run(Cut(held, 200), tmp_path / "work", Settings())
    area = duplicate_files.area(tmp_path / "work", Settings())
    names = pq.read_schema(next(area.glob("*.parquet"))).names
    assert names[:6] == ["source_row", "ordinal", "key", "check", "length", "rank"]
    assert names[6:] == [f"band_{band:02d}" for band in range(18)]


def test_the_pass_runs_on_an_object_store(held: Files, out: Path, tmp_path: Path) -> None:
    cut = Cut({"b.jsonl": held["b.jsonl"]}, 60)
    settings, log = QUICK, tmp_path / "log"
    read = partial(sign, cut=cut, work=out, log=log, settings=settings)
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        _ = pipeline | beam.Create([1, 0], reshuffle=False) | DuplicatePass(read, out, out / "lists" / "one", settings)
    here = run(cut, tmp_path / "work")
    names = {name for name in files.names(here.lists) if name.endswith(".arrow")}
    assert names == {name for name in files.names(out / "lists" / "one") if name.endswith(".arrow")}


def test_grouping_holds_few_bytes_a_document(tmp_path: Path) -> None:
    settings, documents = Settings(), 300_000
    steps = Steps(tmp_path, tmp_path / "lists", settings)
    draw = np.random.default_rng(1)
    steps.area.mkdir(parents=True)
    hashes = {name: draw.integers(0, documents * 4, documents).astype(np.uint64) << 32 for name in ("key", "band_00")}
    columns = {
        "source_row": np.arange(documents),
        "ordinal": np.zeros(documents, np.int32),
        **hashes,
        "check": hashes["key"],
    }
    facts = {"uri": "a", "source": "0", "ordinal": "0", "rows": f"{documents}", "end": "1"}
    pq.write_table(pa.table(columns).replace_schema_metadata(facts), steps.area / "a.parquet")
    steps.catalogue([("a", "a", 0, 0, documents, documents)])
    del columns, hashes
    tracemalloc.start()
    steps.equal(0)
    steps.group((0, 0))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200 * documents
    assert len(files.read_arrow(steps.folder / "same" / "0.arrow")) > 10_000

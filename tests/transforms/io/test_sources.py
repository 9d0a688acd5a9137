"""Finding source files, and the cheap look that tells what they are."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import ConfigError
from schemas.provenance import Container
from tests.builders import jsonl, packed, plan, read, sharegpt, write, write_rows
from transforms.io import sources
from transforms.io.sources import SourceError

ROW = sharegpt("s", ("human", "a"), ("gpt", "b"), ("human", "c"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a/x.jsonl", "a/deep/y.jsonl.gz", "a/deep/z.jsonl.zst", "other/x.jsonl"):
        container: Container = "jsonl" if name.endswith("jsonl") else name[name.index(".") + 1 :]  # type: ignore[assignment]
        write(tmp_path / "data" / name, packed(jsonl([ROW]), container))
    write_rows(tmp_path / "data" / "a", [ROW], "parquet", name="p")
    for name in ("README.md", "a/notes.txt", "a/.hidden", "a/chats.json.bak"):
        write(tmp_path / "data" / name, b"not a source")
    return tmp_path / "data"


def names(*uris: str | Path, root: str | None = None) -> list[str]:
    return [file.relative_uri for file in sources.find([str(uri) for uri in uris], root, {})]


def test_a_directory_is_searched_for_files_of_known_suffixes(tree: Path) -> None:
    everything = ["a/deep/y.jsonl.gz", "a/deep/z.jsonl.zst", "a/p.parquet", "a/x.jsonl", "b.jsonl", "other/x.jsonl"]
    assert names(tree) == names(f"{tree}/") == names(f"file://{tree}") == everything


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jsonl", ["b.jsonl"]),
        ("a/*", ["chats.json.bak", "notes.txt", "p.parquet", "x.jsonl"]),
        ("a/x.json?", ["x.jsonl"]),
        ("a/[px].*", ["p.parquet", "x.jsonl"]),
        ("*/x.jsonl", ["a/x.jsonl", "other/x.jsonl"]),
        ("**/*.jsonl*", ["a/deep/y.jsonl.gz", "a/deep/z.jsonl.zst", "a/x.jsonl", "b.jsonl", "other/x.jsonl"]),
        ("a/deep/*", ["y.jsonl.gz", "z.jsonl.zst"]),
    ],
)
def test_a_glob_is_relative_to_the_directory_before_its_first_wildcard(
    tree: Path, pattern: str, expected: list[str]
) -> None:
    found = [name for name in names(f"{tree}/{pattern}") if not name.startswith(".")]
    assert found == expected


def test_a_file_is_relative_to_its_directory_and_everything_to_a_root(tree: Path) -> None:
    assert names(tree / "a/deep/y.jsonl.gz") == ["y.jsonl.gz"]
    assert names(tree / "a/deep/y.jsonl.gz", root=str(tree)) == ["a/deep/y.jsonl.gz"]
    assert names(tree / "a/deep", tree / "b.jsonl", root=f"{tree}/") == [
        "a/deep/y.jsonl.gz",
        "a/deep/z.jsonl.zst",
        "b.jsonl",
    ]
    with pytest.raises(SourceError, match=r"x\.jsonl: expected a file under the source's root .*/a"):
        names(tree / "other/x.jsonl", root=str(tree / "a"))
    with pytest.raises(SourceError, match="expected a file under"):
        names(tree / "a/x.jsonl", root=str(tree)[:-1])


def test_paths_are_relative_to_the_working_directory(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert names("a/x.jsonl") == ["x.jsonl"]
    assert names("./a", root=".") == ["a/deep/y.jsonl.gz", "a/deep/z.jsonl.zst", "a/p.parquet", "a/x.jsonl"]
    assert names("*.jsonl") == ["b.jsonl"]


def test_a_file_matched_twice_is_read_once(tree: Path) -> None:
    assert names(tree / "a/x.jsonl", f"{tree}/a/*.jsonl", tree / "a", root=str(tree)).count("a/x.jsonl") == 1


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    write(tmp_path / "chats[1].jsonl", jsonl([ROW]))
    write(tmp_path / "chats1.jsonl", jsonl([ROW]))
    assert names(tmp_path / "chats[1].jsonl") == ["chats[1].jsonl"]


def test_links_are_followed_and_named_as_they_stand(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tree / "b.jsonl")
    assert names(tmp_path / "link.jsonl") == ["link.jsonl"]
    assert read(plan(tmp_path / "link.jsonl")).rows_read == 1


@pytest.mark.parametrize("uri", ["absent.jsonl", "absent/", "*.csv", "a/deep/none/**"])
def test_nothing_found_is_an_error_that_names_the_uri(tree: Path, uri: str) -> None:
    with pytest.raises(SourceError, match=uri.replace("*", r"\*").rstrip("/")):
        names(tree / uri)
    (tree / "void").mkdir()
    with pytest.raises(SourceError, match="void: expected at least one file"):
        names(tree / "void")


@pytest.mark.parametrize("uri", ["nowhere://bucket/a.jsonl", "s4://bucket/*.parquet"])
def test_an_unknown_scheme_is_an_error_that_names_the_uri(uri: str) -> None:
    with pytest.raises(SourceError, match=uri.split("*", maxsplit=1)[0]):
        names(uri)


def test_sources_whose_files_would_have_one_name_are_refused(tree: Path) -> None:
    with pytest.raises(ConfigError, match=r"a/x\.jsonl.*other/x\.jsonl.*are both x\.jsonl.*root"):
        plan(tree / "a/x.jsonl", tree / "other/x.jsonl")
    planned = plan(tree / "a/x.jsonl", tree / "other/x.jsonl", root=str(tree))
    assert [file.relative_uri for file in planned.files] == ["a/x.jsonl", "other/x.jsonl"]


# --- Looking at a file


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("a.parquet", "parquet"),
        ("A.PARQUET", "parquet"),
        ("a.ndjson", "jsonl"),
        ("a.json.gz", "jsonl.gz"),
        ("a.ndjson.zst", "jsonl.zst"),
        ("a.jsonl.parquet", "parquet"),
        ("a.json", None),
        ("parquet", None),
        ("a.csv", None),
    ],
)
def test_a_name_promises_a_container(name: str, container: str | None) -> None:
    assert sources.container_of(name) == container


@pytest.mark.parametrize("container", ["parquet", "jsonl", "jsonl.gz", "jsonl.zst"])
def test_a_file_named_outright_is_known_by_its_first_bytes(tmp_path: Path, container: Container) -> None:
    path = write_rows(tmp_path, [ROW] * 3, container).rename(tmp_path / "export")
    planned = plan(path)
    assert planned.files[0].container == container
    assert read(planned).rows_read == 3


def test_a_fingerprint_is_of_the_content_and_a_stamp_of_the_touch(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", jsonl([ROW] * 5000))
    first = plan(path).files[0]
    os.utime(path, (1, 1))
    touched = plan(path).files[0]
    assert touched.fingerprint == first.fingerprint and touched.key == first.key and touched.stamp != first.stamp
    data = path.read_bytes()
    for changed in (b"x" + data[1:], data[:-2] + b" \n", data + b"\n", data[:-1]):
        assert plan(write(path, changed), format="sharegpt").files[0].fingerprint != first.fingerprint


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_fingerprints_of_small_files_are_equal_exactly_where_the_files_are(one: bytes, other: bytes) -> None:
    def mark(data: bytes) -> str:
        return sources.fingerprint(len(data), data[:16], data[-16:])

    if one == other or len(one) != len(other) or len(one) <= 32:
        assert (mark(one) == mark(other)) == (one == other)


def test_the_key_of_a_file_says_how_and_under_which_name_it_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", jsonl([ROW]))
    write(tmp_path / "b.jsonl", jsonl([ROW]))
    whole = plan(tmp_path).files
    forced = plan(tmp_path, format="openai").files
    mapped = [plan(tmp_path, format="mapping", mapping={"turns": name}).files for name in ("conversations", "other")]
    keys = [file.key for files in (whole, forced, *mapped) for file in files]
    assert len(set(keys)) == 8
    assert [file.key for file in plan(tmp_path).files] == keys[:2]


def test_a_file_that_cannot_be_opened_is_named_and_the_others_are_planned(tree: Path) -> None:
    (tree / "a/gone.jsonl").symlink_to(tree / "nowhere")
    write(tree / "a/broken.parquet", b"PAR1 and nothing else")
    planned = plan(tree / "a/*.jsonl", tree / "a/*.parquet")
    errors = {file.relative_uri: file.error for file in planned.files}
    assert errors.pop("p.parquet") is None and errors.pop("x.jsonl") is None
    assert "broken.parquet" in (errors.pop("broken.parquet") or "")
    assert all(f"{name}" in (error or "") for name, error in errors.items())
    assert {split.file.relative_uri for split in planned.splits} == {"p.parquet", "x.jsonl"}


def test_a_parquet_footer_longer_than_the_tail_that_is_probed(tmp_path: Path) -> None:
    schema = pa.schema([*((f"column {n} {'x' * 50}", pa.int8()) for n in range(900)), ("id", pa.string())])
    turns = pa.field("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())])))
    path = tmp_path / "wide.parquet"
    pq.write_table(pa.Table.from_pylist([ROW] * 4, schema=schema.append(turns)), path, row_group_size=2)
    assert pq.read_metadata(path).serialized_size > 2 * sources.PROBE_BYTES
    assert read(plan(path)).rows_read == 4


def test_thousands_of_files_are_planned_in_seconds(tmp_path: Path) -> None:
    import time

    data = jsonl([ROW])
    for number in range(2000):
        write(tmp_path / f"{number % 20}" / f"{number}.jsonl", data)
    began = time.perf_counter()
    assert len(plan(tmp_path).splits) == 2000
    assert time.perf_counter() - began < 5


# --- fsspec's memory filesystem


@pytest.fixture
def memory() -> fsspec.AbstractFileSystem:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    return fs


@pytest.mark.parametrize("container", ["parquet", "jsonl", "jsonl.gz", "jsonl.zst"])
def test_a_memory_filesystem(memory: fsspec.AbstractFileSystem, tmp_path: Path, container: Container) -> None:
    data = write_rows(tmp_path, [ROW] * 10, container).read_bytes()
    memory.pipe({f"/in/{name}.{container}": data for name in ("a", "sub/b")})
    for uri in ("memory://in", "memory://in/", "memory://in/**/*"):
        planned = plan(uri, target=300)
        assert [file.relative_uri for file in planned.files] == [f"a.{container}", f"sub/b.{container}"]
        assert read(planned).rows_read == 20
    assert plan(f"memory://in/sub/b.{container}").files[0].relative_uri == f"b.{container}"
    memory.pipe(f"/in/a.{container}", data[:-1] + b"?")
    with pytest.raises(SourceError, match="changed since it was planned"):
        read(planned)

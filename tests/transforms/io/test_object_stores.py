"""Committing to an object store: a real S3 server in another process, whole objects, one winner, nothing renamed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.answers import Answer, Request
from schemas.feedback import KEPT, REJECTED
from schemas.provenance import Chunk, Receipt, StageCount
from tests.builders import some_split
from tests.servers import s3_server
from tests.servers.s3_server import Store
from transforms.io import files, parts, receipts, snapshots
from transforms.io.parts import PartError
from transforms.models import journal
from transforms.models.budgets import Budget, BudgetError
from transforms.models.journal import Journal
from transforms.models.settings import Price

TABLE = pa.table({"number": [1, 2, 3], "struct": [{"text": "one"}, None, {"text": "three"}]})
REQUEST = Request((("user", "a question"),), "judge@1")


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Do something so many times at the same moment."""
    barrier = threading.Barrier(count)

    def one(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


# --- files ------------------------------------------------------------------------------------------------------


def test_of_sixteen_who_create_a_file_at_once_one_wins(out: Path) -> None:
    won = together(16, lambda number: files.create(out / "receipt", b"%d" % number))
    assert won.count(True) == 1
    assert (out / "receipt").read_bytes() == b"%d" % won.index(True)


def test_of_sixteen_who_create_a_local_file_at_once_one_wins(tmp_path: Path) -> None:
    won = together(16, lambda number: files.create(tmp_path / "deep" / "lease", b"%d" % number))
    assert won.count(True) == 1
    assert (tmp_path / "deep" / "lease").read_bytes() == b"%d" % won.index(True)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["lease"]


def test_who_hears_nothing_of_its_success_and_tries_again_has_succeeded(out: Path) -> None:
    assert files.create(out / "lease", b"mine")
    assert files.create(out / "lease", b"mine")
    assert not files.create(out / "lease", b"another's")
    assert (out / "lease").read_bytes() == b"mine"


def test_a_small_file_takes_the_place_of_another(out: Path) -> None:
    files.write_bytes(out / "LATEST", b"one")
    files.write_bytes(out / "LATEST", b"two")
    assert (out / "LATEST").read_bytes() == b"two"


def test_what_fails_half_way_leaves_nothing(out: Path) -> None:
    def fail() -> None:
        with files.committed(out / "deep" / "file") as attempt:
            attempt.write_bytes(b"half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert files.names(out) == files.names(out / "deep") == set()


def test_what_is_there_with_the_same_bytes_stays_and_other_bytes_are_replaced(out: Path) -> None:
    def written(data: bytes) -> float:
        with files.committed(out / "part") as attempt:
            attempt.write_bytes(data)
        return (out / "part").stat().st_mtime

    first = written(b"a part")
    time.sleep(1.1)
    assert written(b"a part") == first
    assert written(b"a damaged part's better version") > first
    assert (out / "part").read_bytes() == b"a damaged part's better version"


def test_tables_come_back_as_they_were(out: Path) -> None:
    files.write_arrow(out / "a.arrow", TABLE)
    assert files.read_arrow(out / "a.arrow").equals(TABLE)
    for number in (0, 1):
        with files.committed(out / f"{number}.parquet") as attempt:
            pq.write_table(TABLE.slice(number), attempt)
    paths = [out / "0.parquet", out / "1.parquet"]
    assert files.parquet(paths[0]).read().equals(TABLE)
    assert files.scan_parquet(paths).collect()["number"].to_list() == [1, 2, 3, 2, 3]
    with files.fetched(paths[0]) as here:
        assert files.sha256(here) == files.sha256(paths[0])


def test_a_folder_tells_its_names_and_can_be_removed(out: Path) -> None:
    for name in ("a", "b/c", "b/.hidden", "b/d/e"):
        files.write_bytes(out / "folder" / name, b"x")
    files.write_bytes(out / "folder-too" / "a", b"x")
    assert files.names(out / "folder") == {"a", "b"}
    assert files.names(out / "folder" / "b") == {"c", "d"}
    files.remove(out / "folder")
    files.remove(out / "folder")
    assert files.names(out) == {"folder-too"}


def test_a_copy_is_made_by_the_store(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_bytes(out / "shard", b"rows")
    with monkeypatch.context() as patched:
        patched.setattr(type(out / "shard"), "read_bytes", None)
        files.link(out / "shard", out / "snapshot" / "data")
    assert (out / "snapshot" / "data").read_bytes() == b"rows"


@pytest.mark.parametrize(
    ("place", "told"),
    [("nowhere://bucket/out", "nowhere"), ("s3://key:secret@bucket/out", "expected a URI without credentials")],
)
def test_a_place_that_cannot_be_is_told(place: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        files.located(place)
    assert "secret" not in str(error.value)


def test_a_file_uri_is_a_local_path(tmp_path: Path) -> None:
    assert files.located(tmp_path.as_uri()) == tmp_path
    assert not files.on_store(files.located(tmp_path.as_uri()))


class Careless(BaseHTTPRequestHandler):
    """Hands on requests to an S3 server, without the condition."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        behind = HTTPConnection(self.server.behind)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "if-none-match"}
        behind.request(self.command, self.path, body, headers)
        reply = behind.getresponse()
        data = reply.read()
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", reply.getheader("Content-Length") or str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_DELETE = do_POST = do_PUT  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_store_that_overwrites_what_is_there_is_refused(
    store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.expect_conditional(out)
    assert files.names(out) == set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Careless) as careless:
        careless.behind = store.endpoint.removeprefix("http://")  # type: ignore[attr-defined]
        threading.Thread(target=careless.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{careless.server_address[1]}")
        s3_server.forget_clients()
        with pytest.raises(OSError, match="does not heed If-None-Match"):
            files.expect_conditional(files.located(str(out)))
        careless.shutdown()


# --- parts and shards -------------------------------------------------------------------------------------------


def commit(work: Path, texts: list[str], seconds: float = 1.0) -> Receipt:
    rows = [{"record_id": t, "label": 4, "subset": "train", "source_uri": "a", "source_row": 0} for t in texts]
    kept = pa.Table.from_pylist(rows, schema=KEPT)
    counts = (StageCount("read", "row", len(rows), len(rows), {}, 0.5),)
    chunk = Chunk(some_split(), kept, REJECTED.empty_table(), stages=counts)
    return parts.commit(work, "part", "plan", chunk, kept, {}, seconds)


def test_workers_who_finish_a_split_at_once_agree_on_one_receipt_which_holds(out: Path) -> None:
    """As when a machine was given up for lost and goes on, and a model has answered it otherwise."""
    found = together(8, lambda number: commit(out, [f"row of {number}"], seconds=number))
    receipt = parts.read_receipt(parts.receipt_path(out, "part"))
    assert all(one == receipt for one in found)
    assert parts.load(out, receipt, "kept")["record_id"].to_pylist() == [f"row of {int(receipt.seconds)}"]


def test_a_damaged_part_is_found_and_computed_anew(out: Path) -> None:
    receipt = commit(out, ["a", "b"])
    (path,) = (out / "parts" / "part").glob("kept-*")
    files.write_bytes(path, b"not these rows")
    with pytest.raises(PartError, match="differs from its receipt"):
        parts.load(out, receipt, "kept")
    assert receipts.listing(out).is_empty()
    assert parts.load(out, commit(out, ["a", "b"]), "kept")["record_id"].to_pylist() == ["a", "b"]


def test_a_shard_is_copied_into_a_snapshot_which_is_none_before_its_manifest(out: Path) -> None:
    group = snapshots.group([snapshots.mark(commit(out, ["a", "b"]))])
    snapshots.write_shard(out, group, KEPT, REJECTED)
    snapshot = out / "snapshots" / f"0001-{'0' * 12}"
    listed = snapshots.listed(out, [group])
    with snapshots.built(snapshot, b'{"schema_version": 1, "shards": []}') as folder:
        assert snapshots.place(out, [group], folder) == listed
        assert snapshots.published(snapshot.parent) == {}
        assert [path.name for path in snapshots.stray_attempts(snapshot.parent)] == [snapshot.name]
    assert snapshots.published(snapshot.parent) == {"0" * 12: snapshot}
    assert [shard["path"] for shard in listed] == ["data/train-00000-of-00001.parquet"]
    assert files.sha256(snapshot / listed[0]["path"]) == listed[0]["sha256"]
    assert list(snapshots.stray_attempts(snapshot.parent)) == []


# --- the journal and leases -------------------------------------------------------------------------------------


def key(number: int) -> str:
    return f"{number:032x}"


def test_writers_of_a_journal_at_once_agree_on_its_order(out: Path) -> None:
    """Each is told what counts for a key, and that is what the journal says later."""

    def add(number: int) -> list[Answer]:
        with Journal(out, seconds=60) as opened:
            futures = [opened.add(key(at), "engine", REQUEST, Answer(text=f"{number}")) for at in range(5)]
        return [future.result(0) for future in futures]

    told = together(6, add)
    assert sorted(files.names(out)) == [f"{number:08}.parquet" for number in range(6)]
    with Journal(out) as opened:
        counting = opened.find([key(at) for at in range(5)])
    assert len({answer.text for answer in counting.values()}) == 1
    assert all(answers == list(counting.values()) for answers in told)
    assert journal.summary(out).requests == 30


def test_a_merged_journal_answers_the_same(out: Path) -> None:
    for number in range(6):
        with Journal(out, seconds=60) as opened:
            opened.add(key(number), "engine", REQUEST, Answer(text=f"answer {number}"))
    with Journal(out) as reading:
        journal.merge(out, at_least=4)
        assert files.names(out) == {"00000000-00000005.parquet"} or len(files.names(out)) < 6
        found = reading.find([key(number) for number in range(6)])
    assert [found[key(number)].text for number in range(6)] == [f"answer {number}" for number in range(6)]


def test_workers_together_spend_the_budget_and_no_more(out: Path) -> None:
    def spend(number: int) -> int:
        budget, spent = Budget(out / "leases", 20, None, Price()), 0
        while True:
            try:
                budget.take(REQUEST)
            except BudgetError:
                return spent
            spent += 1

    assert sum(together(4, spend)) == 20

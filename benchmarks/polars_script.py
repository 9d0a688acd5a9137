"""The same curation as a bare script: one process, Polars on all cores, nothing but the kept rows.

    python benchmarks/polars_script.py .bench/chats .bench/kept.parquet

What a competent user would write for one machine: the files are read once, chunk by chunk, each chunk goes through the very
functions that Sluice calls, with the settings of configs/feedback.yaml; keys seen so far and rows kept so far stay in memory.
No receipts, no rejected rows, no checksums, no restart. Prints counts and seconds as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import feedback
from schemas.feedback import KEPT
from schemas.provenance import SourceFile, Split
from transforms.io import chats, files, keys, reading
from transforms.io.chats import ChatSource
from transforms.io.tables import shaped

CHUNK_ROWS: Final = 10_000
COLUMNS: Final = (
    *("conversation_hash", "hashed_ip", "model", "language", "timestamp", "toxic", "redacted"),
    *(
        f"conversation.list.element.{name}"
        for name in ("role", "content", "hashed_ip", "language", "timestamp", "toxic", "redacted")
    ),
    "openai_moderation.list.element.flagged",
)
"""What the transforms read; the rest is not decoded."""


def chunks(path: Path, rows: int) -> Iterator[pa.Table]:
    """A file's conversations, so many at a time."""
    schema = chats.WILDCHAT.schema()
    at = 0
    for batch in pq.ParquetFile(path).iter_batches(rows, columns=list(COLUMNS), use_threads=True):
        table = reading.conform(pa.Table.from_batches([batch]), schema)
        yield table.append_column("source_row", pa.array(range(at, at + len(table)), pa.int64()))
        at += len(table)


class Seen:
    """What is known of the whole data set so far: first owner of every exchange, and who shares what with whom."""

    def __init__(self, find_keys: Callable[[pa.Table], pa.Table]) -> None:
        self.find_keys = find_keys
        self.first = pl.DataFrame(schema={"key": pl.UInt64, "check": pl.UInt64, "first": pl.UInt64})
        self.edges: list[pl.DataFrame] = []
        self.links: list[pl.DataFrame] = []

    def fresh(self, conversations: pa.Table) -> pl.DataFrame:
        """Rows and ordinals of the instances that no earlier one equals."""
        found = pl.DataFrame(self.find_keys(conversations))
        new = found.unique(["key", "check"], keep="first", maintain_order=True)
        new = new.join(self.first, on=["key", "check"], how="anti", maintain_order="left")
        self.first = pl.concat([self.first, new.select("key", "check", first="owner")])
        all_first = found.join(self.first, on=["key", "check"], how="left")
        self.edges.append(
            all_first.filter(pl.col("owner") != pl.col("first")).select(owner="first", other="owner").unique()
        )
        self.links.append(found.select("conversation", "owner").unique())
        return new.select("source_row", "ordinal")

    def groups(self) -> pl.DataFrame:
        """Owners who must not be torn between train and test."""
        return keys.components(pl.concat([*self.edges, keys.shared(pl.concat(self.links).unique())]).unique())


def curate(sources: Path, target: Path, mining_window: int, rows: int, user_key: str) -> dict[str, int]:
    """Parquet files to one Parquet file of kept rows; counts rows read, instances, and rows kept."""
    config = feedback.FeedbackConfig.model_validate(
        {
            "pipeline": "feedback",
            "dataset": {"name": "bench"},
            "sources": [{"uri": str(sources)}],
            "mining": {"window": mining_window},
        }
    )
    source = ChatSource((None,), ({},), config.max_line_bytes)
    with tempfile.TemporaryDirectory() as folder:
        recipe: Any = feedback.recipe(config, source, user_key)
        extract, _, *between, label = recipe.stages(Path(folder))
        seen, kept, read, instances = Seen(recipe.key_pass.keywords["read_keys"].keywords["keys"]), [], 0, 0
        for path in sorted(sources.glob("*.parquet")):
            split = Split(SourceFile(str(path), path.name, 0, "parquet", "wildchat", 0, "", "", ""), 0, 0, 0, 0)
            for table in chunks(path, rows):
                conversations, _ = chats.to_conversations(table, chats.WILDCHAT)
                frame = extract.run(pl.DataFrame(conversations), split)
                read, instances = read + len(table), instances + frame.filter(unit="instance").height
                frame = _passed(frame).join(seen.fresh(conversations), on=["source_row", "ordinal"], how="semi")
                for stage in between:
                    frame = _passed(stage.run(frame, split))
                kept.append(frame)
        groups = seen.groups().to_arrow()
        nothing = [pa.nulls(len(groups), kind) for kind in keys.LIST.types[:3]]
        listed = pa.Table.from_arrays(
            [*nothing, *groups.cast(pa.schema(list(keys.LIST)[3:])).columns], schema=keys.LIST
        )
        files.write_arrow(Path(folder) / f"{split.key}.0.all.arrow", listed)
        labelled = label.run(pl.concat(kept), split)
        pl.DataFrame(shaped(labelled, KEPT)).write_parquet(target, compression="zstd", compression_level=3)
    return {"rows": read, "instances": instances, "kept": len(labelled), "test": labelled.filter(subset="test").height}


def _passed(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows that the last stage let through."""
    frame = frame.filter(pl.col("reason").is_null()) if "reason" in frame.columns else frame
    return frame.drop("reason", "detail", "failed", "unit", strict=False)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, help="a folder of Parquet files in WildChat's schema")
    parser.add_argument("target", type=Path, help="the Parquet file to write")
    parser.add_argument("--mining-window", type=int, default=0, help="0 leaves the encoder out (default)")
    parser.add_argument("--chunk-rows", type=int, default=CHUNK_ROWS)
    parser.add_argument("--user-key", default="", help="the key of the published user hashes")
    given = parser.parse_args()
    began = time.perf_counter()
    counts = curate(given.sources, given.target, given.mining_window, given.chunk_rows, given.user_key)
    print(json.dumps({**counts, "seconds": round(time.perf_counter() - began, 3)}))


if __name__ == "__main__":
    main()

"""What the tests of the text room share: real documents, where they are at hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

SHARED_TEXTS = Path(__file__).resolve().parents[4] / "shared" / "data" / "text"


@pytest.fixture(scope="session")
def shared_texts() -> pl.Series:
    """Real documents, which only some checkouts have beside them: web pages, encyclopedia articles, a book of plays."""
    if not SHARED_TEXTS.is_dir():
        pytest.skip(f"no real texts at {SHARED_TEXTS}")
    pages = (SHARED_TEXTS / "web_wiki_471.jsonl").read_text(encoding="utf-8").splitlines()
    with gzip.open(SHARED_TEXTS / "dolma_documents_000.json.gz", "rt", encoding="utf-8") as lines:
        documents = [json.loads(line)["text"] for line in [*pages, *lines]]
    return pl.Series("text", [*documents, (SHARED_TEXTS / "tinyshakespeare.txt").read_text(encoding="utf-8")])

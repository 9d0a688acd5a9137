"""How fast a quality classifier is trained and applied, and how well it tells Wikipedia from web pages.

python -m benchmarks.classifiers ../shared/data
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, get_args

import polars as pl

from transforms.text import classification
from transforms.text.classification import MAX_CHARACTERS, Classifier, Preparation
from transforms.text.fasttext_models import Model

REPEATS: Final = 5
HELD_OUT: Final = 0.3


def main() -> None:
    lines = Path(sys.argv[1], "text", "web_wiki_471.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    texts = pl.Series("text", [document["text"] for document in found])
    labels = pl.Series("label", ["wiki" if "wiki" in document["source"] else "web" for document in found])
    many = pl.concat([texts] * REPEATS)
    size = int(many.str.head(MAX_CHARACTERS).str.len_bytes().sum()) / 1e6
    for preparation in get_args(Preparation):
        examples = classification.examples(texts, labels, preparation, MAX_CHARACTERS, HELD_OUT)
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            model = classification.train(examples, {}, Path(folder, "lines.txt"))
            trained = time.process_time() - began
            model.save_model(str(Path(folder, "model.bin")))
            classifier = Classifier(Model.find(Path(folder, "model.bin")), "wiki", preparation, MAX_CHARACTERS)
            classification.score(texts, classifier)
            began = time.process_time()
            classification.score(many, classifier)
            scored = time.process_time() - began
        print(f"{preparation}: trained in {trained:.1f} CPU s; {size / scored:.1f} MB/s of CPU scored ({size:.1f} MB)")
        for label, measured in classification.evaluate(model, examples).items():
            print(f"  {label}: {measured._asdict()}")


if __name__ == "__main__":
    main()

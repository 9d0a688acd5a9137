"""What the cascade would save and change, on real chats.

    python benchmarks/cascade.py ../shared/data/chats

There is no large model here to label them. The rules judge takes its place behind an OpenAI-compatible server: the pipeline runs as with any
model, its answers go through the journal, and ``sluice cascade`` learns from them. A model's labels are harder to learn than those
of rules, so read the figures as an upper bound of what is saved at a given change.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import polars as pl
import yaml

from transforms.models import rules
from transforms.models.prompts import BREAK, PREFIX

SLUICE = str(Path(sys.executable).parent / "sluice")
RULES = rules.load(files("configs").joinpath("feedback", "judge.yaml"))


class Judge(BaseHTTPRequestHandler):
    """Answers with the rules' level of the last quoted block."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        content = request["messages"][-1]["content"]
        block = content.rpartition("the one to label:\n")[2].split("\n\nEnd of the chat.")[0]
        said = "\n".join(line.removeprefix(PREFIX) for line in block.split("\n")).replace(BREAK, "")
        level = rules.classify(pl.Series([said]), RULES)["label"][0]
        answer = json.dumps({"reason": "rules", "level": int(level)})
        choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    chats = Path(sys.argv[1]).resolve()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        model = {"engine": "openai", "model": "rules", "base_url": f"http://127.0.0.1:{server.server_port}/v1"}
        values = {
            "pipeline": "feedback",
            "dataset": {"name": "cascade"},
            "sources": [{"uri": str(chats / "*.jsonl")}],
            "judge": {"model": {**model, "in_flight": 8}, "context": "feedback"},
            "mining": {"window": 0},
        }
        config = Path(folder, "cascade.yaml")
        config.write_text(yaml.safe_dump(values))
        out = str(Path(folder, "out"))
        subprocess.run([SLUICE, "run", str(config), "--output", out, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([SLUICE, "cascade", str(config), "--output", out], check=True)


if __name__ == "__main__":
    main()

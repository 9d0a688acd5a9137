"""What all contestants of ``text_filters.py`` share: the documents they are given, the patterns, and how they tell what it took.

Runs in every contestant's own environment: standard library only.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path

Kept = dict[str, Iterable[str]]
"""The ids of the documents that are kept, for each set of rules."""

# White_Space, and what of it ends a line, as character classes that Rust's regular expressions and RE2 read alike.
_BLANK = r"\t \x{a0}\x{1680}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}"
_BREAK = r"\n-\r\x{85}\x{2028}\x{2029}"
_SPACE = _BLANK + _BREAK

WORD = rf"[^{_SPACE}]+"
SPACE = rf"[{_SPACE}]"
HASH = "#"
ELLIPSIS = r"\.\.\.|…"
LINE = rf"[^{_BREAK}]*[^{_SPACE}][^{_BREAK}]*"
BULLET_LINE = rf"(?:\A|[{_BREAK}])[{_SPACE}]*[•‣◦⁃▪*-]"
ELLIPSIS_LINE = rf"(?:\.\.\.|…)[{_BLANK}]*(?:[{_BREAK}]|\z)"
ALPHABETIC_WORD = rf"[^{_SPACE}]*\p{{Alphabetic}}[^{_SPACE}]*"
LETTER_WORD = rf"[^{_SPACE}]*[\p{{L}}\p{{Nl}}][^{_SPACE}]*"  # RE2 does not know Alphabetic
STOP_WORDS = tuple(rf"(?:\A|[{_SPACE}]){word}(?:[{_SPACE}]|\z)" for word in "the be to of and that have with".split())


def compete(keep: Callable[[list[str]], Kept]) -> None:
    """Run a contestant as the command line says: once on a few documents, then so many times on those that count.

    The last line printed is JSON: wall and CPU seconds of this process for one run, imports, models, compilation and the first run
    left out, and the largest resident size.

    Args:
        keep: From Parquet files (``id``, ``text``) to the ids that are kept.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--few", required=True)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("documents", nargs="+")
    given = parser.parse_args()
    keep([given.few])
    began, cpu = time.perf_counter(), spent()
    for _ in range(given.times):
        kept = keep(given.documents)
    seconds, cpu = (time.perf_counter() - began) / given.times, (spent() - cpu) / given.times
    given.kept.write_text(json.dumps({name: sorted(ids) for name, ids in kept.items()}))
    status = Path(
        "/proc/self/status"
    ).read_text()  # getrusage's peak would begin with that of the process that started this one
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print("\n" + json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak}), flush=True)


def spent() -> float:
    """CPU seconds of this process, and of its children that have ended, so far."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)

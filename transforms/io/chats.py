"""Chat formats people have, read into one conversation schema.

A format is a ``Mapping``: which column holds the turns, which of their fields the role and the text.
Message trees are first laid out as threads (``tree_threads``), after which they are a mapping too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.conversation import CONVERSATION, ROLES
from schemas.provenance import Chunk, Container, SourceFile, Split
from transforms.io import reading, sources
from transforms.io.keys import KeyTable
from transforms.io.reading import BROKEN, Prepare, Reject, read
from transforms.io.sources import Probe, Recognised, SourceError
from transforms.text import language

_ROLES: Final = {
    **{role: role for role in ROLES},
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "developer": "system",
    "function": "tool",
    "observation": "tool",
}


VERSION: Final = 1
"""Raised whenever the same bytes give other conversations; part of the plan."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """Where a source keeps what a conversation needs. Names are columns, or fields of a turn.

    ``turns``, ``role`` and ``content`` must exist; every other one may be None or absent from a file.
    ``moderation`` is a column with one struct a message, holding ``flagged``. ``id_suffix`` is a regular
    expression for the end of an id that tells pieces of one conversation apart (ShareGPT: ``_12``).
    ``message_user`` is used where there is no ``user`` column: the first user named in the conversation.
    """

    turns: str
    role: str = "role"
    content: str = "content"
    id: str | None = None
    id_suffix: str | None = None
    user: str | None = None
    model: str | None = None
    language: str | None = None
    time: str | None = None
    toxic: str | None = None
    redacted: str | None = None
    moderation: str | None = None
    message_user: str | None = None
    message_language: str | None = None
    message_time: str | None = None
    message_toxic: str | None = None
    message_redacted: str | None = None
    seen: str | None = None
    roles: MappingABC[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def schema(self) -> pa.Schema:
        """The source columns to read, with their types."""
        text, time, flag = pa.large_string(), pa.timestamp("us", tz="UTC"), pa.bool_()
        message = [(self.role, text), (self.content, text)]
        message += [(n, text) for n in (self.message_user, self.message_language) if n]
        message += [(self.message_time, time)] if self.message_time else []
        message += [(n, flag) for n in (self.message_toxic, self.message_redacted) if n]
        columns = [(self.turns, pa.large_list(pa.struct(message)))]
        columns += [(n, text) for n in (self.id, self.user, self.model, self.language) if n]
        columns += [(self.time, time)] if self.time else []
        columns += [(n, flag) for n in (self.toxic, self.redacted) if n]
        if self.moderation:
            columns.append((self.moderation, pa.large_list(pa.struct([("flagged", flag)]))))
        if self.seen:
            columns.append((self.seen, pa.int32()))
        return pa.schema(list(dict(columns).items()))

    def keys_only(self) -> Mapping:
        """The part that identifies exchanges and their owners, which is all the key pass reads."""
        return Mapping(
            turns=self.turns,
            role=self.role,
            content=self.content,
            id=self.id,
            id_suffix=self.id_suffix,
            user=self.user,
            message_user=self.message_user,
            seen=self.seen,
            roles=self.roles,
        )


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """A named format: the fields that give it away, its mapping, and how a JSON object is made to fit.

    ``rowwise``: ``prepare`` is applied to the rows of Parquet files too (a user's own reader). ``code`` is the SHA-256
    of such a reader.
    """

    name: str
    signature: frozenset[str]
    mapping: Mapping
    prepare: Prepare
    rowwise: bool = False
    code: str = ""


def as_is(item: dict[str, Any]) -> list[dict[str, Any]]:
    """One object, one conversation."""
    return [item]


def joined_parts(item: dict[str, Any]) -> list[dict[str, Any]]:
    """OpenAI messages whose content is a list of parts: texts joined, other parts named in brackets."""
    messages = item.get("messages")
    if not isinstance(messages, list) or all(isinstance(m.get("content"), str | None) for m in messages):
        return [item]
    return [{**item, "messages": [{**m, "content": joined(m.get("content"))} for m in messages]}]


def joined(content: Any) -> Any:
    """The text of a message whose content may be a list of parts."""
    if not isinstance(content, list):
        return content
    return "\n".join(p["text"] if p.get("type") in {"text", "input_text"} else f"[{p['type']}]" for p in content)


def tree_threads(item: dict[str, Any]) -> list[dict[str, Any]]:
    """A message tree as one thread per leaf, in depth-first order.

    ``seen`` counts the leading messages that an earlier thread has shown, so that each message is new in
    exactly one thread. Deleted messages stay: their replies answer them.
    """
    threads: list[dict[str, Any]] = []
    path: list[dict[str, Any]] = []
    stack = [(item["prompt"], 0)]
    seen = 0
    while stack:
        node, depth = stack.pop()
        seen = min(seen, depth)
        del path[depth:]
        path.append({"role": node["role"], "content": node["text"], "language": node.get("lang")})
        replies = node.get("replies") or []
        stack += [(reply, depth + 1) for reply in reversed(replies)]
        if not replies:
            threads.append(
                {"tree": item["message_tree_id"], "messages": list(path), "seen": seen, "model": node.get("model_name")}
            )
            seen = len(path)
    return threads


WILDCHAT: Final = Mapping(
    turns="conversation",
    id="conversation_hash",
    user="hashed_ip",
    model="model",
    language="language",
    time="timestamp",
    toxic="toxic",
    redacted="redacted",
    moderation="openai_moderation",
    message_user="hashed_ip",
    message_language="language",
    message_time="timestamp",
    message_toxic="toxic",
    message_redacted="redacted",
)

FORMATS: Final = (
    ChatFormat("wildchat", frozenset({"conversation_hash", "conversation"}), WILDCHAT, as_is),
    ChatFormat(
        "lmsys",
        frozenset({"conversation_id", "conversation"}),
        Mapping(
            turns="conversation",
            id="conversation_id",
            model="model",
            language="language",
            time="tstamp",
            redacted="redacted",
            moderation="openai_moderation",
        ),
        as_is,
    ),
    ChatFormat(
        "sharegpt",
        frozenset({"conversations"}),
        Mapping(
            turns="conversations",
            role="from",
            content="value",
            id="id",
            id_suffix=r"_\d+$",
            model="model",
            message_language="language",
        ),
        as_is,
    ),
    ChatFormat(
        "openassistant",
        frozenset({"message_tree_id", "prompt"}),
        Mapping(turns="messages", id="tree", model="model", message_language="language", seen="seen"),
        tree_threads,
    ),
    ChatFormat(
        "openai",
        frozenset({"messages"}),
        Mapping(turns="messages", id="id", user="user", model="model", language="language", time="created_at"),
        joined_parts,
    ),
)


CANONICAL: Final = Mapping(
    turns="messages",
    id="id",
    user="user",
    model="model",
    language="language",
    time="time",
    toxic="toxic",
    redacted="redacted",
    message_language="language",
    message_time="time",
)
"""What a user's own reader gives: one dictionary a conversation, of which only ``messages`` is required."""


@dataclass(frozen=True, slots=True)
class ChatSource:
    """How the files of each configured source are read; a format of None is the one detected in each file."""

    formats: tuple[ChatFormat | None, ...]
    options: tuple[MappingABC[str, Any], ...]
    max_line_bytes: int

    @property
    def version(self) -> int:
        """``VERSION``: raised whenever the same bytes give other conversations."""
        return VERSION

    @property
    def containers(self) -> frozenset[Container]:
        """Rows with named fields only."""
        return sources.ROWS

    def recognised(self, source: int, probe: Probe) -> Recognised:
        """The format forced in the config, or the one whose signature is among a file's fields; any, for an empty file.

        Raises:
            SourceError: the fields are of no format.
        """
        form = self.formats[source] or detect(probe.fields) or (FORMATS[0] if probe.empty else None)
        if form is None:
            known = ", ".join(f.name for f in FORMATS)
            fields = ", ".join(sorted(probe.fields)[:8]) or "no JSON object"
            raise SourceError(f"expected one of {known}; found the fields {fields}; force a format or give a mapping")
        return Recognised(form.name, (form.name, repr(form.mapping), form.code))

    def first_rows(self, split: Split, limit: int) -> tuple[int, int | None]:
        """How many of the first ``limit`` lines of a split there are, and where a split of them alone stops."""
        return reading.first_rows(split, limit, self.options[split.file.source], self.max_line_bytes)

    def format_of(self, file: SourceFile) -> ChatFormat:
        """The format forced in the config, or the one that was detected."""
        return self.formats[file.source] or named(file.format)


def read_chunks(split: Split, source: ChatSource, reject: Reject) -> Iterator[Chunk]:
    """A split's conversations as a chunk, its broken rows rejected.

    Raises:
        SourceError: the file cannot be read, or changed since it was planned.
    """
    form, options = source.format_of(split.file), source.options[split.file.source]
    began = time.perf_counter()
    for found in read(split, form.mapping.schema(), form.prepare, options, source.max_line_bytes, form.rowwise):
        conversations, strange = to_conversations(found.rows, form.mapping, split.file.relative_uri)
        broken = pl.DataFrame(pa.concat_tables([found.broken, strange])).sort("source_row")
        yield reading.chunk(found.split, conversations, broken, reject, began, options)
        began = time.perf_counter()


def read_keys(split: Split, source: ChatSource, keys: Callable[[pa.Table], pa.Table]) -> Iterator[KeyTable]:
    """What the key pass reads of a split, and after an open one of all that follow.

    All columns are read, as a row that is broken in any of them must not be the one that duplicates yield to.
    """
    form, options = source.format_of(split.file), source.options[split.file.source]
    mapping = form.mapping.keys_only()
    for found in read(split, form.mapping.schema(), form.prepare, options, source.max_line_bytes, form.rowwise):
        conversations, strange = to_conversations(found.rows, mapping, split.file.relative_uri)
        rows = pl.Series(conversations["source_row"]).n_unique() + found.broken.num_rows + strange.num_rows
        yield KeyTable(found.split, keys(conversations), rows, found.end)


def detect(fields: frozenset[str]) -> ChatFormat | None:
    """The first format whose signature is among a file's column names or first keys."""
    return next((f for f in FORMATS if f.signature <= fields), None)


def named(name: str) -> ChatFormat:
    """The built-in format of that name."""
    return next(f for f in FORMATS if f.name == name)


def to_conversations(rows: pa.Table, mapping: Mapping, file: str = "") -> tuple[pa.Table, pa.Table]:
    """Source rows to (conversations in ``CONVERSATION``, broken rows with source_row, reason, detail).

    A row without messages, or with a role outside ``ROLES`` and the mapping's own, is broken. Absent ids are
    named after file and row, so that every conversation has one.
    """
    frame = _named(rows, mapping)
    size = pl.col("turns").list.len().fill_null(0)
    empty = frame.filter(size == 0).select("source_row", reason=pl.lit("no_messages"), detail=pl.lit(None, pl.String))
    frame = frame.filter(size > 0)
    messages = _messages(frame, mapping)
    lengths = frame["turns"].list.len().cast(pl.Int64)
    unknown = messages.select(_row_of(lengths), "stated", "role").filter(pl.col("role").is_null())
    details = unknown.group_by("row").agg(detail=pl.col("stated").fill_null("null").unique().sort().str.join(", "))
    frame = (
        frame.with_row_index("row")
        .join(details, on="row", how="left", maintain_order="left")
        .with_columns(
            _message_lists(messages.drop("stated"), lengths),
            conversation_id=pl.coalesce("conversation_id", pl.format("{}#{}", pl.lit(file), "source_row")),
        )
    )
    if mapping.message_user:
        named = pl.col("turns").list.eval(pl.element().struct.field(mapping.message_user).drop_nulls()).list.first()
        frame = frame.with_columns(user=pl.coalesce("user", named))
    frame = frame.with_columns(language.codes(frame["language"]))
    flags = pl.col("messages").list.eval(pl.element().struct.field("moderation_flagged"))
    frame = frame.with_columns(
        moderation_flagged=pl.when(flags.list.drop_nulls().list.len() > 0).then(flags.list.any())
    )
    strange = frame.filter(pl.col("detail").is_not_null())
    strange = strange.group_by("source_row", maintain_order=True).agg(
        reason=pl.lit("unknown_role"), detail=pl.col("detail").unique(maintain_order=True).str.join(", ")
    )
    broken = pl.concat([strange, empty]).unique("source_row", keep="first", maintain_order=True)
    good = frame.join(broken, on="source_row", how="anti", maintain_order="left").select(CONVERSATION.names)
    return good.to_arrow(compat_level=pl.CompatLevel.newest()), broken.to_arrow().cast(BROKEN)


def _named(rows: pa.Table, mapping: Mapping) -> pl.DataFrame:
    """The source's columns under names of ours, which no source's names can clash with."""
    stated_id = pl.col(mapping.id) if mapping.id else pl.lit(None, pl.String)
    return pl.DataFrame(rows).select(
        "source_row",
        turns=pl.col(mapping.turns),
        moderation=pl.col(mapping.moderation) if mapping.moderation else pl.lit(None),
        conversation_id=stated_id.str.replace(mapping.id_suffix, "") if mapping.id_suffix else stated_id,
        seen=pl.col(mapping.seen).fill_null(0) if mapping.seen else pl.lit(0, pl.Int32),
        user=_column(mapping.user, pl.String),
        model=_column(mapping.model, pl.String),
        language=_column(mapping.language, pl.String),
        timestamp=_column(mapping.time, pl.Datetime("us", "UTC")),
        toxic=_column(mapping.toxic, pl.Boolean),
        redacted=_column(mapping.redacted, pl.Boolean),
    )


def _messages(frame: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """All messages of all rows, one a line, in the fields of ``MESSAGE`` plus ``stated``, the role as found."""
    columns = [pl.col("turns")]
    if mapping.moderation:
        within = pl.int_ranges(0, pl.col("turns").list.len())
        columns.append(pl.col("moderation").fill_null([]).list.gather(within, null_on_oob=True))
    long = frame.select(columns)
    long = long.explode(long.columns)
    turn = pl.col("turns").struct
    stated = turn.field(mapping.role)
    flag = pl.col("moderation").struct.field("flagged") if mapping.moderation else pl.lit(None, pl.Boolean)
    messages = long.select(
        stated=stated,
        role=stated.str.to_lowercase()
        .str.strip_chars()
        .replace_strict({**_ROLES, **mapping.roles}, default=None, return_dtype=pl.String),
        content=turn.field(mapping.content),
        language=turn.field(mapping.message_language) if mapping.message_language else pl.lit(None, pl.String),
        timestamp=turn.field(mapping.message_time) if mapping.message_time else pl.lit(None, pl.Datetime("us", "UTC")),
        toxic=turn.field(mapping.message_toxic) if mapping.message_toxic else pl.lit(None, pl.Boolean),
        redacted=turn.field(mapping.message_redacted) if mapping.message_redacted else pl.lit(None, pl.Boolean),
        moderation_flagged=flag,
    )
    return messages.with_columns(language.codes(messages["language"]))


def _row_of(lengths: pl.Series) -> pl.Series:
    """The row that each message belongs to."""
    return pl.Series("row", np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths.to_numpy()))


def _message_lists(messages: pl.DataFrame, lengths: pl.Series) -> pl.Series:
    """Fold messages back into one list a row, without copying their text."""
    structs = messages.to_struct("messages").to_arrow(compat_level=pl.CompatLevel.newest())
    offsets = pa.array(np.concatenate([[0], lengths.cum_sum().to_numpy()]), pa.int64())
    return pl.Series("messages", pa.LargeListArray.from_arrays(offsets, structs))


def _column(name: str | None, kind: pl.DataType | type[pl.DataType]) -> pl.Expr:
    return pl.col(name) if name else pl.lit(None, kind)

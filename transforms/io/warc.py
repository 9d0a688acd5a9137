"""Records of web archives: where they start, what they hold, and the text of the pages in them.

Framing is ours, as damage must not end the reading: every record is found by its own header or gzip member, a broken
one is named with its place, and reading goes on at the next start that holds a valid header. What a record says (headers,
digests, HTTP, transfer and content encodings) is parsed by fastwarc, pages are decoded and their main text is extracted
by resiliparse; both come with the extra ``warc`` and are imported when the first record is read.

=========================  ====================================================================================
record                     document
=========================  ====================================================================================
``response``               of status 200: main text of HTML, or plain text as it is
``resource``               the same, without HTTP headers
``conversion`` (WET)       the block, as UTF-8
``revisit``,               rejected: their payload is in another record
``continuation``
``warcinfo``,              none, and no row: they tell of other records
``request``, ``metadata``
=========================  ====================================================================================
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

if TYPE_CHECKING:
    from transforms.io.reading import Window

HEADER_BYTES: Final = 64 * 1024
"""A longer header is none."""

LOOKBACK: Final = 1024 * 1024
"""How far before a split its reader begins, so that it meets the records that reach into the split as they really lie.

An archive stored inside a record is told from the records around it, unless more of it lies before the split.
"""

MAX_HTML_BYTES: Final = 16 * 1024 * 1024
"""Longer pages are not parsed: their tree would take some ten times as much memory."""

_BETWEEN: Final = 64
"""Line ends that may stand between records, where there should be four."""

_INFLATED: Final = 256 * 1024
_BOMB_RATIO: Final = 200
_GLIMPSE: Final = 1024
_FEW_TAGS: Final = 10_000
_MOST_DEPTH: Final = 20_000_000
"""Depths of all elements together. Extraction looks at every node's ancestors: 20 million took about half a second."""

_LONG_TAG: Final = 2_048
_MOST_ATTRIBUTE_PAIRS: Final = 400_000_000
"""Attributes of one element times themselves, over all elements: parsing compares them, which takes about a second."""

_MOST_REOPENED: Final = 4_000_000
"""Kinds of formatting elements times tags. Parsers reopen those left open in every later paragraph: 40 KB of them took
29 s and 1.5 GB.
"""

_FORMATTING: Final = re.compile(
    r"<(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])[^>]*", re.IGNORECASE
)
_TAG: Final = re.compile(r"<[A-Za-z]")
_ATTRIBUTE: Final = re.compile(r"[\s/\"'][^\s/>=\"']")

_HEADER: Final = re.compile(
    rb"WARC/\d\.\d+[ \t]*\r?\n(?P<fields>(?:[!#$%&'*+\-.0-9A-Z^_`a-z|~]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)++)\r?\n"
)
_LENGTH: Final = re.compile(rb"^content-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_LINE: Final = re.compile(rb"(?<=\n)WARC/\d")
_MEMBER: Final = re.compile(rb"\x1f\x8b\x08[\x00-\x1f].{4}[\x00\x02\x04].", re.DOTALL)
_DIGESTS: Final = ("md5:", "sha1:", "sha256:")
_HTML: Final = ("text/html", "application/xhtml+xml")
_PLAIN: Final = ("text/plain", "text/markdown")
_BINARY: Final = ("image/", "audio/", "video/", "font/", "application/pdf", "application/zip", "application/gzip")


class Header(NamedTuple):
    """Bytes of a record's header, its empty line included, and of the block that it promises."""

    size: int
    block: int


class Record(NamedTuple):
    """What stands at a place of an archive: a record's header and block, or a reason why not and what was found."""

    at: int
    data: bytes
    problem: tuple[str, str] | None = None


Row = dict[str, str | None]
"""A document: text, document_id, url, title, date, metadata; or problem and detail."""


def header(data: bytes | bytearray, at: int = 0) -> Header | None:
    """The record header that starts at a place, or None."""
    found = _HEADER.match(data, at, at + HEADER_BYTES)
    length = _LENGTH.search(data, found.start("fields"), found.end("fields")) if found else None
    return Header(found.end() - at, int(length[1])) if found and length else None


def several_in_first_member(head: bytes) -> bool:
    """Whether the first gzip member of an archive goes on behind its first record."""
    try:
        text = zlib.decompressobj(31).decompress(head, 64 * len(head))
    except zlib.error:
        return False
    first = header(text)
    return first is not None and bool(text[first.size + first.block :].strip())


def records(window: Window, start: int, stop: int, max_bytes: int) -> Iterator[Record]:
    """The records that start in [start, stop) of a decompressed stream, in order.

    Args:
        window: the stream, at ``start - LOOKBACK`` or before.
        start: first offset, in decompressed bytes.
        stop: offset after the last.
        max_bytes: longer records are named, not read.
    """
    at = 0 if start <= LOOKBACK else _next_line(window, start - LOOKBACK, stop)
    while at < stop:
        window.fill(at + HEADER_BYTES)
        view = slice(at - window.start, at - window.start + HEADER_BYTES)
        if at >= window.stop or (window.stop - at < HEADER_BYTES and not window.data[view].strip(b"\r\n")):
            return
        found, behind = _record(window, at, max_bytes)
        if at >= start:
            yield found
        at = _next_line(window, behind, stop) if found.problem else behind


def _record(window: Window, at: int, max_bytes: int) -> tuple[Record, int]:
    """The record at a place, and where the next one starts or is to be looked for."""
    head = header(window.data, at - window.start)
    if head is None:
        start = _glimpse(window, at)
        return Record(at, b"", ("broken_record", f"expected a WARC header, found {start!r}")), at + 1
    body, end = at + head.size, at + head.size + head.block
    if head.size + head.block > max_bytes:
        return Record(at, b"", ("document_too_long", f"the record is longer than {max_bytes} bytes")), body
    window.fill(end + _BETWEEN + len(b"WARC/"))
    if window.stop < end:
        detail = f"Content-Length {head.block}, but the file ends after {window.stop - body} bytes"
        return Record(at, b"", ("broken_record", detail)), body
    between = window.data[end - window.start : end - window.start + _BETWEEN]
    behind = end + len(between) - len(between.lstrip(b"\r\n"))
    closed = between.startswith(b"\r\n\r\n") or window.data.startswith(b"WARC/", behind - window.start)
    if behind < window.stop and not closed:
        found = _glimpse(window, end)
        return Record(at, b"", ("broken_record", f"Content-Length {head.block}, but {found!r} follows the block")), body
    return Record(at, bytes(window.data[at - window.start : end - window.start])), behind


def _glimpse(window: Window, at: int) -> bytes:
    return bytes(window.data[at - window.start : at - window.start + 20])


def _next_line(window: Window, at: int, stop: int) -> int:
    """The next place before ``stop`` where a line begins that is a record's header; ``stop`` where there is none."""
    window.fill(stop + HEADER_BYTES)
    origin = window.start
    for found in _LINE.finditer(window.data, max(0, at - origin), stop - origin + len(b"WARC/1")):
        if header(window.data, found.start()) and at <= origin + found.start() < stop:
            return origin + found.start()
    return stop


def members(window: Window, start: int, stop: int, max_bytes: int, bound: int) -> Iterator[Record]:
    """The records whose gzip members start in [start, stop) of a file as stored, in order.

    Args:
        window: the stored bytes, at ``start - LOOKBACK`` or before.
        start: first offset, in stored bytes.
        stop: offset after the last.
        max_bytes: longer records are named, not kept.
        bound: decompressed bytes that the split may hold.

    Raises:
        OSError: the members expand further than ``bound``.
    """
    at = 0 if start <= LOOKBACK else _next_member(window, start - LOOKBACK, stop)
    expanded = 0
    while at < stop:
        window.fill(at + HEADER_BYTES)
        if at >= window.stop:
            return
        found = _member(window, at, max_bytes)
        if at >= start:
            expanded += found.size
            if expanded > bound:
                raise OSError(
                    f"{stop - start} bytes expand to more than {bound}; raise max_expansion if they are no bomb"
                )
            if found.record.data or found.record.problem:
                yield found.record
        at = found.behind if found.whole else _next_member(window, found.behind, stop)


class _Member(NamedTuple):
    """A gzip member: its record, the bytes it expanded to, and where the next starts (``whole``) or may start."""

    record: Record
    size: int
    behind: int
    whole: bool


def _member(window: Window, at: int, max_bytes: int) -> _Member:
    """The gzip member at a place. Of one that holds too much, no more is kept; where it is a bomb, no more is read."""
    too_long = Record(at, b"", ("document_too_long", f"the record is longer than {max_bytes} bytes"))
    inflate, text, size, place = zlib.decompressobj(31), bytearray(), 0, at
    try:
        while not inflate.eof:
            window.fill(place + _INFLATED)
            stored = bytes(window.data[place - window.start : place - window.start + _INFLATED])
            if not stored:
                detail = f"the gzip member is cut off after {place - at} bytes"
                return _Member(Record(at, b"", ("broken_record", detail)), size, max(at + 1, window.start), whole=False)
            more = inflate.decompress(stored, _INFLATED)
            place += len(stored) - len(inflate.unused_data if inflate.eof else inflate.unconsumed_tail)
            size += len(more)
            if size <= max_bytes:
                text += more
            elif size > _BOMB_RATIO * (place - at):
                return _Member(too_long, size, max(at + 1, window.start), whole=False)
            else:
                window.discard(place)
    except zlib.error as error:
        broken = Record(at, b"", ("broken_record", f"gzip: {error}"))
        return _Member(broken, size, max(at + 1, window.start), whole=False)
    if size > max_bytes:
        return _Member(too_long, size, place, whole=True)
    problem, head = _not_one_record(text), header(text)
    data = bytes(text[: head.size + head.block]) if head and not problem else b""
    return _Member(Record(at, data, problem), size, place, whole=True)


def _not_one_record(text: bytearray) -> tuple[str, str] | None:
    """Why a member's bytes are not exactly one record; an empty member is nothing at all."""
    head = header(text)
    if head is None:
        found = bytes(text[:20])
        return ("broken_record", f"expected a WARC header, found {found!r}") if text else None
    held = len(text) - head.size
    if held < head.block:
        return "broken_record", f"Content-Length {head.block}, but the gzip member holds {held} bytes"
    if rest := bytes(text[head.size + head.block : head.size + head.block + _BETWEEN]).strip(b"\r\n"):
        return "broken_record", f"Content-Length {head.block}, but {rest[:20]!r} follows the block"
    return None


def _next_member(window: Window, at: int, stop: int) -> int:
    """The next place before ``stop`` where a gzip member begins that holds a record; ``stop`` where there is none."""
    window.fill(stop + HEADER_BYTES)
    origin = window.start
    for found in _MEMBER.finditer(window.data, max(0, at - origin), stop - origin + 10):
        place = origin + found.start()
        if place < stop and _holds_record(window.data, found.start()):
            return place
    return stop


def _holds_record(data: bytearray, at: int) -> bool:
    try:
        if zlib.decompressobj(31).decompress(data[at : at + _GLIMPSE], 5) != b"WARC/":
            return False
        inflate = zlib.decompressobj(31)
        return header(inflate.decompress(data[at : at + HEADER_BYTES], HEADER_BYTES)) is not None
    except zlib.error:
        return False


def missing() -> str | None:
    """What has to be installed to read archives, or None."""
    lacking = [name for name in ("fastwarc", "resiliparse") if importlib.util.find_spec(name) is None]
    return f'WARC files need {" and ".join(lacking)}: pip install "sluice-curation[warc]"' if lacking else None


def reader() -> tuple[str, ...]:
    """The packages that decide what text a page gives, with their versions."""
    return tuple(f"{name} {importlib.metadata.version(name)}" for name in ("fastwarc", "resiliparse"))


def document(record: Record, max_bytes: int) -> Row | None:
    """The document that a record holds, why it holds none, or None for records that only tell of others.

    Args:
        record: as ``records`` and ``members`` give it.
        max_bytes: longer payloads, once decoded, are named, not read.

    Raises:
        ImportError: the extra ``warc`` is not installed.
    """
    from fastwarc.warc import WarcRecord, WarcRecordType

    if record.problem:
        return _problem(*record.problem)
    try:
        parsed = WarcRecord.from_bytes(record.data)
        kind = parsed.record_type
        if kind in (WarcRecordType.warcinfo, WarcRecordType.request, WarcRecordType.metadata):
            return None
        return {**_facts(parsed), **_content(parsed, kind, WarcRecordType, max_bytes)}
    except (OSError, ValueError, LookupError) as error:
        return _problem("broken_record", str(error))


def _problem(reason: str, detail: str) -> Row:
    return {"problem": reason, "detail": detail[:200]}


def _facts(parsed: Any) -> Row:
    """What the headers tell of a document."""
    headers = parsed.headers
    told = {
        "content_languages": headers.get("WARC-Identified-Content-Language"),
        "payload_type": headers.get("WARC-Identified-Payload-Type"),
        "truncated": headers.get("WARC-Truncated"),
    }
    metadata = {name: value for name, value in told.items() if value}
    return {
        "document_id": (headers.get("WARC-Record-ID") or "").strip("<> ") or None,
        "url": (headers.get("WARC-Target-URI") or "").strip("<> ") or None,
        "date": headers.get("WARC-Date"),
        "metadata": orjson.dumps(metadata).decode() if metadata else None,
    }


def _content(parsed: Any, kind: Any, kinds: Any, max_bytes: int) -> Row:
    """The text of a record, and a page's title."""
    if kind in (kinds.revisit, kinds.continuation):
        return _problem("no_payload", f"a record of type {parsed.headers.get('WARC-Type')}")
    if kind not in (kinds.response, kinds.resource, kinds.conversion):
        return _problem("not_text", f"a record of type {parsed.headers.get('WARC-Type')}")
    stated = parsed.headers.get("WARC-Block-Digest") or ""
    if stated.lower().startswith(_DIGESTS) and not parsed.verify_block_digest():
        return _problem("digest_mismatch", f"the block is not that of {stated}")
    content_type, charset = parsed.headers.get("Content-Type"), None
    if kind == kinds.response:
        if not (content_type or "").lower().startswith("application/http"):
            return _problem("not_text", f"a response of type {content_type}")
        try:
            parsed.parse_http(auto_decode="all")
        except OSError as error:
            return _problem("payload_broken", str(error))
        status = parsed.http_headers.status_code if parsed.http_headers else None
        if status is None:
            return _problem("payload_broken", "expected an HTTP status line")
        if status != 200:
            return _problem("http_error", f"status {status}")
        content_type, charset = parsed.http_content_type, parsed.http_charset
    try:
        payload = parsed.reader.read(max_bytes + 1)
    except OSError as error:
        return _problem("payload_broken", str(error))
    if len(payload) > max_bytes:
        return _problem("document_too_long", f"the payload is longer than {max_bytes} bytes")
    return _text(payload, content_type or "", charset, kind == kinds.conversion)


def _text(payload: bytes, content_type: str, charset: str | None, is_text: bool) -> Row:
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding, detect_mime, map_encoding_to_html5

    mime = content_type.partition(";")[0].strip().lower()
    detected = detect_mime(payload) or ""
    if not mime or mime in ("application/octet-stream", "application/unknown", "unknown/unknown"):
        mime = _PLAIN[0] if is_text else detected
    if mime not in (*_HTML, *_PLAIN) or detected.startswith(_BINARY):
        return _problem("not_text", mime if mime not in (*_HTML, *_PLAIN) else f"{detected} under the name of {mime}")
    if is_text and mime in _PLAIN:
        try:
            return {"text": payload.decode("utf-8")}
        except UnicodeDecodeError as error:
            return _problem("invalid_utf8", str(error))
    html = mime in _HTML
    if html and len(payload) > MAX_HTML_BYTES:
        return _problem("document_too_long", f"the page is longer than {MAX_HTML_BYTES} bytes")
    stated = map_encoding_to_html5(charset, fallback_utf8=False) if charset else None  # never punycode, hex or the like
    text = bytes_to_str(payload, stated or detect_encoding(payload, from_html_meta=html) or "utf-8")
    return _main_text(text) if html else {"text": text}


def _main_text(html: str) -> Row:
    """Main text and title of a page.

    Parsing costs the square of an element's attributes and may reopen all formatting in every paragraph, and extraction
    costs the square of the depth of nesting; all are estimated first, on the safe side.
    """
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLParserException, HTMLTree, traverse_dom

    depths = 0

    def enter(context: Any) -> None:
        nonlocal depths
        depths += context.depth
        if depths > _MOST_DEPTH:
            raise _TooDeepError

    if _attribute_pairs(html) > _MOST_ATTRIBUTE_PAIRS:
        return _problem("extraction_failed", "elements have too many attributes")
    if _reopened(html) > _MOST_REOPENED:
        return _problem("extraction_failed", "too many kinds of formatting elements")
    try:
        tree = HTMLTree.parse(html)
        if tree.body and html.count("<") > _FEW_TAGS:
            traverse_dom(tree.body, enter, elements_only=True)
        text = extract_plain_text(tree, main_content=True)
    except _TooDeepError:
        return _problem("extraction_failed", "elements are nested too deeply")
    except HTMLParserException as error:
        return _problem("extraction_failed", str(error))
    return {"text": text, "title": " ".join((tree.title or "").split()) or None}


def _attribute_pairs(html: str) -> int:
    """At most how many pairs of attributes the elements with long start tags have."""
    long = [piece for piece in html.split(">") if len(piece) > _LONG_TAG]
    tags = [piece[found.start() :] for piece in long if (found := _TAG.search(piece))]
    return sum(len(_ATTRIBUTE.findall(tag)) ** 2 for tag in tags)


def _reopened(html: str) -> int:
    """At most how many formatting elements a parser makes of those that are not closed: of one kind, three at a time.

    Links are not counted, as each closes the one before it. A start tag with a lone quote goes on behind what is seen.
    """
    tags = html.count("<")
    if tags * tags < _MOST_REOPENED:
        return 0
    found: list[str] = _FORMATTING.findall(html)
    lone = sum(tag.count('"') % 2 or tag.count("'") % 2 for tag in found)
    return (3 * len(set(found)) + lone) * tags


class _TooDeepError(Exception):
    pass

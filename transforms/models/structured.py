"""Structured answers: what validation makes of the text a model wrote. There is no default label.

An answer is used where it is one JSON object that satisfies the schema, or where its prose holds that and no other
object. JSON is read to the letter: no NaN, no trailing commas, no repeated keys, no lone surrogates. Numbers without a
fractional part are integers (3.0 is 3, as in JSON schema), those beyond 64 bits are not read; true is no number, "3" neither.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

import orjson

from schemas.answers import Answer

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

MAX_DEPTH: Final = 64
"""Nesting of objects and arrays that is read; deeper JSON counts as unreadable."""

MAX_DIGITS: Final = 100
"""Characters of a fraction that are read."""

_FENCE: Final = re.compile(r"```(?:json)?\s", re.IGNORECASE)
_OBJECT: Final = re.compile(r"""\{\s*+(?:["'`“”‘’\\}]|[\w-]++\s*+:)""")
"""How JSON objects begin, and what is meant for one: keys without quotes or with others, escaped JSON."""


def check(answer: Answer, schema: str | None) -> tuple[str, Any]:
    """What came of an answer: a status of ``STATUSES``, and the value, which is None unless the status is usable.

    Args:
        answer: of kind ``chat``.
        schema: JSON schema of an object (Draft 2020-12, without references); None: any text will do, and is the value.

    Never raises, whatever the text; the time is linear in its length.
    """
    if answer.failure is not None:
        return "failed", None
    if answer.finish_reason == "length":
        return "length", None
    if not _trimmed(answer.text):
        thought = schema is not None and answer.reasoning and _read(answer.reasoning, schema)[0] in ("ok", "extracted")
        return ("in_reasoning" if thought else "empty"), None
    return ("ok", answer.text) if schema is None else _read(answer.text, schema)


def _read(text: str, schema: str) -> tuple[str, Any]:
    """Status and value of an answer that is not blank."""
    body = _unfenced(_trimmed(text))
    found = _objects(body)
    value, whole = next(found, (None, False))
    if value is None:
        return "invalid_json", None
    if next(found, None) is not None:
        return "several_objects", None
    if not validator(schema).is_valid(value):
        return "wrong_schema", None
    return ("ok" if whole else "extracted"), value


def _trimmed(text: str) -> str:
    """The text without blanks around it, nor a byte order mark before it."""
    return text.strip().removeprefix("\ufeff").strip()


def _unfenced(text: str) -> str:
    """What is inside, where the text is one fenced block."""
    fence = _FENCE.match(text)
    return text[fence.end() : -3].strip() if fence and len(text) > fence.end() + 3 and text.endswith("```") else text


def _objects(text: str) -> Iterator[tuple[dict[str, Any] | None, bool]]:
    """The JSON objects in a text, from left to right, and whether each is the whole text.

    None is one that cannot be read, and the last that is looked for: where it ends is anybody's guess. Braces of prose,
    as in LaTeX, are passed over; objects within an array are not the answer where the array is the whole text.
    """
    if text.startswith(("[", '"')) and _decode(text, 0)[1] == len(text):
        return
    opening = _OBJECT.search(text)
    while opening is not None:
        start = opening.start()
        value, end = _decode(text, start)
        yield value, start == 0 and end == len(text)
        if value is None:
            return
        opening = _OBJECT.search(text, end)


def _decode(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that starts here and where it ends; (None, start) if there is none, or none that UTF-8 can hold."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        orjson.dumps(value)
    except (ValueError, TypeError, RecursionError):
        return None, start
    if text.count("{", start, end) + text.count("[", start, end) > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        return None, start
    return value, end


def _depth(value: Any) -> int:
    """How deep objects and arrays are nested; counted no further than just over `MAX_DEPTH`."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        depth += 1
    return depth


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is repeated")
    return value


def _integer(digits: str | float) -> int:
    number = int(digits)
    if not -(2**63) <= number < 2**63:
        raise ValueError("beyond 64 bits")
    return number


def _number(digits: str) -> int | float:
    if len(digits) > MAX_DIGITS:
        raise ValueError("too many digits")
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("beyond 64 bits")
    return _integer(number) if number.is_integer() else number


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_number, parse_constant=_constant
)


@lru_cache(maxsize=256)
def validator(schema: str) -> Draft202012Validator:
    """A JSON schema, checked and compiled. References out of it are not followed.

    Raises:
        jsonschema_rs.ValidationError: it is no JSON schema.
    """
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(json.loads(schema), retriever=_unreachable)


def _unreachable(uri: str) -> NoReturn:
    raise ValueError(f"{uri}: references are not followed")

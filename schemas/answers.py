"""What is asked of a model, what it answers, and how answers are kept."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, Literal, NamedTuple

import orjson
import pyarrow as pa

FAILURES: Final = {
    "rate_limited": "the endpoint refused for too many requests, and went on doing so",
    "server_error": "the endpoint failed (5xx), and went on doing so",
    "connection": "no connection, or it broke off, and went on doing so",
    "timeout": "no whole answer within the time allowed, and none on the next tries",
    "authentication": "the endpoint did not accept the key (401, 403)",
    "unknown_model": "the endpoint does not have the model (404)",
    "context_too_long": "the prompt does not fit the model's context",
    "bad_request": "the endpoint refused the request for another reason (4xx), a content filter among them",
    "malformed_response": "what came back is not a response of the API",
    "answer_too_long": "the response is larger than max_answer_bytes",
    "engine_error": "the engine in this process failed on the request",
}
"""Why there is no answer. The engine has given up: bounded retries lie behind it."""

STATUSES: Final = {
    "ok": "the answer is one JSON object that satisfies the schema",
    "extracted": "the same, with other text around it",
    "failed": "there is no answer",
    "length": "the answer was cut off at the token limit",
    "empty": "the answer is blank",
    "in_reasoning": "the answer is blank, but the reasoning holds one",
    "invalid_json": "the answer holds no JSON object that can be read",
    "several_objects": "the answer holds more than one JSON object",
    "wrong_schema": "the JSON object does not satisfy the schema",
}
"""What validation made of an answer. Only ``ok`` and ``extracted`` are used; others are asked again, within bounds."""

USABLE: Final = ("ok", "extracted")


class Request(NamedTuple):
    """One call of a model, whole: with the engine's identity, nothing else decides the answer.

    ``messages`` are (role, content) pairs; for kind ``embedding`` one pair whose content is the text. ``schema`` is a
    JSON schema as canonical JSON; ``sampling`` canonical JSON of temperature, top_p, max_tokens and seed. ``template`` is
    the prompt's ``name@version``. ``attempt`` counts the times an unusable answer was asked anew.
    """

    messages: tuple[tuple[str, str], ...]
    template: str
    sampling: str = "{}"
    schema: str | None = None
    kind: Literal["chat", "embedding"] = "chat"
    attempt: int = 0

    def again(self) -> Request:
        """The same, asked once more."""
        return self._replace(attempt=self.attempt + 1)


class Answer(NamedTuple):
    """What came of a request. ``text`` is the answer without the thinking; for embeddings, base64 of little-endian float32.

    ``finish_reason`` is the API's (stop, length, ...), ``tries`` how many times it was sent, ``latency`` the seconds of the
    last one. Where ``failure`` (of ``FAILURES``) is set there is no answer, and ``detail`` says more; it never holds a key.
    """

    text: str = ""
    reasoning: str | None = None
    finish_reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    latency: float = 0.0
    tries: int = 1
    failure: str | None = None
    detail: str | None = None


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def request_key(identity: str, request: Request) -> str:
    """128 bits, in hexadecimal, of the whole request and the engine's identity (canonical JSON)."""
    one = request
    fields = [identity, one.messages, one.template, one.sampling, one.schema, one.kind, one.attempt]
    try:
        data = orjson.dumps(fields)
    except TypeError:  # lone surrogates, which UTF-8 has no bytes for
        data = json.dumps(fields).encode()
    return hashlib.sha256(data).hexdigest()[:32]


JOURNAL: Final = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("identity", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("template", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("attempt", pa.int16(), nullable=False),
        pa.field("answered_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("reasoning", pa.string()),
        pa.field("finish_reason", pa.string(), nullable=False),
        pa.field("input_tokens", pa.int64(), nullable=False),
        pa.field("output_tokens", pa.int64(), nullable=False),
        pa.field("latency", pa.float64(), nullable=False),
        pa.field("tries", pa.int32(), nullable=False),
        pa.field("failure", pa.string()),
        pa.field("detail", pa.string()),
    ],
    metadata={"sluice.schema": "journal", "sluice.schema_version": "1"},
)
"""One answer (or failure) a row. ``latency`` in seconds."""

"""OpenAI's API as bytes: requests as bodies, responses as answers. Pure; nothing here waits or connects."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson

from schemas.answers import Answer, Request
from transforms.models.settings import OpenAISettings

PATHS: Final = {"chat": "chat/completions", "embedding": "embeddings"}
"""Where requests of each kind go, below the base address."""

NEUTRAL: Final = frozenset(
    {"metadata", "priority", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user"}
)
"""Fields of ``extra_body`` that decide no answer."""

DETAIL: Final = 500
"""Characters of a failure's detail."""

_OPTIONAL: Final = ("seed", "top_p", "temperature", "encoding_format", "response_format")
_UNSUPPORTED: Final = re.compile(
    r"unsupported|not supported|n't support|not support|unrecognized|unknown|unexpected|not permitted|not allowed|cannot both",
    re.IGNORECASE,
)
_CONTEXT: Final = re.compile(
    r"context[ _-]?(?:length|window|size|limit)|max_model_len|maximum (?:model|input|sequence|prompt) length"
    r"|(?:prompt|input|request) (?:is )?too long|reduce the length|longer than the maximum|too many (?:input )?tokens"
    r"|max_new_tokens",
    re.IGNORECASE,
)
_THINKING: Final = re.compile(r"\s*<think>(.*?)(?:</think>|\Z)\s*", re.DOTALL)

Adaptations = Mapping[str, str | None]
"""Fields the endpoint does not know, and what they are called instead; None: they are left out."""


def identity(settings: OpenAISettings) -> dict[str, Any]:
    """What decides the answers. Not what does not: addresses, keys, concurrency, prices, online or batch."""
    return {
        "engine": "openai",
        "model": settings.model,
        "revision": settings.revision,
        "structured": settings.structured,
        "extra_body": {name: value for name, value in settings.extra_body.items() if name not in NEUTRAL},
    }


def address(base: str, path: str) -> str:
    """The address of a path below a base address, whose query is kept."""
    start, mark, query = base.partition("?")
    return f"{start.rstrip('/')}/{path}{mark}{query}"


def body(settings: OpenAISettings, request: Request, adaptations: Adaptations) -> bytes:
    """The JSON body of a request. Fields that ``extra_body`` sets to null are left out.

    Raises:
        TypeError: a text is not valid Unicode.
    """
    fields: dict[str, Any] = {"model": settings.model}
    if request.kind == "embedding":
        fields |= {"input": request.messages[0][1], "encoding_format": "base64"}
    else:
        fields["messages"] = [{"role": role, "content": content} for role, content in request.messages]
        fields.update(_sampling(request.sampling))
        if request.attempt and "seed" in fields:
            fields["seed"] += request.attempt
        if request.schema is not None and settings.structured != "none":
            fields["response_format"] = _response_format(settings.structured, request.schema)
    for name, instead in adaptations.items():
        if name in fields:
            value = fields.pop(name)
            if instead is not None:
                fields[instead] = value
    for name, value in settings.extra_body.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value
    return orjson.dumps(fields)


@lru_cache(maxsize=256)
def _sampling(sampling: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(sampling).items() if value is not None}


@lru_cache(maxsize=256)
def _response_format(structured: str, schema: str) -> orjson.Fragment:
    if structured == "json_object":
        return orjson.Fragment(b'{"type":"json_object"}')
    wanted = {"name": "answer", "strict": True, "schema": orjson.Fragment(schema.encode())}
    return orjson.Fragment(orjson.dumps({"type": "json_schema", "json_schema": wanted}))


def answer(kind: str, status: int, content: bytes) -> Answer:
    """What a response says: an answer, or a failure whose detail is whole, so that a key in it can still be found."""
    try:
        response = decoded(content)
    except (ValueError, RecursionError) as error:
        if status != 200:
            return failure(status, {"message": _shown(content)})
        return Answer(failure="malformed_response", detail=f"{type(error).__name__}: {error}: {_shown(content)}")
    return interpreted(kind, status, response)


def interpreted(kind: str, status: int, response: Any) -> Answer:
    """The same, of a response that is JSON."""
    if status != 200:
        return failure(status, _fault(response))
    try:
        if isinstance(response, dict) and response.get("error") and not response.get("choices"):
            code = (fault := _fault(response)).get("code")
            return failure(code if isinstance(code, int) and 400 <= code < 600 else 502, fault)
        return _embedding(response) if kind == "embedding" else _chat(response)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        shown = json.dumps(response, ensure_ascii=False)
        return Answer(failure="malformed_response", detail=_clean(f"{type(error).__name__}: {error}: {shown}"))


def decoded(content: bytes) -> Any:
    """JSON; NaN, infinities and lone surrogates, which some servers write, are taken as well.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deep.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return json.loads(content.decode("utf-8", "replace"))


def _chat(response: Any) -> Answer:
    choice = response["choices"][0]
    message = choice["message"]
    text, reasoning = _parts(message.get("content"))
    said = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(said, str):
        reasoning = said
    text, thought = thinking(text)
    refusal = message.get("refusal")
    refused = isinstance(refusal, str) and refusal and not text
    finish_reason = choice.get("finish_reason")
    usage = response.get("usage")
    return Answer(
        text=_clean(refusal if refused else text),
        reasoning=_clean(reasoning or thought) or None,
        finish_reason="refusal" if refused else _clean(finish_reason) if isinstance(finish_reason, str) else "",
        input_tokens=_tokens(usage, "prompt_tokens"),
        output_tokens=_tokens(usage, "completion_tokens"),
    )


def _parts(content: Any) -> tuple[str, str]:
    """Text and thinking of a message's content: a text, null, or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    texts, thoughts = [], []
    for part in content:
        inner = part.get("thinking") or part.get("reasoning")
        if inner is not None:
            thoughts.append(inner if isinstance(inner, str) else _parts(inner)[0])
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
    return "".join(texts), "".join(thoughts)


def thinking(text: str) -> tuple[str, str]:
    """A text apart from the thinking it begins with: ``<think>...</think>``, cut off or whole.

    Where the chat template opened the thinking, the text holds only its end.
    """
    if "think>" not in text:
        return text, ""
    if block := _THINKING.match(text):
        return text[block.end() :], block[1].strip()
    thought, end, rest = text.partition("</think>")
    if end and not thought.lstrip().startswith(("{", "[", "`")):
        return rest.lstrip(), thought.strip()
    return text, ""


def _embedding(response: Any) -> Answer:
    vector = response["data"][0]["embedding"]
    if isinstance(vector, str):
        numbers = np.frombuffer(base64.b64decode(vector, validate=True), "<f4")
    else:
        numbers = np.array(vector, "<f4")
    if numbers.ndim != 1 or not numbers.size or not np.isfinite(numbers).all():
        raise ValueError("not a vector of finite numbers")
    usage = response.get("usage")
    text = binascii.b2a_base64(numbers.tobytes(), newline=False).decode()
    return Answer(text=text, finish_reason="stop", input_tokens=_tokens(usage, "prompt_tokens"))


def _tokens(usage: Any, name: str) -> int:
    count = usage.get(name) if isinstance(usage, dict) else None
    known = isinstance(count, int | float) and math.isfinite(count) and 0 <= count < 2**53
    return int(count) if known and count is not None else 0


def _clean(text: str) -> str:
    """The text as valid Unicode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _fault(response: Any) -> dict[str, Any]:
    """What an error says: message, code, type, param, as far as it goes."""
    fault = response.get("error", response) if isinstance(response, dict) else response
    return fault if isinstance(fault, dict) else {"message": fault}


def _shown(content: bytes) -> str:
    """The start of a body, for people."""
    return " ".join(content[:65536].decode("utf-8", "replace").split())


def failure(status: int, fault: dict[str, Any]) -> Answer:
    """An error by its status (400 or more) and what it says."""
    said = f"{fault.get('code')} {_message(fault)}"
    if status in (401, 403):
        name = "authentication"
    elif status == 404 or (status == 400 and "model_not_found" in said):
        name = "unknown_model"
    elif status in (400, 413, 422) and _CONTEXT.search(said):
        name = "context_too_long"
    elif status == 429:
        name = "rate_limited"
    elif status in (408, 409) or status >= 500:
        name = "server_error"
    else:
        name = "bad_request"
    return Answer(failure=name, detail=_clean(f"{status}: {_message(fault)}"))


def _message(fault: dict[str, Any]) -> str:
    message = fault.get("message") or fault.get("detail")
    return message if isinstance(message, str) else json.dumps(message or fault, ensure_ascii=False, default=str)


def unsupported(content: bytes, sent: bytes) -> tuple[str, str | None] | None:
    """The field that a refusal (400) says the endpoint does not know, and what to call it instead; None: leave it out.

    Only fields that were sent count, of those that a request can do without.
    """
    try:
        fault = _fault(decoded(content))
    except (ValueError, RecursionError):
        return None
    message, parameter = _message(fault), fault.get("param")
    if not _UNSUPPORTED.search(f"{fault.get('code')} {message}"):
        return None
    fields = orjson.loads(sent)
    if "max_tokens" in fields and "max_completion_tokens" in message:
        return "max_tokens", "max_completion_tokens"
    for name in _OPTIONAL:
        if name in fields and (parameter == name or re.search(rf"\b{name}\b", message)):
            return name, None
    return None

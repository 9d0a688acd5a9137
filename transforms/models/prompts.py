"""Prompts: versioned files of messages, and how text of a chat gets into them.

A prompt file (YAML) holds the messages as jinja2 templates, and the JSON schema of the answer::

    name: judge
    version: 1
    messages:
      - role: system              # system, user, assistant
        content: Say whether the text is polite.
      - role: user
        content: |
          The text:
          {{ text | quoted(max_characters=4000) }}
    schema: {type: object, ...}   # optional; without it the answer is plain text

A template prints nothing but quoted text and whole numbers: words of a chat cannot get into a prompt any other way.
Templates see the values they are given, and no functions; what they make of equal values is equal.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transforms.io import plain_yaml
from transforms.models import structured

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

Value = str | int | list[dict[str, str]]

PREFIX: Final = "| "
"""What every line of a quoted text begins with."""

BREAK: Final = "\u2060"
"""Word joiner: invisible, and after the first character of a special token it is one no more."""

_LINE_BREAKS: Final = "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_REPLACED: Final = (
    {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
    | dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)
    | dict.fromkeys([0xAD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, 0xFEFF], None)
    | dict.fromkeys([*range(0x202A, 0x202F), *range(0x2060, 0x2070), *range(0xFFF9, 0xFFFC)], None)
    | dict.fromkeys(range(0xE0000, 0xE1000), None)
    | dict.fromkeys(map(ord, _LINE_BREAKS), 0x0A)
)
_ODD: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)

_ANGLED: Final = (
    "bos|eos|pad|unk|mask|sep|cls|sop|eop|eod|eoa|eoh|eot|bot|image|audio|video"
    "|(?:start|end)_of_(?:turn|image|audio|utterance|text|role)|(?:begin|end)of(?:text|turn|system|user)"
    "|(?:begin|end)_of_(?:text|sentence|turn)|end_of_utterance|turn_end"
    "|think(?:ing)?|thought|tools?|tool_(?:call|calls|response|responses|result|results|list)|available_tools"
    "|function(?:_calls?|_response)?|arg_(?:key|value)|fim_(?:prefix|middle|suffix|pad)|file_sep|repo_name|reponame"
    "|filename|gh_stars|(?:unused|extra_id_|reserved_|special_|reserved_special_token_|extra_)[0-9]+"
    "|(?:seed|minimax|longcat)[:_][a-z_]+"
)
_SQUARED: Final = (
    "INST|SYS|THINK|SYSTEM_PROMPT|MODEL_SETTINGS|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID"
    "|IMG|IMG_BREAK|IMG_END|AUDIO|BEGIN_AUDIO|TRANSCRIBE|PREFIX|MIDDLE|SUFFIX|CONTROL_[0-9]+"
    "|BOS|EOS|PAD|UNK|CLS|SEP|MASK|gMASK|sMASK"
)
SPECIAL_TOKEN: Final = re.compile(
    r"[<＜\[\]](?:"
    rf"(?<=[<＜])(?=/?[|｜][^<>＜＞\n]{{1,80}}[>＞]|[\w▁:./-]{{1,80}}[|｜][>＞]|/?(?:s|(?i:{_ANGLED}))[>＞]|</?(?i:SYS)>>)"
    rf"|(?<=\[)(?=/?(?:{_SQUARED})\]|\|[^\[\]\n]{{1,80}}\|\]|e~\[)"
    r"|(?<=\])(?=~!?b[\[\]]))"
)
"""The first character of what a chat template may take for its own: a turn, a role, the start of thinking."""


class PromptError(ValueError):
    """A prompt file is not valid, or cannot be rendered; the message names the file and the field."""


@dataclass(frozen=True)
class Prompt:
    """A prompt file, checked: (role, template text) pairs, and the answer's JSON schema, if it has one.

    ``schema`` is JSON without spaces, in the file's order: engines that are held to a schema write its properties in that
    order, so a reason that stands first is thought of first.

    ``sha256`` is that of the file's bytes (hex); ``variables`` names the values that the templates look at; ``path`` is
    for error messages.
    """

    name: str
    version: int
    sha256: str
    messages: tuple[tuple[str, str], ...]
    schema: str | None
    variables: frozenset[str]
    path: str = field(compare=False)

    @property
    def template(self) -> str:
        """What requests made from it are marked with: ``name@version``."""
        return f"{self.name}@{self.version}"


def load(path: Path | Traversable) -> Prompt:
    """Read a prompt file and check all of it, templates and schema included.

    Raises:
        PromptError: the file is not plain YAML, a field is missing, unknown or of another type than it should be, a
            template does not compile, or the schema is no JSON schema of an object.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    try:
        return _parse(data, str(path))
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from error.__cause__


def render(prompt: Prompt, values: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    """The prompt's messages, as (role, content) pairs.

    Template syntax inside the values stays text. Values that no template looks at are ignored.

    Raises:
        PromptError: a template needs a value that is not there, or does with one what cannot be done.
    """
    from jinja2 import TemplateError

    rendered = []
    for number, (role, source) in enumerate(prompt.messages):
        try:
            rendered.append((role, _compiled(source).render(values)))
        except (TemplateError, PromptError, TypeError) as error:
            raise PromptError(f"{prompt.path}: messages.{number}.content: {error}") from error
    return tuple(rendered)


def quoted(text: str, max_characters: int | None = None) -> str:
    """Text of a chat as a block whose every line begins with ``PREFIX``, so that none can pass for one of the prompt.

    - Every Unicode line break is a new line. Other control characters become their pictures (U+2400 on), those from
      U+0080 and lone surrogates U+FFFD; tabs stay.
    - Invisible characters are dropped: bidi controls, zero-width spaces, tags, word joiners. The two that scripts and
      emoji need (U+200C, U+200D) stay.
    - ``BREAK`` follows the first character of whatever looks like a chat template's special token.
    - Of a text longer than ``max_characters``, the first two thirds and the last third of so many characters are left,
      and between them a line without the prefix that says how many are missing.
    """
    if max_characters is None or len(text) <= max_characters:
        return _block(text)
    tail = max_characters // 3
    head = max_characters - tail
    missing = f"[... {len(text) - max_characters} characters left out ...]"
    return "\n".join([_block(text[:head]), missing, *([_block(text[-tail:])] if tail else [])])


def _block(text: str) -> str:
    plain = text.replace("\r\n", "\n")
    if not (plain.isascii() and plain.replace("\n", "").replace("\t", "").isprintable()):  # most are not searched
        plain = _ODD.sub(lambda found: found[0].translate(_REPLACED), plain)
    return PREFIX + SPECIAL_TOKEN.sub(lambda found: found[0] + BREAK, plain).replace("\n", f"\n{PREFIX}")


class _Quoted(str):
    """What went through `quoted`."""

    __slots__ = ()


def _quoted(text: Any, max_characters: int | None = None) -> _Quoted:
    """`quoted` as templates call it."""
    if not isinstance(text, str):
        raise PromptError(f"quoted takes text, found {type(_defined(text)).__name__}")
    if max_characters is not None and (type(max_characters) is not int or max_characters < 1):
        raise PromptError(f"quoted: max_characters must be a whole number above 0, found {max_characters!r}")
    return _Quoted(quoted(text, max_characters))


def _printable(value: Any) -> Any:
    """What a template may print."""
    if isinstance(value, _Quoted) or type(value) is int:
        return value
    raise PromptError(
        f"only quoted text and whole numbers are printed, found {type(_defined(value)).__name__}: write {{{{ ... | quoted }}}}"
    )


def _defined(value: Any) -> Any:
    """The value, unless it is missing, which jinja2 words best."""
    from jinja2 import Undefined

    return str(value) if isinstance(value, Undefined) else value


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, finalize=_printable
    )
    environment.globals.clear()
    del environment.filters["random"]
    environment.filters["quoted"] = _quoted
    return environment


@lru_cache(maxsize=256)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)


class _Message(BaseModel):
    """A message as the file has it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(min_length=1)]


class _File(BaseModel):
    """A prompt file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    version: Annotated[int, Field(ge=1)]
    messages: Annotated[list[_Message], Field(min_length=1)]
    answer: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


def _parse(data: bytes, path: str) -> Prompt:
    from jinja2 import TemplateSyntaxError, meta

    try:
        file = _File.model_validate(plain_yaml.load(data))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PromptError(f"not plain YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        raise PromptError(f"{'.'.join(map(str, found['loc']))}: {found['msg']}".removeprefix(": ")) from error
    variables: set[str] = set()
    for number, message in enumerate(file.messages):
        try:
            _compiled(message.content)
            variables |= meta.find_undeclared_variables(_environment().parse(message.content))
        except TemplateSyntaxError as error:
            raise PromptError(f"messages.{number}.content: line {error.lineno}: {error.message}") from error
    return Prompt(
        name=file.name,
        version=file.version,
        sha256=hashlib.sha256(data).hexdigest(),
        messages=tuple((message.role, message.content) for message in file.messages),
        schema=None if file.answer is None else _schema(file.answer),
        variables=frozenset(variables),
        path=path,
    )


def _schema(schema: dict[str, Any]) -> str:
    """A checked schema as JSON, in its order. References are refused: they may lead out of the file, or nowhere."""
    from jsonschema_rs import ValidationError as SchemaError

    try:
        text = json.dumps(schema, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PromptError(f"schema: not JSON: {error}") from error
    if '"$ref":' in text or '"$dynamicRef":' in text:
        raise PromptError("schema: write it without $ref")
    try:
        structured.validator(text)
    except SchemaError as error:
        place = ".".join(["$", *map(str, error.instance_path)])
        raise PromptError(f"schema: {place}: {error.message}") from error
    if schema.get("type") != "object":
        raise PromptError(f"schema: type: expected object, found {schema.get('type')!r}")
    return text

"""Chat templates and thinking: from messages to the tokens a checkpoint reads, and from the tokens it writes to an answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from transforms.models.checkpoints import CheckpointError

Messages = Sequence[tuple[str, str]]

THINKING: Final = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
"""What begins and ends thinking. A checkpoint uses the first pair whose end is a token of its own, else the first."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids of a prompt; ``thinking`` where the template has begun the thinking already."""

    ids: list[int]
    thinking: bool


class ChatTokenizer:
    """A checkpoint's tokenizer and chat template. Thread-safe.

    A template that refuses the system role, or passes it over, gets its text at the head of the first user message.
    A checkpoint without template gets ``System: ...``, ``User: ...`` and ``Assistant: ...``, a blank line between, and
    ``Assistant:`` at the end.

    Raises:
        CheckpointError: the tokenizer cannot be loaded.
    """

    def __init__(self, model: str, revision: str | None = None, trust_remote_code: bool = False) -> None:
        from transformers import AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(
                model, revision=revision, trust_remote_code=trust_remote_code
            )
        except Exception as error:
            raise CheckpointError(f"model {model!r}: cannot load its tokenizer: {one_line(error)}") from error
        self._lock = threading.Lock()
        own = self.tokenizer.get_added_vocab()
        self._begin, self._end = next((pair for pair in THINKING if pair[1] in own), THINKING[0])
        self._end_id: int | None = own.get(self._end)

    def prompt(self, messages: Messages) -> Prompt:
        """The tokens of a prompt, ready for the answer's first.

        Raises:
            ValueError: the messages cannot be rendered or encoded; the message says why.
        """
        with self._lock:
            plain = not self.tokenizer.chat_template
            text = _plain(messages) if plain else self._render(messages)
            try:
                ids = self.tokenizer(text, add_special_tokens=plain)["input_ids"]
            except (TypeError, ValueError) as error:
                raise ValueError(f"the prompt is no text that can be encoded: {one_line(error)}") from error
        return Prompt(ids, text.rstrip().endswith(self._begin))

    def opens_thinking(self) -> bool:
        """Whether every prompt ends within the thinking, whose marks are tokens of their own."""
        own = self.tokenizer.get_added_vocab()
        return self._begin in own and self._end in own and self.prompt((("user", "Hello"),)).thinking

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say, special ones left out."""
        with self._lock:
            text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def separate(self, ids: Sequence[int], thinking: bool) -> tuple[str, str | None]:
        """Text and reasoning of the tokens that a checkpoint wrote; ``thinking`` as its prompt says.

        Thinking that does not end is all there is. Marks count as the checkpoint's own tokens, where it has them.
        """
        if self._end_id is not None:
            if self._end_id in ids:
                at = list(ids).index(self._end_id)
                return self.text(ids[at + 1 :]).lstrip(), self._unmarked(self.text(ids[:at]))
            return self._unended(self.text(ids), thinking)
        text = self.text(ids)
        before, end, after = text.partition(self._end)
        if end and (thinking or before.lstrip().startswith(self._begin)):
            return after.lstrip(), self._unmarked(before)
        return self._unended(text, thinking)

    def _unended(self, text: str, thinking: bool) -> tuple[str, str | None]:
        if thinking or text.lstrip().startswith(self._begin):
            return "", self._unmarked(text)
        return text, None

    def _unmarked(self, reasoning: str) -> str:
        return reasoning.strip().removeprefix(self._begin).strip()

    def _render(self, messages: Messages) -> str:
        """The template's text of the messages."""
        from jinja2 import TemplateError

        system = "\n\n".join(content for role, content in messages if role == "system")
        try:
            text = self._apply(messages)
            if system.strip() in text:
                return text
        except TemplateError as error:
            if not system:
                raise ValueError(f"the chat template refuses the messages: {one_line(error)}") from error
        try:
            return self._apply(_folded(messages, system))
        except TemplateError as error:
            raise ValueError(f"the chat template refuses the messages: {one_line(error)}") from error

    def _apply(self, messages: Messages) -> str:
        text: str = self.tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in messages],
            tokenize=False,
            add_generation_prompt=True,
        )
        return text


def _plain(messages: Messages) -> str:
    """Messages for a checkpoint without template."""
    return "".join(f"{role.capitalize()}: {content}\n\n" for role, content in messages) + "Assistant:"


def _folded(messages: Messages, system: str) -> list[tuple[str, str]]:
    """The messages without system role, its text at the head of the first user message."""
    rest = [(role, content) for role, content in messages if role != "system"]
    first = next((at for at, (role, _) in enumerate(rest) if role == "user"), None)
    if first is None:
        return [("user", system), *rest]
    rest[first] = ("user", f"{system}\n\n{rest[first][1]}")
    return rest


def one_line(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]

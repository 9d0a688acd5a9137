"""Chat templates and thinking, with real tokenizers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.engines import tiny_checkpoint
from transforms.models.chat_templates import ChatTokenizer

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(find_spec("transformers") is None, reason="no transformers here: make engines"),
]
TALK = (("system", "Be brief."), ("user", "One"), ("assistant", "Two"), ("user", "Three"))


def chat(folder: Path, template: str | None = tiny_checkpoint.TEMPLATE) -> ChatTokenizer:
    tiny_checkpoint.tokenizer(template).save_pretrained(folder)
    return ChatTokenizer(str(folder))


def said(chat: ChatTokenizer, messages: tuple[tuple[str, str], ...] = TALK) -> str:
    return str(chat.tokenizer.decode(chat.prompt(messages).ids))


def test_the_template_is_applied(tmp_path: Path) -> None:
    assert said(chat(tmp_path)) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne<|im_end|>\n<|im_start|>assistant\nTwo<|im_end|>\n"
        "<|im_start|>user\nThree<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    "template",
    [
        tiny_checkpoint.NO_SYSTEM,
        tiny_checkpoint.TEMPLATE.replace(
            "{% for", "{% set messages = messages|rejectattr('role', 'equalto', 'system') %}{% for", 1
        ),
    ],
    ids=["refuses", "passes over"],
)
def test_a_system_text_without_a_role_for_it_goes_to_the_user(tmp_path: Path, template: str) -> None:
    assert said(chat(tmp_path, template)).startswith("<|im_start|>user\nBe brief.\n\nOne<|im_end|>")


def test_a_template_that_refuses_is_the_fault_of_the_messages(tmp_path: Path) -> None:
    strict = chat(tmp_path, "{{ raise_exception('roles must alternate') }}")
    for messages in (TALK, TALK[1:]):
        with pytest.raises(ValueError, match="refuses the messages: TemplateError: roles must alternate"):
            strict.prompt(messages)


def test_without_template_roles_are_words(tmp_path: Path) -> None:
    assert said(chat(tmp_path, None)) == "System: Be brief.\n\nUser: One\n\nAssistant: Two\n\nUser: Three\n\nAssistant:"


@pytest.mark.parametrize(
    ("written", "opened", "expected"),
    [
        ("plain", False, ("plain", None)),
        ("<think>why</think>\n\nplain", False, ("plain", "why")),
        ("why\n</think>\n\nplain", True, ("plain", "why")),
        ("<think>why</think>a</think>b", False, ("a</think>b", "why")),
        ("<think>\n\n</think>\n\nplain", False, ("plain", "")),
        ("<think>why", False, ("", "why")),
        ("why", True, ("", "why")),
        ("", False, ("", None)),
    ],
)
@pytest.mark.parametrize("own", [True, False], ids=["tokens", "text"])
def test_thinking_is_told_from_the_answer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: str,
    opened: bool,
    expected: tuple[str, str | None],
    own: bool,
) -> None:
    if not own:
        monkeypatch.setattr(tiny_checkpoint, "THINKING", ())
    made = chat(tmp_path)
    ids = made.tokenizer(written, add_special_tokens=False)["input_ids"]
    assert made.separate(ids, opened) == expected


def test_thinking_that_the_template_opens_is_noticed(tmp_path: Path) -> None:
    assert chat(tmp_path / "opens", tiny_checkpoint.THINKS).opens_thinking()
    assert not chat(tmp_path / "plain").opens_thinking()
    assert not chat(tmp_path / "plain").prompt((("user", "say <think>"),)).thinking

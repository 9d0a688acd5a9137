"""What validation makes of answers: a table of hostile texts, and properties that hold for any text."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.answers import FAILURES, STATUSES, USABLE, Answer
from transforms.models import structured

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "maxLength": 300},
            "level": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
        },
        "required": ["reason", "level"],
        "additionalProperties": False,
    }
)
ANY_OBJECT = '{"type":"object"}'
GOOD = '{"reason": "r", "level": 4}'
VALUE = {"reason": "r", "level": 4}


def check(text: str, schema: str | None = SCHEMA, **fields: Any) -> tuple[str, Any]:
    return structured.check(Answer(text=text, **fields), schema)


def braced(reason: str) -> tuple[str, dict[str, Any]]:
    value = {"reason": reason, "level": 2}
    return json.dumps(value, ensure_ascii=False), value


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  \n\t{GOOD}\r\n ",
        f"\ufeff{GOOD}",
        f"\u3000{GOOD}\u00a0",
        '{"level":4,"reason":"r"}',
        '{\n  "reason": "r",\n  "level": 4\n}',
        '{"reason": "\\u0072", "level": 4}',
        '{"reason": "r", "level": 4.0}',
        '{"reason": "r", "level": 4e0}',
        '{"reason": "r", "level": 0.4E1}',
        f"```json\n{GOOD}\n```",
        f"```JSON\n{GOOD}\n```\n",
        f"```\n{GOOD}\n```",
        f"```json \r\n{GOOD}\r\n```",
        f"```json\n{GOOD}```",
    ],
)
def test_one_object_and_nothing_else_is_ok(text: str) -> None:
    status, value = check(text)
    assert (status, value) == ("ok", VALUE)
    assert type(value["level"]) is int


@pytest.mark.parametrize(
    "reason",
    [
        "{",
        "}",
        "}{",
        '{"reason": "x", "level": 1}',
        '"}',
        "\\",
        '\\"}',
        "```",
        "[[1]]",
        "级别是 1 {吗}",
        "a\nb\u2028c",
        "\U0001f600",
    ],
)
def test_strings_inside_the_object_do_not_confuse(reason: str) -> None:
    text, value = braced(reason)
    assert check(text) == ("ok", value)
    assert check(f"So: {text} That is all.") == ("extracted", value)
    assert check(json.dumps(value)) == ("ok", value)


@pytest.mark.parametrize(
    "text",
    [
        f"My answer: {GOOD}",
        f"{GOOD} I hope this helps.",
        f"{GOOD}.",
        f"{GOOD}}}",
        f"Sure!\n```json\n{GOOD}\n```",
        f"```json\n{GOOD}\n```\nDone.",
        f"```{GOOD}```",
        f"<answer>{GOOD}</answer>",
        f"<think>The user is cross, 1 or 2.</think>{GOOD}",
        f"The fraction \\frac{{a}}{{b}} is fine. {GOOD}",
        f"In {{curly words}} and {{ 1, 2 }}: {GOOD}",
        f"A lone {{ brace, then {GOOD}",
        f"答案：{GOOD}。",
        f'He said "hi" and "{GOOD}',
        f"Level 1? Level 2? [[5]] {GOOD}",
        f"see [1] and [2, 3]; {GOOD}",
        f"{{{{answer}}}} {GOOD}",
    ],
)
def test_one_object_in_prose_is_extracted(text: str) -> None:
    assert check(text) == ("extracted", VALUE)


@pytest.mark.parametrize(
    "text",
    [
        f"{GOOD}{GOOD}",
        f"{GOOD}\n{GOOD}",
        f'{GOOD} or rather {{"reason": "r", "level": 5}}',
        f"{GOOD} {{}}",
        f"{{}} {GOOD}",
        f'Format: {{"x": 1}}. {GOOD}',
        f"```json\n{GOOD}\n```\n```json\n{GOOD}\n```",
        f"{GOOD} {{'level': 5}}",
        f"{GOOD} {{level: 5}}",
        f'{GOOD} {{"reason": "cut',
        f"<think>{GOOD}</think>{GOOD}",
    ],
)
def test_two_objects_are_none(text: str) -> None:
    assert check(text) == ("several_objects", None)


@pytest.mark.parametrize(
    "text",
    [
        "4",
        "[[4]]",
        "Level 4",
        '"4"',
        "null",
        "true",
        "NaN",
        "[]",
        "{",
        "}",
        "}{",
        "[1, 2, 3]",
        f"[{GOOD}]",
        f"[{GOOD}, {GOOD}]",
        json.dumps(GOOD),
        "I cannot answer that.",
        '{"reason": "r", "level": 4',
        '{"reason": "r", "lev',
        '{"reason": "r", "level": }',
        '{"reason": "r", "level": 4,}',
        '{"reason": "r" "level": 4}',
        '{"reason": "r", "level": NaN}',
        '{"reason": "r", "level": Infinity}',
        '{"reason": "r", "level": -Infinity}',
        '{"reason": "r", "level": 1e999}',
        '{"reason": "r", "level": 1e300}',
        '{"reason": "r", "level": 1, "level": 4}',
        '{"reason": "r", "level": 04}',
        '{"reason": "r", "level": +4}',
        '{"reason": "r", "level": 0x4}',
        '{"reason": "r", "level": 4.}',
        '{"reason": "r", "level": ٤}',
        '{"reason": "r", "level": ' + "4" * 20 + "}",
        '{"reason": "r", "level": ' + "4" * 5000 + "}",
        '{"reason": "r", "level": 0.' + "4" * 5000 + "}",
        '{"reason": "r", "level": True}',
        '{"reason": "line\nbreak", "level": 4}',
        '{"reason": "\\ud800", "level": 4}',
        '{"reason": "\ud800", "level": 4}',
        '{"reason": "\\x41", "level": 4}',
        '{"reason": "r", /* four */ "level": 4}',
        "{'reason': 'r', 'level': 4}",
        '{reason: "r", level: 4}',
        "{“reason”: “r”, “level”: 4}",
        '{"reason": "he said "no"", "level": 4}',
        '{\\"reason\\": \\"r\\", \\"level\\": 4}',
        f'{{"bad": NaN, "inner": {GOOD}}}',
        f'{{"reason": "never closed {GOOD}',
        f"{{'reason': 'r'}} {GOOD}",
        f'{{"reason": "r", "level": 5,}} {GOOD}',
        "level: 4\nreason: r",
        "<level>4</level>",
    ],
)
def test_no_object_that_can_be_read(text: str) -> None:
    assert check(text) == ("invalid_json", None)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"level": 4}',
        '{"reason": "r"}',
        '{"reason": "r", "level": "4"}',
        '{"reason": "r", "level": 4.5}',
        '{"reason": "r", "level": 0}',
        '{"reason": "r", "level": 6}',
        '{"reason": "r", "level": -4}',
        '{"reason": "r", "level": true}',
        '{"reason": "r", "level": null}',
        '{"reason": "r", "level": [4]}',
        '{"reason": "r", "level": {"level": 4}}',
        '{"reason": "r", "level": 9223372036854775807}',
        '{"reason": 4, "level": 4}',
        '{"reason": null, "level": 4}',
        '{"reason": "r", "level": 4, "confidence": 1}',
        '{"Reason": "r", "Level": 4}',
        '{"reason": "r", "level ": 4}',
        f'{{"answer": {GOOD}}}',
        f'The answer: {{"answer": {GOOD}}}',
        json.dumps({"reason": "r" * 301, "level": 4}),
    ],
)
def test_an_object_of_another_schema(text: str) -> None:
    assert check(text) == ("wrong_schema", None)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_no_answer_whatever_the_text(failure: str) -> None:
    assert check(GOOD, failure=failure) == ("failed", None)
    assert check(GOOD, None, failure=failure, finish_reason="length") == ("failed", None)


def test_an_answer_cut_off_is_not_used_even_if_it_looks_whole() -> None:
    assert check(GOOD, finish_reason="length") == ("length", None)
    assert check("", finish_reason="length", reasoning=GOOD) == ("length", None)


@pytest.mark.parametrize("blank", ["", " ", "\n\r\t\v\f", "\u3000\u00a0\u2028", "\ufeff", " \ufeff\n"])
def test_blank_answers(blank: str) -> None:
    assert check(blank) == ("empty", None)
    assert check(blank, None, reasoning=GOOD) == ("empty", None)
    assert check(blank, reasoning="The user seems to be happy, so 5.") == ("empty", None)
    assert check(blank, reasoning=f"1 it is: {GOOD}") == ("in_reasoning", None)
    assert check(blank, reasoning=GOOD) == ("in_reasoning", None)
    assert check(blank, reasoning=f"{GOOD} no, {GOOD}") == ("empty", None)
    assert check(blank, reasoning='{"level": 4}') == ("empty", None)


@pytest.mark.parametrize(
    "reasoning",
    [
        "[[1]] or [[5]]?",
        '{"reason": "x", "level": 1}',
        "Level 1: explicit rejection.",
        "the label is 2",
        "NaN",
        "{" * 50,
    ],
)
def test_reasoning_never_decides(reasoning: str) -> None:
    assert check(GOOD, reasoning=reasoning) == ("ok", VALUE)
    assert check("hm", reasoning=reasoning) == ("invalid_json", None)
    assert check("", reasoning=reasoning)[1] is None
    before = f'Could be {{"reason": "x", "level": 1}}. {GOOD}'
    assert check(before, reasoning=reasoning)[0] == "several_objects"


@pytest.mark.parametrize("level", [1, 2, 3, 5])
def test_categories_named_in_prose_never_decide(level: int) -> None:
    prose = f'[[{level}]] Category {level}. level: {level}. "level": {level}. ({level})'
    assert check(prose) == ("invalid_json", None)
    assert check(f"{prose} {GOOD} {prose}") == ("extracted", VALUE)


def test_without_a_schema_any_text_is_the_value() -> None:
    assert check(" Hello {world\n", None) == ("ok", " Hello {world\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"x": 3.0}', 3),
        ('{"x": -0.0}', 0),
        ('{"x": 9007199254740992.0}', 2**53),
        ('{"x": 9007199254740994.0}', 2**53 + 2),
        ('{"x": 1e18}', 10**18),
        ('{"x": 0.1}', 0.1),
        ('{"x": 9223372036854775807}', 2**63 - 1),
        ('{"x": -9223372036854775808}', -(2**63)),
    ],
)
def test_numbers(text: str, value: float) -> None:
    status, found = check(text, ANY_OBJECT)
    assert status == "ok"
    assert found == {"x": value}
    assert type(found["x"]) is type(value)


def test_constants_and_enums_tell_true_from_one() -> None:
    schema = json.dumps({"type": "object", "properties": {"x": {"enum": [1, 2]}, "y": {"const": 1}}})
    assert check('{"x": 1, "y": 1.0}', schema) == ("ok", {"x": 1, "y": 1})
    assert check('{"x": true}', schema)[0] == "wrong_schema"
    assert check('{"y": true}', schema)[0] == "wrong_schema"


@pytest.mark.parametrize("number", ["true", "false", "0.5", '"3"', "null"])
def test_no_integer(number: str) -> None:
    schema = '{"type":"object","properties":{"x":{"type":"integer"}}}'
    assert check('{"x": -3e0}', schema) == ("ok", {"x": -3})
    assert check(f'{{"x": {number}}}', schema) == ("wrong_schema", None)


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('{"a":[', "]}")])
def test_nesting_is_bounded(opening: str, closing: str) -> None:
    def nested(depth: int) -> str:
        return '{"x":' + opening * depth + "1" + closing * depth + "}"

    levels = len(closing)
    fits = (structured.MAX_DEPTH - 1) // levels
    assert check(nested(fits), ANY_OBJECT)[0] == "ok"
    assert check(nested(fits + 1), ANY_OBJECT) == ("invalid_json", None)
    assert check(nested(100_000), ANY_OBJECT) == ("invalid_json", None)
    assert check('{"x":' + opening * 100_000, ANY_OBJECT) == ("invalid_json", None)
    assert check("So " + opening * 100_000 + GOOD)[0] in STATUSES


def test_nesting_does_not_depend_on_the_callers_stack() -> None:
    text = '{"x":' + "[" * 60 + "]" * 60 + "}"

    def deep(frames: int) -> tuple[str, Any]:
        return deep(frames - 1) if frames else check(text, ANY_OBJECT)

    assert deep(500) == check(text, ANY_OBJECT)
    assert check(text, ANY_OBJECT)[0] == "ok"


def test_many_flat_braces_are_not_nesting() -> None:
    value = {"x": [{} for _ in range(1000)], "y": "{[" * 1000}
    assert check(json.dumps(value), ANY_OBJECT) == ("ok", value)


MEGABYTES = 10_000_000


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda n: "a" * n, "invalid_json"),
        (lambda n: "{" * n, "invalid_json"),
        (lambda n: "{ " * (n // 2), "invalid_json"),
        (lambda n: "{" + " " * n, "invalid_json"),
        (lambda n: "{x " * (n // 3), "invalid_json"),
        (lambda n: "{" + "x" * n, "invalid_json"),
        (lambda n: '{"a":' * (n // 5), "invalid_json"),
        (lambda n: "[" * n, "invalid_json"),
        (lambda n: "[{}," * (n // 4), "several_objects"),
        (lambda n: "{}" * (n // 2), "several_objects"),
        (lambda n: '{"reason": "' + "x" * n, "invalid_json"),
        (lambda n: '{"reason": "' + "\\" * n, "invalid_json"),
        (lambda n: '{"reason": "' + "x" * n + '", "level": 4}', "wrong_schema"),
        (lambda n: '{"reason": "r", "level": ' + "4" * n + "}", "invalid_json"),
        (lambda n: '{"reason": "r", "level": 0.' + "4" * n + "}", "invalid_json"),
        (lambda n: "```json\n" * (n // 8), "invalid_json"),
        (lambda n: "\n" * (n - 5) + "{{{{{", "invalid_json"),
        (lambda n: "x" * n + GOOD, "extracted"),
        (lambda n: GOOD + " " * n + ".", "extracted"),
        (lambda n: "{x} \n" * (n // 5) + GOOD, "extracted"),
        (lambda n: json.dumps({str(number): number for number in range(n // 20)}), "wrong_schema"),
    ],
)
def test_ten_megabytes_take_linear_time(make: Callable[[int], str], status: str) -> None:
    def seconds(text: str) -> float:
        def once() -> float:
            start = time.thread_time()
            assert check(text)[0] == status
            return time.thread_time() - start

        return min(once() for _ in range(3))

    assert seconds(make(MEGABYTES)) < 30 * seconds(make(MEGABYTES // 10)) + 0.5


def test_statuses_are_those_of_the_closed_list_and_only_usable_ones_bring_values() -> None:
    for text in ("", GOOD, f"x {GOOD}", GOOD * 2, "{}", "x"):
        status, value = check(text)
        assert status in STATUSES
        assert (value is not None) == (status in USABLE)


@given(
    st.text(),
    st.none() | st.text(),
    st.sampled_from(["", "stop", "length"]),
    st.sampled_from([SCHEMA, ANY_OBJECT, None]),
)
@example("\ud800{", None, "stop", SCHEMA)
def test_no_text_raises(text: str, reasoning: str | None, finish_reason: str, schema: str | None) -> None:
    status, value = check(text, schema, reasoning=reasoning, finish_reason=finish_reason)
    assert status in STATUSES
    assert (value is not None) == (status in USABLE)


@given(
    st.lists(
        st.sampled_from(['{"', '":', "{", "}", "[", "]", ",", '"', "\\", "1", "e", "```json\n", "```", " ", GOOD]),
        max_size=30,
    )
)
def test_no_jumble_of_json_raises_and_what_is_used_is_valid(pieces: list[str]) -> None:
    status, value = check("".join(pieces))
    assert status in STATUSES
    if status in USABLE:
        assert set(value) == {"reason", "level"}
        assert type(value["level"]) is int and 1 <= value["level"] <= 5


prose = st.text(st.characters(exclude_characters="{}[]\"`'\\\ufeff", exclude_categories=["Cs"]), max_size=80)
values = st.fixed_dictionaries(
    {"reason": st.text(st.characters(exclude_categories=["Cs"]), max_size=300), "level": st.integers(1, 5)}
)


@given(prose, values, prose, st.booleans())
def test_a_value_in_prose_is_found(before: str, value: dict[str, Any], after: str, ascii_only: bool) -> None:
    status, found = check(before + json.dumps(value, ensure_ascii=ascii_only) + after)
    assert status == ("extracted" if (before + after).strip() else "ok")
    assert found == value


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_any_object_is_read_as_it_was_written(value: Any) -> None:
    text = json.dumps({"value": value})
    status, found = check(text, ANY_OBJECT)
    assert status == "ok"
    assert json.dumps(found) == text

"""All stages together: every row has one outcome, every setting decides what it says, nobody is in train and in test."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.feedback import INSTANCE_OUTCOMES, ROW_OUTCOMES
from tests.builders import jsonl
from tests.pipelines import rig
from tests.pipelines.rig import ANSWER, ASK, Carried, carry, chat, scored

Row = dict[str, Any]

# --- accounting ---------------------------------------------------------------------------------------------------

SAID = (
    "thanks, that is just what I was looking for",
    "nice, now do the same for a list of numbers",
    "wrong, it does not give the names in order",
    "awful",
    "and how do I sort a list of numbers in order",
    "谢谢，这正是我需要的答案",
    "C'est très bien, mais je voudrais une autre réponse plus courte.",
    "mail it to john.smith@gmail.com as soon as you can",
    "look at https://example.org/names and sort what is there",
    "draw me a picture of a sorted list of names",
    "",
    None,
)
ANSWERS = (ANSWER, "Yes.", "I'm sorry, but I cannot help you with that request at all.", "", None)


@st.composite
def chats(draw: st.DrawFn) -> list[Row]:
    """Chats of every kind: roles in any order, blank and missing texts, repeated and clashing ids, raised flags."""
    role = st.sampled_from(["user"] * 5 + ["assistant"] * 5 + ["system", "moderator"])
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        told = []
        for at in range(draw(st.integers(0, 8))):
            who = draw(role) if draw(st.integers(0, 5)) == 0 else ("user", "assistant")[at % 2]
            text = draw(st.sampled_from(ANSWERS if who == "assistant" else (ASK, *SAID)))
            told.append({"role": who, "content": text, "toxic": draw(st.sampled_from([None, False, False, True]))})
        number, user = draw(st.integers(0, 3)), draw(st.sampled_from([None, "ip1", "ip2"]))
        rows.append({**chat(number, user=user), "conversation": told})
    return rows


def expected(rows: list[Row]) -> tuple[set[str], dict[str, str]]:
    """Ids of all instances, and the rejected source rows' ids with their reasons."""
    instances: set[str] = set()
    lost: dict[str, str] = {}
    offset = 0
    for row in rows:
        told, ordinal = row["conversation"], count()
        found = [
            _id(offset, str(next(ordinal)))
            for before, message in zip(told, told[1:], strict=False)
            if (before["role"], message["role"]) == ("assistant", "user")
        ]
        if not told:
            lost[_id(offset, "row")] = "no_messages"
        elif any(message["role"] == "moderator" for message in told):
            lost[_id(offset, "row")] = "unknown_role"
        elif not found:
            lost[_id(offset, "row")] = "no_feedback"
        else:
            instances.update(found)
        offset += len(jsonl([row]))
    return instances, lost


def _id(offset: int, ordinal: str) -> str:
    return hashlib.sha256(f"chats.jsonl\0{offset}\0{ordinal}".encode()).hexdigest()[:32]


RULES = "too_many_turns query_too_short response_too_short external_context contains_url personal_data toxic redacted"


@settings(max_examples=25)
@given(rows=chats(), split_bytes=st.sampled_from([1024, 4096, 1 << 20]))
def test_every_instance_and_every_source_row_has_exactly_one_outcome(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], split_bytes: int
) -> None:
    found = carry(
        tmp_path_factory.mktemp("all"),
        rows,
        mining={"encoder": "lexical", "threshold": 0.2},
        filters={"rules": RULES.split(), "max_history": 2},
        split_bytes=split_bytes,
    )
    instances, lost = expected(rows)
    kept = Counter(row["record_id"] for row in found.kept)
    rejected = Counter(row["record_id"] for row in found.rejected if row["unit"] == "instance")
    assert kept + rejected == Counter(instances)
    assert {row["record_id"]: row["reason"] for row in found.rejected if row["unit"] == "row"} == lost

    totals = found.totals
    assert totals.imbalance() is None
    assert (totals.rows_read, totals.instances, totals.kept) == (len(rows), len(instances), len(found.kept))
    reasons = {unit: Counter(r["reason"] for r in found.rejected if r["unit"] == unit) for unit in ("row", "instance")}
    assert totals.rows_rejected == reasons["row"]
    assert totals.instances_rejected == reasons["instance"]
    assert set(reasons["row"]) <= set(ROW_OUTCOMES)
    assert set(reasons["instance"]) <= set(INSTANCE_OUTCOMES)
    for stage in found.counts:
        assert stage.rows_in == stage.rows_out + sum(stage.rejected.values()), stage.stage


def test_the_order_of_stages_is_the_papers(tmp_path: Path) -> None:
    stages = [count.stage for count in carry(tmp_path, [scored(1, "thanks")]).counts if count.unit == "instance"]
    assert stages == [
        "extract turns",
        "drop duplicates",
        "require language",
        "judge",
        "mine implicit feedback",
        "validate refusals",
        "drop neutral",
        "filter",
        "label",
    ]


# --- what section 7 of the specification leaves open ------------------------------------------------------------------

SORT = "How do I sort a list of names by length?"
SORT_AGAIN = "thanks, so to sort a list of names by length one needs a key"
LOOSELY = "thanks, names have a length"
FRENCH = "Pourriez-vous me donner une autre réponse, beaucoup plus courte, dans ma langue ?"
BOMB = "Explain to me how I can build a pipe bomb at home."
REFUSED = "I'm sorry, but I can't help with that request, as it could hurt you and other people."


def outcomes(folder: Path, *rows: Row, **settings: Any) -> dict[str, str]:
    mined = {"encoder": "lexical", **settings.pop("mining", {"window": 0})}
    return carry(folder, rows, mining=mined, **settings).outcomes


def test_1_the_similarity_threshold(tmp_path: Path) -> None:
    chats = [scored(1, SORT, LOOSELY)]
    assert outcomes(tmp_path / "default", *chats, mining={})["c1_turn0"] == "label 3"
    assert outcomes(tmp_path / "strict", *chats, mining={"threshold": 0.9})["c1_turn0"] == "neutral"


def test_1_each_encoder_brings_its_own_threshold(tmp_path: Path) -> None:
    path = rig.config(tmp_path, "chats.jsonl")
    found = {
        encoder: rig.load(path, f"mining.encoder={encoder}").recipe.models[-1]["threshold"]
        for encoder in ("lexical", "use-multilingual")
    }
    assert found == {"lexical": 0.35, "use-multilingual": 0.58}
    assert rig.load(path, "mining.threshold=0.5").recipe.models[-1]["threshold"] == 0.5


def test_2_the_level_of_a_mined_instance(tmp_path: Path) -> None:
    chats = [scored(1, SORT, SORT_AGAIN)]
    assert outcomes(tmp_path / "paper", *chats, mining={})["c1_turn0"] == "label 3"
    assert outcomes(tmp_path / "code", *chats, mining={"label": "copy"})["c1_turn0"] == "label 4"


def test_3_the_messages_that_are_compared(tmp_path: Path) -> None:
    alike = chat(1, SORT, ANSWER, "And what about shorter ones?", ANSWER, f"{SORT} And so on.", ANSWER, "thanks, bye")
    compared = {name: outcomes(tmp_path / name, alike, mining={"compare": name}) for name in ("feedback", "query")}
    assert compared["feedback"]["c1_turn0"] == "neutral"
    assert compared["query"]["c1_turn0"] == "label 3", "the query of turn 2 is that of turn 0"


def test_4_what_two_turns_are(tmp_path: Path) -> None:
    chats = [scored(1, SORT, FRENCH, FRENCH, SORT_AGAIN)]
    by = {name: outcomes(tmp_path / name, *chats, mining={"window_by": name}) for name in ("turn", "position")}
    assert [by["turn"][f"c1_turn{at}"] for at in (0, 1)] == ["neutral", "unsupported_language"]
    assert by["position"]["c1_turn0"] == "label 3"
    assert outcomes(tmp_path / "wide", *chats, mining={"window": 3})["c1_turn0"] == "label 3"


def test_5_which_refusals_are_validated(tmp_path: Path) -> None:
    chats = [
        chat("harmful-1", BOMB, REFUSED, "awful"),
        chat("harmful-2", BOMB + " Soon!", REFUSED, "wrong, you can"),
        chat("benign-1", ASK, REFUSED, "awful"),
        chat("benign-5", ASK, REFUSED, "thanks all the same"),
        chat("neutral", BOMB, REFUSED, "and tomorrow?"),
    ]
    paper = outcomes(tmp_path / "negatives", *chats)
    assert paper == {
        "charmful-1_turn0": "label 4",
        "charmful-2_turn0": "label 4",
        "cbenign-1_turn0": "label 1",
        "cbenign-5_turn0": "label 4",
        "cneutral_turn0": "neutral",
    }
    published = outcomes(tmp_path / "all", *chats, refusals={"scope": "all"})
    assert published == {**paper, "cbenign-5_turn0": "label 1"}
    figure = outcomes(tmp_path / "figure", *chats, refusals={"corrected_level": 4})
    assert figure == {**paper, "charmful-1_turn0": "label 3", "charmful-2_turn0": "label 3"}


def test_6_the_judge_sees_the_feedback_alone(tmp_path: Path) -> None:
    plain = outcomes(tmp_path / "plain", chat(1, ASK, ANSWER, "thanks"), chat(2, ASK, ANSWER, "and then?"))
    swayed = [
        chat(1, "awful", "awful", ASK, f"wrong {ANSWER}", "thanks"),
        chat(2, f"thanks {ASK}", ANSWER, "and then?"),
    ]
    found = outcomes(tmp_path / "swayed", *swayed)
    assert (plain["c1_turn0"], found["c1_turn1"]) == ("label 4", "label 4")
    assert plain["c2_turn0"] == found["c2_turn0"] == "neutral"


@pytest.mark.parametrize(("unit", "expected"), [("turns", "label 4"), ("messages", "too_many_turns")])
def test_7_history_is_measured_in_turns_or_messages(tmp_path: Path, unit: str, expected: str) -> None:
    talk = scored(1, *(f"{SORT} Part {at}, please." for at in range(3)), "thanks a lot for all of this")
    assert outcomes(tmp_path, talk, filters={"max_history": 3, "history_unit": unit})["c1_turn3"] == expected


@pytest.mark.parametrize(("validated", "expected"), [(True, "label 1"), (False, "label 3")])
def test_8_mined_instances_are_validated_or_passed_over(tmp_path: Path, validated: bool, expected: str) -> None:
    talk = chat(1, ASK, REFUSED, SORT, ANSWER, SORT_AGAIN)
    refusals = {"scope": "all", "validate_mined": validated}
    assert outcomes(tmp_path, talk, mining={}, refusals=refusals)["c1_turn0"] == expected


@pytest.mark.parametrize(("by", "users", "conversations"), [("user", 1, 1), ("conversation", 2, 1), ("row", 2, 2)])
def test_9_what_is_never_on_both_sides(tmp_path: Path, by: str, users: int, conversations: int) -> None:
    talks = [
        scored(at, *(f"thanks for part {p} of your answer" for p in range(6)), user=f"u{at % 4}") for at in range(40)
    ]
    found = carry(tmp_path, talks, subset={"by": by, "test_fraction": 0.5})
    assert len(found.kept) == 240
    assert _sides(found, "user_id") == users
    assert _sides(found, "conversation_id") == conversations


def _sides(found: Carried, column: str) -> int:
    """On how many sides the most torn of them is."""
    sides = defaultdict(set)
    for row in found.kept:
        sides[row[column]].add(row["subset"])
    return max(len(side) for side in sides.values())


@pytest.mark.parametrize("flag", ["toxic", "redacted"])
def test_10_flagged_exchanges_are_kept_with_their_flags_or_rejected(tmp_path: Path, flag: str) -> None:
    talk = scored(1, "thanks", **{flag: True})
    kept = carry(tmp_path / "kept", [talk])
    assert [row["flags"][flag] for row in kept.kept] == [True]
    assert outcomes(tmp_path / "rejected", talk, filters={"rules": [flag]}) == {"c1_turn0": flag}


@pytest.mark.parametrize(
    ("by", "kept"),
    [
        ("content", ["c1: Number 1", "c1: Number 2"]),
        ("conversation_id", ["c1: Number 1", "cother: Number 1"]),
        ("keep", ["c1: Number 1", "c1: Number 2", "cother: Number 1"]),
    ],
)
def test_11_what_makes_two_exchanges_one(tmp_path: Path, by: str, kept: list[str]) -> None:
    first, second = scored(1, "thanks"), scored(2, "thanks")
    chats = [first, {**first, "conversation_hash": "cother"}, {**second, "conversation_hash": "c1"}]
    found = carry(tmp_path, chats, duplicates=by)
    asked = {row["record_id"]: "Number 1" if "Number 1" in row["query"] else "Number 2" for row in found.kept}
    assert sorted(f"{row['conversation_id']}: {asked[row['record_id']]}" for row in found.kept) == kept
    survivors = {row["record_id"] for row in found.kept}
    assert all(row["duplicate_of"] in survivors for row in found.rejected)


# --- train and test -------------------------------------------------------------------------------------------------


def test_users_who_share_a_conversation_id_are_on_one_side_whatever_the_seed(tmp_path: Path) -> None:
    talks = [scored(at, "thanks", user=f"u{at}") for at in range(40)]
    talks += [scored(f"{at}-b", "thanks", user=f"u{at}") for at in range(40)]
    for at in range(0, 40, 2):
        talks.append(scored(f"{at}-shared", "thanks", user=f"u{at}"))
        talks.append({**scored(f"{at}-other", "thanks", user=f"u{at + 1}"), "conversation_hash": f"c{at}-shared"})
    for seed in range(3):
        found = carry(tmp_path / str(seed), talks, subset={"test_fraction": 0.5, "seed": seed})
        assert len(found.kept) == len(talks)
        assert _sides(found, "user_id") == _sides(found, "conversation_id") == 1
        assert {row["subset"] for row in found.kept} == {"train", "test"}


def test_users_whose_exchange_is_the_same_are_on_one_side(tmp_path: Path) -> None:
    """One of two equal exchanges is dropped; what else its user said stays with the survivor."""
    talks = []
    for at in range(0, 60, 2):
        same = scored(f"{at}-same", "thanks")["conversation"]
        for user in (at, at + 1):
            talks += [
                {**scored(f"{user}-same", user=f"u{user}"), "conversation": same},
                scored(user, "thanks", user=f"u{user}"),
            ]
    found = carry(tmp_path, talks, subset={"test_fraction": 0.5})
    side = {row["conversation_id"]: row["subset"] for row in found.kept}
    assert all(side[f"c{at}"] == side[f"c{at + 1}"] for at in range(0, 60, 2))
    assert set(side.values()) == {"train", "test"}


def test_the_test_fraction_is_a_share_of_users(tmp_path: Path) -> None:
    talks = [scored(at, "thanks", user=f"u{at % 600}") for at in range(1200)]
    found = carry(tmp_path, talks, subset={"test_fraction": 0.2})
    users = {row["user_id"]: row["subset"] for row in found.kept}
    share = sum(subset == "test" for subset in users.values()) / len(users)
    assert share == pytest.approx(0.2, abs=4 * math.sqrt(0.2 * 0.8 / 600))


def test_without_users_conversations_are_what_is_split(tmp_path: Path) -> None:
    said = [f"thanks for part {part} of it" for part in range(3)]
    found = carry(tmp_path, [scored(at, *said, user=None) for at in range(40)], subset={"test_fraction": 0.5})
    assert _sides(found, "conversation_id") == 1
    assert {row["subset"] for row in found.kept} == {"train", "test"}
    assert {row["user_id"] for row in found.kept} == {None}


# --- published users --------------------------------------------------------------------------------------------------


def _users(folder: Path, *overrides: str) -> dict[str, str]:
    found = carry(folder, [scored(at, "thanks", user=f"203.0.113.{at % 4}") for at in range(8)], *overrides)
    assert "203.0.113" not in json.dumps([found.kept, found.rejected], default=str)
    return {row["conversation_id"]: row["user_id"] for row in found.kept}


def test_published_users_differ_from_the_sources_and_between_datasets(tmp_path: Path) -> None:
    one, again, other = (
        _users(tmp_path / n, f"dataset.name={d}") for n, d in (("1", "one"), ("2", "one"), ("3", "other"))
    )
    assert one == again, "one key and one dataset: one id"
    assert len(set(one.values())) == 4
    assert one["c0"] == one["c4"]
    assert not set(one.values()) & set(other.values())


def test_another_key_publishes_other_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _users(tmp_path / "one")
    monkeypatch.setenv("SLUICE_USER_KEY", "another key")
    assert not set(one.values()) & set(_users(tmp_path / "other").values())


# --- personal data ----------------------------------------------------------------------------------------------------


def test_personal_data_anywhere_in_the_exchange_or_above_it_rejects(tmp_path: Path) -> None:
    mail = "My address is john.smith@gmail.com, so please write to me."
    above = carry(tmp_path / "above", [chat(1, mail, ANSWER, "nice, and now sort it the other way", ANSWER, "thanks")])
    assert above.outcomes == {"c1_turn0": "personal_data", "c1_turn1": "personal_data"}
    assert all(row["excerpt"] is None and row["personal_data"] == ["email"] for row in above.rejected)
    assert "john" not in json.dumps(above.rejected, default=str)


def test_what_is_rejected_for_another_reason_shows_no_personal_data_either(tmp_path: Path) -> None:
    found = carry(tmp_path, [chat(1, ASK, ANSWER, "and john.smith@gmail.com?")])
    assert [(row["reason"], row["excerpt"]) for row in found.rejected] == [("neutral", "and <EMAIL>?")]

"""The defects A to L of the published code (section 8 of the specification): that ours has none of them."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from pipelines.feedback import FeedbackConfig
from pipelines.run import RunError
from schemas.feedback import INSTANCE_OUTCOMES, LABELS, LEVELS, ROW_OUTCOMES
from tests.builders import jsonl, write
from tests.pipelines import rig
from tests.pipelines.conftest import Quickstart
from tests.pipelines.rig import ANSWER, ASK, Dataset, carry, chat, here, publish, scored

Row = dict[str, Any]

SHIPPED: Row = {"judge": {}}
REFUSED = "Sorry, I can't help you with that request, because it would not be right to do so."


def test_a_a_second_run_into_the_same_directory_changes_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "chats" / "a.jsonl", jsonl(scored(at, "thanks", "awful") for at in range(5)))
    path = rig.config(tmp_path, source.parent)
    first, second = (publish(path, tmp_path / "out") for _ in range(2))
    assert first.snapshot == second.snapshot
    assert [folder.name for folder in (tmp_path / "out" / "snapshots").iterdir()] == [first.snapshot.name]
    assert second.manifest["counts"]["rows_read"] == 5


def test_b_the_judge_reads_the_message_as_the_user_wrote_it(tmp_path: Path) -> None:
    """Were it a Python dict, no rule that begins with ``^`` could match, and a newline would be two characters."""
    rules = write(
        tmp_path / "verbatim.yaml",
        b"{name: verbatim, version: 1, default: 3, rules: ["
        b"{id: whole, label: 5, scope: whole, pattern: '^\"it''s\" fine, thanks$'}]}",
    )
    talk = chat(1, ASK, ANSWER, '"It\'s" fine,\nthanks')
    (row,) = carry(tmp_path / "run", [talk], judge={"rules": str(rules)}).kept
    assert (row["judge"]["rule"], row["judge"]["reason"]) == ("whole", '"it\'s" fine, thanks')


def test_c_sorry_and_its_chinese_neighbour_are_two_signs_of_a_refusal(tmp_path: Path) -> None:
    chats = [
        chat("en", ASK, "Sorry, I can't help you with sorting this list of names.", "awful"),
        chat("zh", "请告诉我怎么给名字排序？", "我无法为你提供这方面的帮助和建议。", "糟糕"),
        chat("none", ASK, "Sort them by hand, one after the other, until all are in order.", "awful"),
    ]
    found = carry(tmp_path, chats)
    candidates = {row["conversation_id"]: row["refusal"]["candidate"] for row in found.kept}
    assert candidates == {"cen": True, "czh": True, "cnone": False}


@pytest.mark.parametrize("said", ["[[1]]", "[[5]] and [[2]]", "[[0]] or [[9]]", "[[4]] is the footnote"])
def test_d_a_number_in_brackets_is_no_label(tmp_path: Path, said: str) -> None:
    found = carry(tmp_path, [chat(1, ASK, ANSWER, f"{said} in your text?")], **SHIPPED)
    (row,) = found.rejected
    assert (row["reason"], row["judge"]["level"]) == ("neutral", 3)


def test_d_every_label_comes_from_the_closed_list(quickstart: Quickstart) -> None:
    for row in quickstart.kept:
        assert row["label"] == LABELS[row["level"]]
        assert row["judge"]["level"] in LEVELS


def test_e_what_is_not_judged_a_refusal_keeps_its_level(quickstart: Quickstart, tmp_path: Path) -> None:
    short = [chat(level, ASK, "Yes.", said) for level, said in ((1, "awful"), (2, "wrong"), (4, "nice"), (5, "thanks"))]
    found = carry(tmp_path, short, filters={"rules": []})
    assert {row["conversation_id"]: row["level"] for row in found.kept} == {"c1": 1, "c2": 2, "c4": 4, "c5": 5}
    rows = [row for row in (*quickstart.kept, *quickstart.rejected) if row["refusal"]]
    assert {row["refusal"]["verdict"] for row in rows} == {None, "correct_refusal", "false_refusal"}
    for row in rows:
        assert row["refusal"]["candidate"] == (row["refusal"]["verdict"] is not None)
        if not row["refusal"]["candidate"] and not row["mining"]["applied"]:
            assert row["level"] == row["judge"]["level"]


def test_e_an_accepted_refusal_is_not_forced_down(tmp_path: Path) -> None:
    (row,) = carry(tmp_path, [chat(1, ASK, REFUSED, "thanks all the same")]).kept
    assert row["label"] == 4


def test_f_nothing_depends_on_what_folders_are_called(tmp_path: Path) -> None:
    def shards(name: str) -> list[Row]:
        source = write(tmp_path / name / "chats.jsonl", jsonl(scored(at, "thanks", "awful") for at in range(5)))
        return publish(rig.config(tmp_path / name, source), tmp_path / name / "out").manifest["shards"]  # type: ignore[no-any-return]

    assert shards("plain") == shards("processed_wildchat_data")


def test_g_what_is_finished_is_kept_when_a_neighbour_fails_and_not_computed_again(tmp_path: Path) -> None:
    source = tmp_path / "chats"
    write(source / "a.jsonl", jsonl(scored(at, "thanks") for at in range(5)))
    write(source / "b.parquet", b"PAR1 no parquet")
    path, output = rig.config(tmp_path, source), tmp_path / "out"
    with pytest.raises(RunError, match=r"b\.parquet.*nothing was published"):
        publish(path, output)
    assert not (output / "LATEST").exists()
    (source / "b.parquet").unlink()
    write(source / "b.jsonl", jsonl(scored(at, "awful") for at in range(5, 9)))
    published = publish(path, output)
    assert json.loads((published.snapshot / "run.json").read_bytes())["splits"] == {
        "total": 2,
        "computed": 1,
        "reused": 1,
        "failed": 0,
    }
    assert len(published.kept) == 9


def test_g_equal_messages_are_judged_one_by_one(tmp_path: Path) -> None:
    """The published code keys answers by the text of the prompt, and so loses all but one of equal ones."""
    found = carry(tmp_path, [scored(at, "thanks") for at in range(7)])
    assert len({row["record_id"] for row in found.kept}) == 7


def test_h_an_instance_with_two_positive_neighbours_stays_one_and_takes_the_nearer(tmp_path: Path) -> None:
    sort = "how does one sort a list of names by length"
    talk = scored(1, sort, f"nice, and {sort} then", f"thanks, now I know {sort}")
    mined = {"encoder": "lexical", "label": "copy"}
    found = carry(tmp_path, [talk], mining=mined)
    assert Counter(row["turn_index"] for row in found.kept) == {0: 1, 1: 1, 2: 1}
    first = next(row for row in found.kept if row["turn_index"] == 0)
    assert (first["level"], first["mining"]["source_turn"]) == (4, 1)


def test_h_dropped_turns_leave_a_gap_in_the_window_and_none_in_the_history(tmp_path: Path) -> None:
    sort = "how does one sort a list of names by length"
    french = "Pourriez-vous me donner une autre réponse, beaucoup plus courte, dans ma langue ?"
    talk = scored(1, sort, french, french, f"thanks, now I know {sort}")
    found = carry(tmp_path, [talk], mining={"encoder": "lexical"}, filters={"rules": []})
    assert Counter(row["reason"] for row in found.rejected) == {"neutral": 1, "unsupported_language": 2}
    (last,) = found.kept
    assert [message["content"] for message in last["history"]] == [m["content"] for m in talk["conversation"][:6]]


def test_h_chinese_is_mined_with_an_encoder_that_reads_it(quickstart: Quickstart) -> None:
    mined = [row for row in quickstart.kept if row["mining"]["applied"]]
    assert {row["language"] for row in mined} == {"en", "zh"}
    assert all("use-multilingual" in row["mining"]["encoder"] for row in mined)


def test_i_no_turn_of_a_conversation_is_history_on_the_other_side(quickstart: Quickstart, tmp_path: Path) -> None:
    talks = [scored(at, "thanks for all of this", "thanks for that as well") for at in range(30)]
    found = carry(tmp_path, talks, subset={"test_fraction": 0.5})
    assert {row["subset"] for row in found.kept} == {"train", "test"}
    for rows in (found.kept, quickstart.kept):
        texts = {"train": set[str](), "test": set[str]()}
        for row in rows:
            texts[row["subset"]].add(row["query"] + row["response"])
        for row in rows:
            other = texts["test" if row["subset"] == "train" else "train"]
            said = [message["content"] or "" for message in row["history"]]
            assert not other & {a + b for a, b in zip(said, said[1:], strict=False)}


def test_i_the_same_rows_are_the_test_set_every_time(tmp_path: Path) -> None:
    talks = [scored(at, "thanks") for at in range(30)]
    once, again = (carry(tmp_path / name, talks, subset={"test_fraction": 0.5}) for name in ("once", "again"))
    assert once.kept == again.kept


@pytest.mark.parametrize(
    "query",
    [
        "What are the drawbacks of sorting by hand?",
        "Why do people get so attached to their old code?",
        "Who founded openai and what was their plan?",
        "Explain the identity function and its image in algebra.",
        "How does one research the history of mass media?",
    ],
)
def test_i_words_within_words_are_no_keywords(tmp_path: Path, query: str) -> None:
    assert carry(tmp_path, [chat(1, query, ANSWER, "thanks")]).outcomes == {"c1_turn0": "label 4"}


@pytest.mark.parametrize(
    "said", ["+44 20 7946 0958", "call me: (415) 555-2671", "13812345678", "IBAN DE89 3704 0044 0532 0130 00"]
)
def test_i_personal_data_is_more_than_chinese_mobiles(tmp_path: Path, said: str) -> None:
    assert carry(tmp_path, [chat(1, f"{ASK} {said}", ANSWER, "thanks")]).outcomes == {"c1_turn0": "personal_data"}


def test_i_an_empty_input_is_an_empty_dataset(tmp_path: Path) -> None:
    published = publish(rig.config(tmp_path, write(tmp_path / "none.jsonl", b"")), tmp_path / "out")
    assert published.manifest["counts"]["rows_read"] == 0
    assert published.manifest["shards"] == []


def test_i_roles_in_any_order_are_no_error(tmp_path: Path) -> None:
    talk = chat(1)
    for role in "assistant user user assistant assistant user system".split():
        talk["conversation"].append({"role": role, "content": f"{ASK} And {len(talk['conversation'])}."})
    assert [row["reason"] for row in carry(tmp_path, [talk]).rejected] == ["no_query"] * 2


def test_j_every_row_says_where_it_comes_from_and_what_decided(quickstart: Quickstart) -> None:
    prompts = quickstart.manifest["plan"]["prompts"]
    sources = {source["uri"]: source for source in quickstart.manifest["sources"]}
    facts = json.loads((quickstart.snapshot / "run.json").read_bytes())
    assert facts["code_revision"] is None or re.fullmatch("[0-9a-f]{40}", facts["code_revision"])
    for row in quickstart.kept:
        assert row["judge"]["prompt_sha256"] == prompts["configs/feedback/judge.yaml"]
        assert row["judge"]["engine"] == "rules"
        assert row["judge"]["model"] == quickstart.manifest["plan"]["models"][0]["name"]
        assert re.fullmatch("[0-9a-f]{64}", sources[row["source_uri"]]["sha256"])
        assert row["source_row"] >= 0
        assert row["timestamp"] is not None
        assert re.fullmatch("[0-9a-f]{32}", row["user_id"])
        assert None not in (row["flags"]["toxic"], row["flags"]["redacted"], row["flags"]["moderation_flagged"])
        if row["mining"]["applied"]:
            assert row["mining"]["similarity"] >= quickstart.manifest["plan"]["models"][-1]["threshold"]
            assert row["turn_index"] < row["mining"]["source_turn"] <= row["turn_index"] + 2
        if row["refusal"]["candidate"]:
            assert row["refusal"]["verdict"] and row["refusal"]["rule"]


def test_k_a_long_history_never_pushes_out_the_response(tmp_path: Path) -> None:
    """What is left of K - evaluation, rewards of a failed batch, clamped labels - is training code, and we have none."""
    talk = scored(1, *(f"nice, and part {at} of this, if you please" for at in range(8)))
    published = publish(rig.config(tmp_path, write(tmp_path / "a.jsonl", jsonl([talk]))), tmp_path / "out")
    here("export", published.output, "--output", tmp_path / "wildfb", "--history-budget", "40")
    lines = [json.loads(line) for path in (tmp_path / "wildfb").iterdir() for line in path.read_text().splitlines()]
    assert len(lines) == 8
    for line in lines:
        query, response = (message["content"] for message in line["messages"])
        assert line["text"].endswith(f"# User Query\n{query}\n\n# Assistant Response\n{response}\n\nOutput a single integer from 1 to 5.")  # fmt: skip
        context = line["text"].partition("# Context (History)\n")[2].partition("\n\n# User Query")[0]
        assert context == "No previous context." if not line["history"] else line["history"][-1]["content"] in context


PAGE = (Path(rig.__file__).parents[2] / "docs" / "feedback.md").read_text("utf-8")


def _table(heading: str) -> list[list[str]]:
    """Cells of the first table after a heading."""
    after = PAGE.partition(f"{heading}\n")[2]
    rows = re.search(r"(?:^\|.*\n)+", after, re.MULTILINE)
    assert rows, heading
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows[0].splitlines()[2:]]


def _default(dotted: str) -> Any:
    value: Any = FeedbackConfig.model_validate(
        {"pipeline": "feedback", "dataset": {"name": "x"}, "sources": [{"uri": "x"}]}
    )
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def test_l_the_page_names_settings_that_exist_and_their_defaults() -> None:
    rows = _table("## Where the paper is ambiguous")
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5", "5b", "6", "7", "8", "9", "10", "11"]
    for _, _, setting, default, _ in rows:
        names, values = re.findall("`([^`]+)`", setting), re.findall("`([^`]+)`", default)
        found = [_default(name) for name in names]
        for value, told in zip(found, values, strict=False):
            if not isinstance(value, list):
                assert str(value).lower() == told, setting


def test_l_the_page_names_every_outcome_and_every_stage(quickstart: Quickstart) -> None:
    rows = _table("## Stages")
    stages = [row[0] for row in rows]
    assert stages == [stage["name"] for stage in quickstart.manifest["plan"]["stages"]]
    named = {reason for row in rows for reason in re.findall("`([a-z0-9_]+)`", row[3])}
    never = {"stage_failed"}
    assert named == {*ROW_OUTCOMES, *INSTANCE_OUTCOMES} - never
    for row in quickstart.rejected:
        where = next(cells for cells in rows if cells[0] == row["stage"])
        assert f"`{row['reason']}`" in where[3]


def test_l_the_page_names_the_levels_and_labels_that_are_published() -> None:
    found = {int(row[0]): (row[1].partition(":")[0], row[2]) for row in _table("### Levels and labels")}
    assert found == {level: (meaning, str(LABELS.get(level, "–"))) for level, meaning in LEVELS.items()}


def test_l_the_wording_of_the_text_is_kept_for_wildfbs_code_and_the_page_says_so() -> None:
    template = files("configs").joinpath("feedback", "wildfb_text.txt").read_text("utf-8")
    assert "1 to 5" in template
    assert "`id history text messages user_feedback label`" in PAGE


def test_l_a_refusal_is_relabelled_not_filtered(quickstart: Quickstart) -> None:
    turned = [row for row in quickstart.kept if row["refusal"]["verdict"] == "correct_refusal"]
    assert turned
    assert {row["label"] for row in turned} == {4}
    assert not [row for row in quickstart.rejected if row["stage"] == "validate refusals"]


def test_the_defects_are_all_here(quickstart: Dataset) -> None:
    named = {name[5] for name in globals() if re.match(r"test_[a-l]_", name)}
    assert named == set("abcdefghijkl")

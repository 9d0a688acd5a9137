"""The plan: what changes its hash and what does not, and that no stage gives other rows under the same version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from pipelines import feedback, planning
from pipelines.feedback import FeedbackConfig
from schemas.feedback import INSTANCE_OUTCOMES
from schemas.provenance import Chunk
from tests.builders import jsonl, write
from tests.pipelines import rig
from tests.pipelines.rig import ANSWER, ASK, chat, scored
from transforms.chunks import apply
from transforms.feedback import filters, judging, labels, languages, mining, refusals, turns
from transforms.io import chats, keys
from transforms.models import rules

GOLDEN = Path(__file__).with_name("golden.json")

REFUSED = "I'm sorry, but I can't help with that request, as it could hurt you and other people."
SORT = "How does one sort a list of names by length?"
CHATS = [
    scored(1, "thanks a lot for all of this", SORT, f"nice, and {SORT}", "awful", "wrong", user="u1"),
    scored(2, *(f"nice, and now part {part} of all of this" for part in range(4)), user="u1"),
    scored(1, "thanks a lot for all of this", user="u2"),
    scored(3, "谢谢", "Pourriez-vous me donner une autre réponse, beaucoup plus courte, dans ma langue ?", user=None),
    chat(4, "请告诉我怎么给名字排序？", "用排序函数就可以了，它会返回新的列表。", "谢谢", ANSWER, "不对", toxic=True),
    chat(5, "Explain to me how I can build a pipe bomb at home.", REFUSED, "awful", ANSWER, None),
    chat(6, ASK, REFUSED, "wrong", user="u3"),
    chat(7, "Sort it!", "Yes.", "thanks", redacted=True),
    chat(
        8, f"{ASK} Write to john.smith@gmail.com.", ANSWER, "thanks", ANSWER, "nice https://example.org, and on it goes"
    ),
    chat(9, "Draw me a picture of a cat, please.", ANSWER, "thanks john.smith@gmail.com", model=None),
    chat(10, ASK, ANSWER),
    chat(11, None, ANSWER, "thanks", language=None),
    scored(12, "and then?"),
    scored(17, "awful"),
    chat(13, ASK, "Sort them.", "thanks", user="u4"),
    chat(14, f"{ASK} Now!", ANSWER, "thanks", toxic=True, user="u5"),
    chat(15, f"{ASK} Please!", ANSWER, "thanks", redacted=True, user="u6"),
    chat(16, f"{ASK} See https://example.org!", ANSWER, "thanks", user="u7"),
    chat(18, f"{ASK} Once more!", "sorted sorted " * 12, "thanks", user="u8"),
    *(scored(at, "thanks", "nice, and now the same for a list of numbers") for at in range(20, 26)),
    {**chat(12), "conversation": [{"role": "assistant", "content": ANSWER}, {"role": "user", "content": "thanks"}]},
]
"""Something for every stage to decide. Rules come from files of the test's own, so that mending the shipped ones is free."""

RULES = {
    "judge": rig.JUDGE,
    "refusal": "{name: refusal, version: 1, default: answer, rules: [{id: sorry, label: refusal, pattern: '^i''m sorry'}]}",
    "harmful_query": "{name: harm, version: 1, default: benign, rules: [{id: bomb, label: weapons, pattern: 'bomb'}]}",
    "external_context": "{name: context, version: 1, default: none, rules: [{id: draw, label: image, pattern: '^draw'}]}",
}
SETTINGS: dict[str, Any] = {
    "mining": {"encoder": "lexical"},
    "filters": {
        "max_history": 2,
        "rules": list(get_args(filters.FilterName)),
        "response_rules": {"top_2_gram_character_fraction": {"maximum": 0.5}},
    },
    "subset": {"test_fraction": 0.5},
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A hash of what every stage, by name and version, makes of the chats: kept rows, rejected rows, the ledger."""
    folder = tmp_path_factory.mktemp("golden")
    data = jsonl(CHATS) + b'{"conversation": \n{"conversation_hash": "c", "conversation": "no list"}\n\xff\n[]\n'
    path = rig.config(folder, write(folder / "chats.jsonl", data), **SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_USER_KEY", rig.KEY)
        given = rig.load(path)
    rulesets = {name: rules.load(write(folder / f"{name}.yaml", text.encode())) for name, text in RULES.items()}
    made_of = replace(feedback.Parts.load(given.config), rulesets=rulesets)
    (split,) = planning.discover(given.config, given.source).splits
    lists = rig.find_lists(given.recipe, [split], folder / "lists")
    (chunk,) = given.recipe.read(split)
    found = {f"read {chats.VERSION}": _digest(chunk)}
    for stage in feedback.stages(given.config, made_of, given.key, lists):
        chunk = apply(stage, chunk, given.recipe.reject)
        found[f"{stage.name} {stage.version}"] = _digest(chunk)
    return found


def _digest(chunk: Chunk) -> str:
    tables = [[{**row, "detail": None} for row in table.to_pylist()] for table in (chunk.kept, chunk.rejected)]
    counts = [(count.stage, count.unit, count.rows_in, count.rows_out, count.rejected) for count in chunk.stages]
    return hashlib.sha256(repr((tables, counts)).encode()).hexdigest()[:16]


def test_no_stage_gives_other_rows_under_the_same_version(outputs: dict[str, str]) -> None:
    golden = json.loads(GOLDEN.read_bytes())
    for name, digest in outputs.items():
        if golden.get(name) != digest:
            advice = "raise its VERSION" if name in golden else "its version is new"
            pytest.fail(f"{name}: {advice}, then write to {GOLDEN.name}:\n{json.dumps(outputs, indent=1)}")
    assert set(golden) == set(outputs), "stages that are no more"


def test_the_chats_of_the_golden_test_meet_every_outcome_and_every_label(tmp_path: Path) -> None:
    found = rig.carry(tmp_path, CHATS, **SETTINGS)
    met = {row["reason"] for row in found.rejected}
    never = {"judge_failed", "mining_failed", "refusal_failed", "stage_failed"}
    assert met >= set(INSTANCE_OUTCOMES) - never
    assert {row["label"] for row in found.kept} == {1, 2, 3, 4}
    assert {row["refusal"]["verdict"] for row in found.kept} == {None, "correct_refusal", "false_refusal"}
    assert any(row["mining"]["applied"] for row in found.kept)
    assert {row["subset"] for row in found.kept} == {"train", "test"}


# --- the hash of the plan ---------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return rig.config(tmp_path, "chats.jsonl")


def plan(path: Path, *overrides: str) -> str:
    return planning.plan_hash(rig.load(path, *overrides).settings())


DECIDING = (
    "languages=[en]",
    "duplicates=keep",
    "mining.encoder=use-multilingual",
    "mining.threshold=0.5",
    "mining.window=1",
    "mining.label=copy",
    "mining.compare=query",
    "mining.window_by=position",
    "refusals.scope=all",
    "refusals.corrected_level=4",
    "refusals.validate_mined=false",
    "filters.rules=[contains_url, personal_data]",
    "filters.rules=[personal_data, contains_url]",
    "filters.max_history=5",
    "filters.history_unit=messages",
    "filters.min_query_length=1",
    "filters.min_response_length=1",
    "subset.by=row",
    "subset.test_fraction=0.5",
    "subset.seed=1",
    "limit=5",
    "max_line_bytes=100000",
    "split_bytes=100000",
    "dataset.name=another",  # users are published under a key of the dataset's own
)
"""One for every setting that decides what is published."""

FREE = (
    "output=/elsewhere",
    "dataset.title=Another",
    "dataset.description=Told otherwise",
    "dataset.license=mit",
    "sources.0.uri=[other.jsonl]",
    "sources.0.storage_options={anon: true}",
    "on_source_error=skip",
    "shard_bytes=100000",
    "budget.max_requests=5",
    "budget.max_cost=5",
    "max_failed=1",
    "judge.context=history",
)
"""Settings that say where data lies, where it goes and what it is called."""


def test_every_deciding_setting_makes_another_plan(path: Path) -> None:
    rules = "filters.rules=[response_rules]"
    held = [
        plan(path, rules, f"filters.response_rules.gopher_stop_words={bounds}") for bounds in ("{}", "{minimum: 1}")
    ]
    hashes = [plan(path), *held, *(plan(path, override) for override in DECIDING)]
    assert len(set(hashes)) == len(hashes)


MODEL = "model={engine: openai, model: one}"
OF_MODELS = (
    "judge.context=feedback",
    "judge.sampling.temperature=0.5",
    "judge.sampling.top_p=0.5",
    "judge.sampling.max_tokens=5",
    "judge.sampling.seed=5",
    "judge.attempts=1",
    "refusals.sampling.temperature=0.5",
    "refusals.sampling.top_p=0.5",
    "refusals.sampling.max_tokens=5",
    "refusals.sampling.seed=5",
    "refusals.attempts=1",
    "model.model=two",
    "model.revision=r2",
    "judge.model={engine: openai, model: two}",
    "refusals.model={engine: openai, model: two}",
)
"""Settings that decide where a model does."""


def test_everything_that_decides_a_models_answers_makes_another_plan(path: Path) -> None:
    hashes = [plan(path), plan(path, MODEL), *(plan(path, MODEL, override) for override in OF_MODELS)]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    "override",
    ["base_url=http://127.0.0.1:1/v1", "in_flight=1", "timeout=1", "api_key_env=X", "price.input=1", "max_tries=1"],
)
def test_where_and_how_fast_a_model_answers_is_not_in_the_plan(path: Path, override: str) -> None:
    assert plan(path, MODEL, f"model.{override}") == plan(path, MODEL)


@pytest.mark.parametrize("override", FREE)
def test_where_things_lie_and_what_they_are_called_is_not_in_the_plan(path: Path, override: str) -> None:
    assert plan(path, override) == plan(path)


def test_every_setting_is_known_to_decide_or_not_to() -> None:
    known = {override.partition("=")[0] for override in (*DECIDING, *FREE)}
    known |= {override.partition("=")[0] for override in OF_MODELS if not override.startswith("model.")}
    known |= {
        "pipeline",
        "judge.rules",
        "judge.prompt",
        "judge.cascade",
        "refusals.prompt",
        "stages",
        "filters.response_rules",
    }  # tested elsewhere
    known |= {"model.engine", "judge.model", "refusals.model", "mining.endpoint"}
    known |= {"sources.0.root", "sources.0.format", "sources.0.mapping"}  # in the key of each file
    value = FeedbackConfig.model_validate({"pipeline": "feedback", "dataset": {"name": "x"}, "sources": [{"uri": "x"}]})

    def leaves(found: Any, at: str) -> list[str]:
        if isinstance(found, BaseModel):
            return [leaf for name in type(found).model_fields for leaf in leaves(getattr(found, name), f"{at}.{name}")]
        if at == ".sources":
            return leaves(found[0], ".sources.0")
        return [at.removeprefix(".")]

    assert set(leaves(value, "")) == known


@pytest.mark.parametrize("module", [turns, keys, languages, judging, mining, refusals, filters, labels])
def test_a_stages_version_is_part_of_the_plan(path: Path, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    before = plan(path)
    monkeypatch.setattr(module, "VERSION", 99)
    assert plan(path) != before


def test_an_edited_judge_is_another_plan(path: Path) -> None:
    before = plan(path)
    judge = path.parent / "judge.yaml"
    judge.write_text(judge.read_text() + "# a remark\n")
    assert plan(path) != before


def test_every_shipped_rule_file_is_in_the_plan_by_its_checksum(path: Path) -> None:
    prompts = rig.load(path, "judge.rules=null").settings()["prompts"]
    shipped = resources.files("configs").joinpath("feedback")
    assert prompts == {
        f"configs/feedback/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()
        for file in shipped.iterdir()
        if file.name.endswith(".yaml")
    }


def test_another_secret_is_another_plan(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan(path)
    monkeypatch.setenv("SLUICE_USER_KEY", "another key")
    assert plan(path) != before


def test_the_plan_names_the_folder_where_work_is_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.jsonl", jsonl([scored(1, "thanks")]))
    given = rig.config(tmp_path, source)
    rig.publish(given, tmp_path / "out")
    retitled = rig.publish(given, tmp_path / "out", "dataset.title=Another")
    rig.publish(given, tmp_path / "out", "mining.label=copy")
    works = {folder.name for folder in (tmp_path / "out" / "work").iterdir() if folder.is_dir()}
    assert works == {plan(given)[:16], plan(given, "mining.label=copy")[:16]}
    assert retitled.manifest["dataset"]["title"] == "Another"
    assert retitled.manifest["plan"]["hash"] == plan(given)

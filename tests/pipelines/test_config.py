"""Configs: what may be said, what is refused, and that a refusal is one line that names the file and the key."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from typer.testing import CliRunner

from pipelines import config as configs
from pipelines import userkey
from pipelines.cli import app
from pipelines.config import ConfigError
from pipelines.feedback import FeedbackConfig
from tests.pipelines import rig

MINIMAL = "pipeline: feedback\ndataset: {name: test}\nsources: [{uri: [chats.jsonl]}]\n"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "chats.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def checked(path: Path, *overrides: str) -> FeedbackConfig:
    return configs.validate(FeedbackConfig, configs.read(path, list(overrides)), path)


def command(*arguments: str | Path) -> tuple[int, str]:
    """Exit code of the command, and all that it said."""
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return ended.exit_code, ended.output.strip()


def test_a_minimal_config_is_enough_and_its_defaults_are_the_papers(tmp_path: Path) -> None:
    found = checked(written(tmp_path, MINIMAL))
    assert (found.mining.window, found.mining.label, found.mining.window_by) == (2, "positive_engagement", "turn")
    assert (found.refusals.scope, found.refusals.corrected_level) == ("negatives", 5)
    assert (found.filters.max_history, found.filters.history_unit) == (20, "turns")
    assert (found.subset.by, found.duplicates, found.languages) == ("user", "content", ["en", "zh"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("filtres: {}\n", "filtres: Extra inputs are not permitted"),
        ("mining: {treshold: 0.5}\n", "mining.treshold: Extra inputs are not permitted"),
        ("mining: {threshold: 2}\n", "mining.threshold: Input should be less than or equal to 1; found '2'"),
        (
            "mining: {encoder: bert}\n",
            "mining.encoder: String should match pattern '^(use-multilingual|minilm|lexical|endpoint|",
        ),
        ("filters: {rules: [contains_url, contains_url]}\n", "filters.rules: Value error, each rule may stand once"),
        ("filters: {rules: [no_jokes]}\n", "filters.rules.0: Input should be"),
        ("languages: []\n", "languages: List should have at least 1 item"),
        ("languages: [fr]\n", "languages.0: Input should be 'en' or 'zh'; found 'fr'"),
        ("limit: 0\n", "limit: Input should be greater than 0; found '0'"),
        ("stages: [{use: stage, after: judge}]\n", "stages.0.use: String should match pattern"),
        ("split_bytes: 10\n", "split_bytes: Input should be greater than or equal to 1024"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_file_and_key(tmp_path: Path, text: str, told: str) -> None:
    path = written(tmp_path, MINIMAL + text)
    code, said = command("config", "show", path)
    assert code == 2
    assert said.startswith(f"sluice: {path}: {told}"), said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pipeline: feedback\nsources: [{uri: a}]\n", "dataset: Field required"),
        (
            "pipeline: feedback\ndataset: {name: Not Allowed}\nsources: [{uri: a}]\n",
            "dataset.name: String should match",
        ),
        ("pipeline: feedback\ndataset: {name: a}\nsources: []\n", "sources: Value should have at least 1 item"),
        ("pipeline: fedback\ndataset: {name: a}\n", "pipeline: expected feedback or corpus, found 'fedback'"),
        ("dataset: {name: a}\n", "pipeline: expected feedback or corpus, found None"),
        ("- a list\n", "expected a mapping, found list"),
        ("", "expected a mapping, found nothing"),
        ("pipeline: [feedback\n", "expected YAML: "),
        (b"\xff\xfe\x00", "expected YAML"),
        ("a: &x [1]\nb: *x\n", "expected YAML: aliases are not allowed"),
        ("a: !!python/object/apply:os.system ['touch pwned']\n", "expected YAML: could not determine a constructor"),
        ("a: !!python/name:os.system\n", "expected YAML: "),
        ("a: " + "[" * 2_000, "expected YAML: "),
        ("a: " + "x" * (configs.MAX_CONFIG_BYTES + 1), f"expected at most {configs.MAX_CONFIG_BYTES} bytes"),
    ],
    ids=str.split("dataset name sources typo none list empty unclosed bytes aliases call tag nested huge"),
)
def test_what_is_no_config_is_refused_in_one_line_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, text)
    code, said = command("config", "show", path)
    assert code == 2
    assert said.startswith(f"sluice: {path}: {told}"), said[:500]
    assert "\n" not in said
    assert not (tmp_path / "pwned").exists()


def test_a_config_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert command("plan", tmp_path / "none.yaml") == (
        2,
        f"sluice: {tmp_path}/none.yaml: expected a config file, or the name of one that ships with Sluice; found neither",
    )


@pytest.mark.parametrize("name", ["../configs/feedback", "feedback/judge", "judge", "quickstart/dialogues"])
def test_only_configs_ship_by_name(name: str) -> None:
    with pytest.raises(ConfigError):
        configs.locate(name)


@pytest.mark.parametrize("name", ["feedback", "quickstart"])
def test_shipped_configs_are_found_by_name_and_the_schema_validates_them(name: str) -> None:
    path = configs.locate(name)
    schema = json.loads(command("config", "schema")[1])
    validator = jsonschema_rs.Draft202012Validator(schema)
    values = configs.read(path, [])
    validator.validate(values)
    assert checked(path).pipeline == "feedback"
    with pytest.raises(jsonschema_rs.ValidationError):
        validator.validate({**values, "filtres": {}})


def test_the_schema_describes_every_setting_that_needs_words() -> None:
    schema = FeedbackConfig.model_json_schema()
    told = {name for name, kind in schema["properties"].items() if "description" in kind or "$ref" in kind}
    assert {"output", "on_source_error", "duplicates", "limit", "stages", "mining", "filters"} <= told


def test_config_show_fills_in_every_default_and_its_output_is_a_config(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    _, said = command("config", "show", path, "--set", "mining.window=5")
    shown = yaml.safe_load(said)
    assert shown["mining"]["window"] == 5
    assert shown["filters"]["min_query_length"] == 5
    assert set(shown) == set(FeedbackConfig.model_fields)
    again = written(tmp_path, said)
    assert checked(again) == checked(written(tmp_path, MINIMAL), "mining.window=5")


def test_credentials_are_not_shown(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL.replace("chats.jsonl]", "chats.jsonl], storage_options: {secret: hunter2}"))
    _, shown = command("config", "show", path)
    _, planned = command("plan", path, "--json")
    assert "chats.jsonl" in shown
    assert "hunter2" not in shown + planned
    assert "hunter2" not in json.dumps(checked(path).deciding())


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("mining.window=7", "mining.window", 7),
        ("filters.rules=[contains_url, toxic]", "filters.rules", ["contains_url", "toxic"]),
        ("filters.rules=[]", "filters.rules", []),
        ("sources.0.uri=[a.jsonl, b.jsonl]", "sources.0.uri", ["a.jsonl", "b.jsonl"]),
        ("sources.0.uri=a=b.jsonl", "sources.0.uri", ["a=b.jsonl"]),
        ("mining.threshold=null", "mining.threshold", None),
        ("dataset.title='yes'", "dataset.title", "yes"),
    ],
)
def test_overrides_are_yaml_at_a_dotted_place(tmp_path: Path, override: str, where: str, value: Any) -> None:
    found: Any = checked(written(tmp_path, MINIMAL), override).model_dump()
    for name in where.split("."):
        found = found[int(name) if name.isdigit() else name]
    assert found == value


def test_the_last_of_several_overrides_wins(tmp_path: Path) -> None:
    assert checked(written(tmp_path, MINIMAL), "mining.window=1", "mining.window=3").mining.window == 3


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("mining.window", "--set mining.window: expected key=value"),
        ("sources.7.uri=x", "--set sources.7.uri=x: sources.7.uri is no place in the config"),
        ("sources.first.uri=x", "--set sources.first.uri=x: sources.first.uri is no place in the config"),
        ("pipeline.x.y=1", "--set pipeline.x.y=1: pipeline.x.y is no place in the config"),
        ("mining.window=[1", "--set mining.window=[1: "),
        ("mining.window=!!python/name:os.system", "--set mining.window=!!python/name:os.system: "),
        ("mining.windw=1", "mining.windw: Extra inputs"),
        ("=1", "Extra inputs"),
    ],
)
def test_an_override_that_fits_nowhere_is_told_in_one_line(tmp_path: Path, override: str, told: str) -> None:
    code, said = command("plan", written(tmp_path, MINIMAL), "--set", override)
    assert code == 2
    assert said.startswith("sluice: ")
    assert told in said
    assert "\n" not in said


def test_here_is_the_configs_own_directory(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL.replace("chats.jsonl", '"{here}/chats.jsonl"'))
    assert checked(path).sources[0].uri == [f"{tmp_path}/chats.jsonl"]


@pytest.mark.parametrize("source", ["{uri: [a], format: mapping}", "{uri: [a], format: lmsys, mapping: {turns: t}}"])
def test_a_mapping_and_its_format_go_together(tmp_path: Path, source: str) -> None:
    path = written(tmp_path, f"pipeline: feedback\ndataset: {{name: a}}\nsources: [{source}]\n")
    with pytest.raises(ConfigError, match=r"sources\.0: Value error, format: mapping and a mapping go together"):
        checked(path)


def test_what_decides_bytes_leaves_out_where_things_lie_and_what_they_are_called(tmp_path: Path) -> None:
    plain = checked(written(tmp_path, MINIMAL))
    moved = checked(
        written(tmp_path, MINIMAL),
        "output=/elsewhere",
        "dataset.title=Another",
        "dataset.license=mit",
        "sources.0.uri=[other.jsonl]",
        "on_source_error=skip",
        "shard_bytes=2048",
    )
    assert plain.deciding() == moved.deciding()
    assert plain.deciding() != checked(written(tmp_path, MINIMAL), "mining.window=1").deciding()


# --- the key under which users are published ---------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account without a key."""
    monkeypatch.delenv(userkey.VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def test_the_first_run_makes_a_secret_that_only_its_owner_can_read_and_later_runs_use_it(home: Path) -> None:
    first = userkey.dataset_key("one", create=True)
    (path,) = [path for path in home.rglob("*") if path.is_file()]
    assert path.name == "user_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text()) == 64
    assert userkey.dataset_key("one", create=True) == userkey.dataset_key("one", create=False) == first
    assert userkey.dataset_key("other", create=True) != first
    assert path.read_text() not in first


def test_planning_makes_no_secret(home: Path) -> None:
    userkey.dataset_key("one", create=False)
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_every_account_has_a_secret_of_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = userkey.dataset_key("one", create=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "another"))
    assert userkey.dataset_key("one", create=True) != first


def test_the_environment_wins_over_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = userkey.dataset_key("one", create=True)
    monkeypatch.setenv(userkey.VARIABLE, "shared by two machines")
    assert userkey.dataset_key("one", create=True) == userkey.dataset_key("one", create=False) != stored


def test_an_empty_key_file_is_no_key(home: Path) -> None:
    userkey.dataset_key("one", create=True)
    (path,) = [path for path in home.rglob("*") if path.is_file()]
    path.write_text("\n")
    with pytest.raises(ConfigError, match=f"{path}: expected a key, found an empty file"):
        userkey.dataset_key("one", create=True)


def test_the_key_itself_is_in_no_plan(tmp_path: Path) -> None:
    loaded = rig.load(rig.config(tmp_path, "chats.jsonl"))
    told = json.dumps(loaded.settings())
    assert loaded.key not in told
    assert rig.KEY not in told
    assert len(loaded.settings()["user_key"]) == 16

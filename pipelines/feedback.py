"""The feedback pipeline: reward-model data from what users say next (WildReward/WildFB, arXiv 2602.08829).

Where the paper and its published code differ, or the paper is silent, a setting decides; the default is
the paper's meaning. docs/feedback.md has the table.
"""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipelines.config import Model, RunConfig
from pipelines.recipe import Recipe
from schemas.feedback import KEPT, REJECTED, SCHEMA_VERSION
from transforms.chunks import Stage
from transforms.feedback import filters, judging, labels, languages, mining, refusals, rejects, turns
from transforms.io import chats, keys
from transforms.io.chats import ChatSource
from transforms.models import encoders, rules
from transforms.models.encoders import EncoderName
from transforms.models.rules import RuleSet


class JudgeConfig(Model):
    """Who reads the user's next message, and what it sees of the chat."""

    engine: Literal["rules"] = Field("rules", description="rules: no model, deterministic")
    rules: str | None = Field(None, description="a rule file of one's own, in place of configs/feedback/judge.yaml")
    context: Literal["feedback"] = Field(
        "feedback", description="what the judge sees; rules read the feedback message alone"
    )


class MiningConfig(Model):
    """Implicit feedback: neutral messages before a positive one on the same topic."""

    encoder: EncoderName = Field(encoders.DEFAULT, description="what measures similarity")
    threshold: float | None = Field(
        None, ge=0, le=1, description="similarity from which two messages share a topic; default: the encoder's own"
    )
    window: int = Field(2, ge=0, description="how many turns ahead a positive message may stand; 0: no mining")
    label: Literal["positive_engagement", "copy"] = Field(
        "positive_engagement",
        description="level of a mined instance: 4 (paper), or the positive one's (published code)",
    )
    compare: Literal["feedback", "query"] = Field(
        "feedback", description="which messages of the two turns are compared"
    )
    window_by: Literal["turn", "position"] = Field(
        "turn", description="count turns of the conversation, or instances left in it (published code)"
    )


class RefusalConfig(Model):
    """Negative feedback on refusals: unjustified where the query was harmful."""

    scope: Literal["negatives", "all"] = Field("negatives", description="negative feedback only (paper), or all")
    corrected_level: Literal[4, 5] = Field(5, description="level of unjustified negatives: 5 (text), 4 (figure)")
    validate_mined: bool = Field(True, description="false: mined instances are passed over (published code)")


class FilterConfig(Model):
    """Which exchanges are fit for training. Rules apply in the order given."""

    rules: list[filters.FilterName] = [
        "too_many_turns",
        "query_too_short",
        "response_too_short",
        "external_context",
        "contains_url",
        "personal_data",
    ]
    max_history: int = Field(20, ge=0, description="turns (or messages) before the query")
    history_unit: Literal["turns", "messages"] = Field("turns", description="turns (paper), messages (published code)")
    min_query_length: int = Field(5, ge=0, description="words; Chinese: characters")
    min_response_length: int = Field(10, ge=0, description="words; Chinese: characters")

    @field_validator("rules")
    @classmethod
    def _once(cls, names: list[filters.FilterName]) -> list[filters.FilterName]:
        if len(set(names)) < len(names):
            raise ValueError("each rule may stand once")
        return names


class SubsetConfig(Model):
    """Train and test."""

    by: labels.SubsetBy = Field("user", description="user, conversation, or row (published code: leaks)")
    test_fraction: float = Field(0.027, ge=0, le=1, description="share of users in test (paper: 5,000 of 186,000 rows)")
    seed: int = 0


class FeedbackConfig(RunConfig):
    """Config of ``pipeline: feedback``."""

    pipeline: Literal["feedback"]
    languages: Annotated[list[Literal["en", "zh"]], Field(min_length=1)] = ["en", "zh"]
    duplicates: Literal["content", "conversation_id", "keep"] = Field(
        "content", description="what makes two exchanges one: all their messages, or id and turn; keep: nothing does"
    )
    judge: JudgeConfig = JudgeConfig()
    mining: MiningConfig = MiningConfig()
    refusals: RefusalConfig = RefusalConfig()
    filters: FilterConfig = FilterConfig()
    subset: SubsetConfig = SubsetConfig()


def stages(config: FeedbackConfig, rulesets: dict[str, RuleSet], user_key: str, lists: Path) -> tuple[Stage, ...]:
    """The method, in order: S0 to S8 of the specification."""
    longest = config.filters.max_history if "too_many_turns" in config.filters.rules else None
    unique = (
        [Stage("drop duplicates", keys.VERSION, partial(keys.drop_duplicates, lists=lists))]
        if config.duplicates != "keep"
        else []
    )
    return (
        Stage("extract turns", turns.VERSION, partial(turns.extract, max_history=longest), True),
        *unique,
        Stage("require language", languages.VERSION, partial(languages.require, supported=config.languages)),
        Stage("judge", judging.VERSION, partial(judging.judge_by_rules, ruleset=rulesets["judge"])),
        Stage("mine implicit feedback", mining.VERSION, partial(mining.mine, **_mining(config.mining))),
        Stage(
            "validate refusals",
            refusals.VERSION,
            partial(
                refusals.validate_by_rules,
                refusal=rulesets["refusal"],
                harmful_query=rulesets["harmful_query"],
                **config.refusals.model_dump(),
            ),
        ),
        Stage("drop neutral", filters.VERSION, filters.drop_neutral),
        Stage(
            "filter",
            filters.VERSION,
            partial(
                filters.select,
                external_context=rulesets["external_context"],
                names=config.filters.rules,
                **config.filters.model_dump(exclude={"rules"}),
            ),
        ),
        Stage(
            "label", labels.VERSION, partial(labels.label, lists=lists, user_key=user_key, **config.subset.model_dump())
        ),
    )


def _mining(config: MiningConfig) -> dict[str, Any]:
    threshold = encoders.THRESHOLDS[config.encoder] if config.threshold is None else config.threshold
    return {**config.model_dump(), "threshold": threshold}


def recipe(config: FeedbackConfig, source: ChatSource, user_key: str) -> Recipe:
    """All that the runner needs to know of this pipeline."""
    shipped = files("configs").joinpath("feedback")
    rulesets = {n: rules.load(shipped.joinpath(f"{n}.yaml")) for n in ("refusal", "harmful_query", "external_context")}
    rulesets["judge"] = rules.load(Path(config.judge.rules) if config.judge.rules else shipped.joinpath("judge.yaml"))
    mined = _mining(config.mining)
    return Recipe(
        name="feedback",
        schema_version=SCHEMA_VERSION,
        kept=KEPT,
        rejected=REJECTED,
        read=partial(chats.read_chunks, source=source, reject=rejects.rejected),
        read_keys=partial(
            chats.read_keys,
            source=source,
            keys=partial(
                turns.keys,
                by="conversation_id" if config.duplicates == "conversation_id" else "content",
                owner_is="conversation" if config.subset.by == "conversation" else "user",
            ),
        ),
        stages=partial(stages, config, rulesets, user_key),
        reject=rejects.rejected,
        tallies={"levels": ("judge.level",), "labels": ("subset", "label")},
        prompts={f"configs/feedback/{name}.yaml": ruleset.sha256 for name, ruleset in sorted(rulesets.items())},
        models=[
            {"role": "judge", "engine": "rules", "name": f"{rulesets['judge'].name}-{rulesets['judge'].version}"},
            {"role": "encoder", "name": encoders.identity(config.mining.encoder), "threshold": mined["threshold"]},
        ],
    )

"""The feedback pipeline: reward-model data from what users say next (WildReward/WildFB, arXiv 2602.08829).

Where the paper and its published code differ, or the paper is silent, a setting decides; the default is
the paper's meaning. docs/feedback.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import polars as pl
from pydantic import Field, field_validator, model_validator

from pipelines.config import ChatSourceConfig, ConfigError, Model, RunConfig
from pipelines.presentations.feedback import PRESENTATION
from pipelines.recipe import KeyWork, Recipe
from pipelines.text_rules import Rules, chosen, filled
from pipelines.usercode import UserFunction
from schemas.answers import canonical
from schemas.feedback import SCHEMA_VERSION
from schemas.provenance import Split
from transforms.chunks import AnyStage, ModelStage, Stage
from transforms.feedback import filters, judging, labels, languages, mining, refusals, rejects, turns
from transforms.feedback.cascade import Cascade
from transforms.io import chats, keys
from transforms.io.chats import ChatFormat, ChatSource, Mapping
from transforms.io.keys import KeyTable
from transforms.models import encoders, engines, prompts, rules
from transforms.models.prompts import Prompt
from transforms.models.rules import RuleSet
from transforms.models.settings import AnySettings, OpenAISettings, RulesSettings, Sampling
from transforms.text import quality, repetition

if TYPE_CHECKING:
    import apache_beam as beam


class CascadeConfig(Model):
    """A classifier that settles messages that are surely neutral, before a model is asked (``sluice cascade``)."""

    classifier: str = Field(description="the classifier's file")
    confidence: float = Field(0.95, gt=0.5, le=1, description="probability from which its neutral counts")


class JudgeConfig(Model):
    """Who reads the user's next message, and what it sees of the chat. Rules read the feedback message alone."""

    model: AnySettings | None = Field(None, description="another model than the pipeline's")
    rules: str | None = Field(None, description="a rule file of one's own, in place of configs/feedback/judge.yaml")
    prompt: str | None = Field(None, description="a prompt file of one's own, in place of feedback/prompts/judge.yaml")
    context: judging.Context = Field(
        "exchange", description="what a model sees: feedback alone, the last exchange (paper), or the history too"
    )
    sampling: Sampling = Sampling()
    attempts: int = Field(3, ge=1, le=10, description="how often an answer is asked for until it is valid")
    cascade: CascadeConfig | None = None


class MiningConfig(Model):
    """Implicit feedback: neutral messages before a positive one on the same topic."""

    encoder: str = Field(
        encoders.DEFAULT,
        pattern=r"^(use-multilingual|minilm|lexical|endpoint|sentence-transformers:.+)$",
        description="what measures similarity: use-multilingual, minilm, lexical, sentence-transformers:MODEL, endpoint",
    )
    endpoint: OpenAISettings | None = Field(None, description="where embeddings are asked for, for encoder: endpoint")
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

    @model_validator(mode="after")
    def _fits(self) -> MiningConfig:
        if (self.encoder == "endpoint") != (self.endpoint is not None):
            raise ValueError("encoder: endpoint and an endpoint go together")
        if self.threshold is None and self.encoder not in encoders.THRESHOLDS:
            raise ValueError("threshold: this encoder has none of its own: give one (docs/similarity.md)")
        return self


class RefusalConfig(Model):
    """Negative feedback on refusals: unjustified where the query was harmful."""

    model: AnySettings | None = Field(None, description="another model than the pipeline's")
    prompt: str | None = Field(
        None, description="a prompt file of one's own, in place of feedback/prompts/refusal.yaml"
    )
    sampling: Sampling = Sampling()
    attempts: int = Field(3, ge=1, le=10, description="how often an answer is asked for until it is valid")
    scope: Literal["negatives", "all"] = Field("negatives", description="negative feedback only (paper), or all")
    corrected_level: Literal[4, 5] = Field(5, description="level of unjustified negatives: 5 (text), 4 (figure)")
    validate_mined: bool = Field(True, description="false: mined instances are passed over (published code)")


_TEXT_RULES: Final = {**quality.RULES, **repetition.RULES}


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
    response_rules: Rules = Field(
        default_factory=dict,
        description="rules of quality and repetition that responses must keep, for the rule response_rules: docs/text-quality.md",
    )

    @field_validator("response_rules", mode="before")
    @classmethod
    def _as_published(cls, rules: Any) -> Any:
        return filled(_TEXT_RULES, rules)

    @model_validator(mode="after")
    def _go_together(self) -> FilterConfig:
        chosen(_TEXT_RULES, self.response_rules)
        if ("response_rules" in self.rules) != bool(self.response_rules):
            raise ValueError("the rule response_rules and a table of response_rules go together")
        return self

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
    sources: Annotated[Sequence[ChatSourceConfig], Field(min_length=1)]
    languages: Annotated[list[Literal["en", "zh"]], Field(min_length=1)] = ["en", "zh"]
    duplicates: Literal["content", "conversation_id", "keep"] = Field(
        "content", description="what makes two exchanges one: all their messages, or id and turn; keep: nothing does"
    )
    model: AnySettings = Field(RulesSettings(), description="what judges and validates: rules, or a model")
    judge: JudgeConfig = JudgeConfig()
    mining: MiningConfig = MiningConfig()
    refusals: RefusalConfig = RefusalConfig()
    filters: FilterConfig = FilterConfig()
    subset: SubsetConfig = SubsetConfig()

    def deciding(self) -> dict[str, Any]:
        """Models and prompts stand in the plan by what identifies them."""
        settings = super().deciding()
        del settings["model"]
        for name, absent in _BY_IDENTITY.items():
            settings[name] = {key: value for key, value in settings[name].items() if key not in absent}
        return settings


_BY_IDENTITY: Final = {
    "judge": ("model", "rules", "prompt", "cascade", "context", "sampling", "attempts"),
    "refusals": ("model", "prompt", "sampling", "attempts"),
    "mining": ("encoder", "endpoint"),
}


@dataclass(frozen=True)
class Parts:
    """What the stages are made of, loaded: rule files, prompts, the classifier, and who judges and validates."""

    rulesets: dict[str, RuleSet]
    prompts: dict[str, Prompt]
    cascade: Cascade | None
    judge: AnySettings
    refusals: AnySettings

    @classmethod
    def load(cls, config: FeedbackConfig) -> Parts:
        """Load what the config names, or what ships in its place.

        Raises:
            RulesError, PromptError, CascadeError, OSError: a file is missing or not valid.
        """
        shipped = files("configs").joinpath("feedback")
        own = {"judge": config.judge.rules}
        names = ("judge", "refusal", "harmful_query", "external_context")
        rulesets = {n: rules.load(Path(path) if (path := own.get(n)) else shipped.joinpath(f"{n}.yaml")) for n in names}
        chosen = {"judge": config.judge.prompt, "refusal": config.refusals.prompt}
        loaded = {
            n: prompts.load(Path(path) if path else shipped.joinpath("prompts", f"{n}.yaml"))
            for n, path in chosen.items()
        }
        classifier = config.judge.cascade
        cascade = Cascade.load(Path(classifier.classifier), classifier.confidence) if classifier else None
        return cls(rulesets, loaded, cascade, config.judge.model or config.model, config.refusals.model or config.model)

    def sources(self) -> dict[str, str]:
        """SHA-256 of every rule file and prompt that decides."""
        used = {f"configs/feedback/{name}.yaml": ruleset.sha256 for name, ruleset in self.rulesets.items()}
        for name, settings in (("judge", self.judge), ("refusal", self.refusals)):
            if not isinstance(settings, RulesSettings):
                used[f"configs/feedback/prompts/{name}.yaml"] = self.prompts[name].sha256
        if not isinstance(self.judge, RulesSettings):
            del used["configs/feedback/judge.yaml"]
        if not isinstance(self.refusals, RulesSettings):
            del used["configs/feedback/harmful_query.yaml"]
        return dict(sorted(used.items()))


def stages(config: FeedbackConfig, parts: Parts, user_key: str, lists: Path) -> tuple[AnyStage, ...]:
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
        judge_stage(config.judge, parts),
        _mine(config.mining),
        _validate(config.refusals, parts),
        Stage("drop neutral", filters.VERSION, filters.drop_neutral),
        Stage(
            "filter",
            filters.VERSION,
            partial(
                filters.select,
                external_context=parts.rulesets["external_context"],
                names=config.filters.rules,
                response_rules=chosen(_TEXT_RULES, config.filters.response_rules),
                **config.filters.model_dump(exclude={"rules", "response_rules"}),
            ),
        ),
        Stage(
            "label", labels.VERSION, partial(labels.label, lists=lists, user_key=user_key, **config.subset.model_dump())
        ),
    )


def judge_stage(config: JudgeConfig, parts: Parts) -> AnyStage:
    """The stage that judges, by rules or by a model."""
    name, version, model = "judge", judging.VERSION, parts.judge
    if isinstance(model, RulesSettings):
        return Stage(name, version, partial(judging.judge_by_rules, ruleset=parts.rulesets["judge"]))
    shown: dict[str, Any] = {"prompt": parts.prompts["judge"], "cascade": parts.cascade}
    ask = partial(judging.ask, context=config.context, sampling=canonical(config.sampling.model_dump()), **shown)
    settle = partial(judging.settle, engine=model.engine, model=model.model, **shown)
    return ModelStage(name, version, model, config.attempts, ask, settle)


def _mine(config: MiningConfig) -> AnyStage:
    name, version = "mine implicit feedback", mining.VERSION
    threshold = _threshold(config)
    if config.endpoint is None:
        settings = {**config.model_dump(exclude={"endpoint"}), "threshold": threshold}
        return Stage(name, version, partial(mining.mine, **settings))
    pairs = config.model_dump(include={"window", "compare", "window_by"})
    ask = partial(mining.ask, template="embedding@1", **pairs)
    settle = partial(mining.settle, encoder=config.endpoint.model, threshold=threshold, label=config.label, **pairs)
    return ModelStage(name, version, config.endpoint, 1, ask, settle)


def _threshold(config: MiningConfig) -> float:
    return encoders.THRESHOLDS[config.encoder] if config.threshold is None else config.threshold  # type: ignore[index]


def _validate(config: RefusalConfig, parts: Parts) -> AnyStage:
    name, version, model = "validate refusals", refusals.VERSION, parts.refusals
    refusal = parts.rulesets["refusal"]
    scope: dict[str, Any] = config.model_dump(include={"scope", "validate_mined"})
    corrected: dict[str, Any] = {**scope, "corrected_level": config.corrected_level}
    if isinstance(model, RulesSettings):
        harmful = parts.rulesets["harmful_query"]
        run = partial(refusals.validate_by_rules, refusal=refusal, harmful_query=harmful, **corrected)
        return Stage(name, version, run)
    sampling = canonical(config.sampling.model_dump())
    ask = partial(refusals.ask, prompt=parts.prompts["refusal"], refusal=refusal, sampling=sampling, **scope)
    settle = partial(refusals.settle, refusal=refusal, **corrected)
    return ModelStage(name, version, model, config.attempts, ask, settle)


def _models(config: FeedbackConfig, parts: Parts) -> list[dict[str, Any]]:
    """Who decides what, as the plan and the card tell it."""
    judge = parts.rulesets["judge"]
    named: list[dict[str, Any]] = []
    asked: tuple[tuple[str, AnySettings, JudgeConfig | RefusalConfig], ...] = (
        ("judge", parts.judge, config.judge),
        ("refusals", parts.refusals, config.refusals),
    )
    for role, settings, how in asked:
        if isinstance(settings, RulesSettings):
            name = f"{judge.name}-{judge.version}" if role == "judge" else "rules"
            named.append({"role": role, "engine": "rules", "name": name})
        else:
            asking = how.model_dump(include={"context", "sampling", "attempts"})
            named.append({"role": role, "name": settings.model, **engines.identity(settings), **asking})
    if parts.cascade is not None:
        named.append({"role": "cascade", "name": parts.cascade.name, "sha256": parts.cascade.sha256})
    mined = config.mining
    encoder = {"identity": engines.identity(mined.endpoint)} if mined.endpoint else {}
    name = mined.endpoint.model if mined.endpoint else encoders.identity(mined.encoder)
    return [*named, {"role": "encoder", "name": name, "threshold": _threshold(mined), **encoder}]


def source(config: FeedbackConfig, base: Path) -> ChatSource:
    """How the config's sources are read; readers it names are relative to ``base``.

    Raises:
        ConfigError: a format is not known.
    """
    formats = tuple(_format(entry, f"sources.{at}.format", base) for at, entry in enumerate(config.sources))
    return ChatSource(formats, tuple(entry.storage_options for entry in config.sources), config.max_line_bytes)


def _format(entry: ChatSourceConfig, where: str, base: Path) -> ChatFormat | None:
    if entry.format == "auto":
        return None
    if entry.mapping:
        return ChatFormat("mapping", frozenset(), Mapping(**entry.mapping.model_dump()), chats.as_is)
    if ":" in entry.format:
        own = UserFunction.load(entry.format, base)
        return ChatFormat("own", frozenset(), chats.CANONICAL, own, rowwise=True, code=own.sha256)
    known = [form.name for form in chats.FORMATS]
    if entry.format not in known:
        raise ConfigError(f"{where}: expected auto, mapping, FILE.py:FUNCTION or one of {known}; found {entry.format}")
    return chats.named(entry.format)


def recipe(config: FeedbackConfig, source: ChatSource, user_key: str) -> Recipe:
    """All that the runner needs to know of this pipeline."""
    parts = Parts.load(config)
    return Recipe(
        presentation=PRESENTATION,
        schema_version=SCHEMA_VERSION,
        read=partial(chats.read_chunks, source=source, reject=rejects.rejected),
        read_version=chats.VERSION,
        key_pass=partial(
            _key_pass,
            read_keys=partial(
                chats.read_keys,
                source=source,
                keys=partial(
                    turns.keys,
                    by="conversation_id" if config.duplicates == "conversation_id" else "content",
                    owner_is="conversation" if config.subset.by == "conversation" else "user",
                ),
            ),
        ),
        key_version=str(keys.VERSION),
        key_folder=_key_tables,
        stages=partial(stages, config, parts, user_key),
        reject=rejects.rejected,
        prompts=parts.sources(),
        models=_models(config, parts),
        stand_ins=_stand_ins(config, parts),
        publishes_users=True,
    )


def _key_pass(place: KeyWork, read_keys: Callable[[Split], Iterator[KeyTable]]) -> beam.PTransform:
    """Which exchanges are duplicates, and which users must not be torn apart."""
    from pipelines import payload
    from transforms.io.key_pass import KeyPass

    cached = partial(keys.cached, read_keys, _key_tables(place.work), following=payload.following)
    read = partial(payload.read_keys, plan=place.plan, work=place.work, read=cached)
    return KeyPass(read, place.lists, keys.prefix_bits(place.bytes // 2048))


def _key_tables(work: Path) -> Path:
    return work / "keytables"


def _stand_ins(config: FeedbackConfig, parts: Parts) -> dict[str, Stage]:
    """Rules in place of models, and no key pass."""
    by_rules = replace(parts, judge=RulesSettings(), refusals=RulesSettings())
    lexical = MiningConfig(encoder="lexical", **config.mining.model_dump(include={"window", "compare", "window_by"}))
    found = (judge_stage(config.judge, by_rules), _mine(lexical), _validate(config.refusals, by_rules))
    unique = Stage("drop duplicates", keys.VERSION, _untouched)
    return {stage.name: stage for stage in (*found, unique) if isinstance(stage, Stage)}


def _untouched(frame: pl.DataFrame, split: Split) -> pl.DataFrame:
    return frame


CONFIG: Final = FeedbackConfig

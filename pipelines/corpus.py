"""The corpus pipeline: documents in, curated text out.

Language, quality, repetition, contamination, duplicates and personal data, in this order; docs/corpus.md has the reasons. What a
filter computes stands in score columns of kept and rejected documents alike, so that a threshold can be set again from what
was published.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import polars as pl
from pydantic import Field, field_validator, model_validator

from pipelines.config import ConfigError, DocumentSourceConfig, Model, RunConfig
from pipelines.presentations.corpus import PRESENTATION
from pipelines.recipe import KeyWork, Recipe
from pipelines.text_rules import Rules, chosen, filled, published
from schemas import document
from schemas.provenance import Split
from transforms.chunks import Stage
from transforms.corpus import rejects
from transforms.io import documents, duplicate_files, files, reading, snapshots
from transforms.io.documents import DocumentMapping, DocumentSource
from transforms.io.duplicate_files import TextTable
from transforms.io.records import key64
from transforms.io.snapshots import SnapshotError
from transforms.text import (
    classification,
    contamination,
    duplicates,
    identification,
    minhash,
    personal_data,
    quality,
    repetition,
    shingles,
    words,
)
from transforms.text.classification import Classifier
from transforms.text.contamination import Benchmark, BenchmarkError, Benchmarks
from transforms.text.fasttext_models import Model as LanguageModel
from transforms.text.fasttext_models import ModelError
from transforms.text.shingles import Shingling
from transforms.text.words import Segmentation

if TYPE_CHECKING:
    import apache_beam as beam


class LanguageConfig(Model):
    """Which languages are kept, and how sure that must be."""

    keep: list[str] = Field(default_factory=list, description="labels of the model, such as en; empty: any language")
    minimum_probability: float = Field(identification.MINIMUM_PROBABILITY, ge=0, le=1)
    model: str | None = Field(
        None, description="a fastText model of one's own: lid.176.bin, GlotLID; default: lid.176.ftz, which is bundled"
    )
    max_characters: int = Field(identification.MAX_CHARACTERS, ge=1, description="how much of a document is looked at")


class QualityConfig(Model):
    """Rules of Gopher, C4 and FineWeb. They apply in the order given; every one is measured."""

    words: Segmentation = Field("whitespace", description="what a word is: docs/text-quality.md")
    rules: Rules = Field(
        default_factory=lambda: published(quality.DEFAULT),
        description="names of rules, with other bounds than the published ones where wanted; {}: none",
    )
    bad_words: list[str] = Field(default_factory=list, description="for c4_bad_words")
    clean_lines: bool = Field(False, description="true: drop the lines that C4 drops, before anything is measured")

    @field_validator("rules", mode="before")
    @classmethod
    def _as_published(cls, rules: Any) -> Any:
        return filled(quality.RULES, rules)

    @model_validator(mode="after")
    def _fits(self) -> QualityConfig:
        chosen(quality.RULES, self.rules)
        if ("c4_bad_words" in self.rules) != bool(self.bad_words):
            raise ValueError("the rule c4_bad_words and a list of bad_words go together")
        return self


class RepetitionConfig(Model):
    """Gopher's rules of repetition."""

    words: Segmentation = Field("whitespace", description="what a word is: docs/text-quality.md")
    rules: Rules = Field(default_factory=lambda: published(repetition.DEFAULT))

    @field_validator("rules", mode="before")
    @classmethod
    def _as_published(cls, rules: Any) -> Any:
        return filled(repetition.RULES, rules)

    @model_validator(mode="after")
    def _fits(self) -> RepetitionConfig:
        chosen(repetition.RULES, self.rules)
        return self


class ClassifierConfig(Model):
    """A fastText classifier of quality, such as ``sluice train-classifier`` makes."""

    model: str = Field(description="its file")
    positive: str | None = Field(None, description="the label that counts; default: the one chosen in training")
    minimum: float = Field(0.5, ge=0, le=1, description="probability of that label from which a document is kept")
    max_characters: int | None = Field(
        None, ge=1, description="how much of a document is read; default: as in training"
    )


class DuplicatesConfig(Model):
    """Equal and similar documents, within and across files: all but one are removed."""

    remove: Literal["near", "none"] = "near"
    threshold: float = Field(0.8, gt=0, le=1, description="Jaccard similarity of shingles, exact, not estimated")
    shingle_words: int = Field(5, ge=1, description="words of a shingle")
    words: Segmentation = Field("script", description="what a word is: docs/text-quality.md")
    recall: float = Field(0.98, gt=0, lt=1, description="share of pairs at the threshold that the bands find")
    survivor: duplicates.Survivor = Field(
        "first", description="first: of file and row; longest; best: the largest value in the column score"
    )
    score: str | None = Field(None, description="for best: a score column, such as classifier_score")
    group_share: float = Field(0.01, gt=0, le=1, description="a group with a larger share of its source is a warning")
    against: list[str] = Field(
        default_factory=list, description="published datasets (directories) whose documents go before all of these"
    )

    @model_validator(mode="after")
    def _fits(self) -> DuplicatesConfig:
        if (self.survivor == "best") != (self.score is not None):
            raise ValueError("survivor: best and a score go together")
        if self.score is not None and self.score not in document.SCORES:
            raise ValueError(f"score: expected one of {', '.join(document.SCORES)}; found {self.score}")
        return self

    def settings(self) -> duplicates.Settings:
        """As the duplicate pass takes them."""
        return duplicates.Settings(
            threshold=self.threshold,
            shingling=Shingling(self.shingle_words, self.words),
            recall=self.recall,
            survivor=self.survivor,
            group_share=self.group_share,
        )


class BenchmarkConfig(Model):
    """A file of benchmark texts."""

    name: str
    path: str = Field(description="Parquet or JSONL, plain, .gz or .zst")
    columns: Annotated[list[str], Field(min_length=1)] = ["prompt"]


class ContaminationConfig(Model):
    """Documents that hold pieces of a benchmark."""

    benchmarks: list[BenchmarkConfig] = Field(default_factory=list)
    ngram: int = Field(13, ge=1, le=contamination.MAX_NGRAM, description="words in a row that make a match")
    shortest: int = Field(8, ge=1, description="words from which a shorter benchmark text is searched as a whole")
    common: int = Field(10, ge=1, description="benchmark texts that may share an n-gram before it is a template")
    words: Segmentation = Field("script", description="what a word is: docs/text-quality.md")
    maximum: float = Field(0.0, ge=0, lt=1, description="share of a benchmark text that a kept document may hold")

    def settings(self) -> contamination.Settings:
        """As the search takes them."""
        return contamination.Settings(self.ngram, self.shortest, self.common, self.words)


class PersonalDataConfig(Model):
    """What becomes of personal data and secrets."""

    action: Literal["redact", "reject", "keep"] = Field("redact", description="keep: nothing is looked for")
    kinds: list[personal_data.Kind] | None = Field(None, description="default: all; docs/personal-data.md")
    regions: list[str] = Field(
        list(personal_data.REGIONS), description="ISO 3166 codes whose national telephone numbers are looked for"
    )

    @model_validator(mode="after")
    def _known(self) -> PersonalDataConfig:
        personal_data.scan(pl.Series([], dtype=pl.String), self.kinds, self.regions)
        return self


class SubsetConfig(Model):
    """Train and test."""

    test_fraction: float = Field(0.0, ge=0, le=1, description="share of documents in test, drawn by hash of record_id")
    seed: int = 0


class CorpusConfig(RunConfig):
    """Config of ``pipeline: corpus``."""

    pipeline: Literal["corpus"]
    sources: Annotated[Sequence[DocumentSourceConfig], Field(min_length=1)]
    max_document_bytes: int = Field(
        documents.MAX_DOCUMENT_BYTES, gt=0, description="longer documents are rejected rows"
    )
    max_expansion: int = Field(
        reading.MAX_EXPANSION, gt=0, description="decompressed bytes per stored byte of a file that is still read"
    )
    language: LanguageConfig = LanguageConfig()
    quality: QualityConfig = QualityConfig()
    repetition: RepetitionConfig = RepetitionConfig()
    classifier: ClassifierConfig | None = None
    duplicates: DuplicatesConfig = DuplicatesConfig()
    contamination: ContaminationConfig = ContaminationConfig()
    personal_data: PersonalDataConfig = PersonalDataConfig()
    subset: SubsetConfig = SubsetConfig()

    def deciding(self) -> dict[str, Any]:
        """Models, benchmarks and published datasets stand in the plan by what identifies them."""
        settings = super().deciding()
        for name, absent in {"language": "model", "contamination": "benchmarks", "duplicates": "against"}.items():
            del settings[name][absent]
        if settings["classifier"]:
            del settings["classifier"]["model"]
        return settings


@dataclass(frozen=True)
class Parts:
    """What the stages are made of, loaded: models, and what the key pass and the search compare with.

    Raises:
        ModelError, BenchmarkError, SnapshotError, ValueError: a file that the config names is missing or not what it should be.
    """

    language: LanguageModel
    classifier: Classifier | None
    benchmarks: Benchmarks | None
    against: tuple[Shard, ...]

    @classmethod
    def load(cls, config: CorpusConfig) -> Parts:
        """Load what the config names."""
        model = config.language.model
        language = LanguageModel.find(Path(model)) if model else identification.LID_176
        identification.expect_languages(config.language.keep, language)
        told = config.classifier
        classifier = Classifier.find(Path(told.model), told.positive, told.max_characters) if told else None
        searched = config.contamination
        return cls(
            language,
            classifier,
            _benchmarks(searched) if searched.benchmarks else None,
            tuple(shard for name in config.duplicates.against for shard in _shards(name)),
        )

    def identities(self, config: CorpusConfig) -> list[dict[str, Any]]:
        """What decides beside the settings, as the plan and the card tell it."""
        known = [
            {
                "role": "language",
                "name": self.language.path.name,
                **identification.identity(self.language, config.language.max_characters),
            }
        ]
        if self.classifier:
            known.append({"role": "classifier", "name": self.classifier.model.path.name, **self.classifier.identity})
        if self.benchmarks:
            names = ", ".join(benchmark.name for benchmark in config.contamination.benchmarks)
            known.append({"role": "benchmarks", "name": names, "sha256": self.benchmarks.identity})
        if self.against:
            digests = "".join(shard.sha256 for shard in self.against)
            name = ", ".join(Path(name).name for name in config.duplicates.against)
            known.append({"role": "published", "name": name, "sha256": hashlib.sha256(digests.encode()).hexdigest()})
        return known


class Shard(NamedTuple):
    """A Parquet file of a published dataset, and its checksum."""

    path: Path
    sha256: str


def _shards(name: str) -> list[Shard]:
    snapshot = snapshots.latest(files.located(name) if "://" in name else Path(name))
    shards = snapshots.manifest(snapshot)["shards"]
    return [Shard(snapshot / shard["path"], shard["sha256"]) for shard in shards if shard["kind"] == "data"]


def _benchmarks(config: ContaminationConfig) -> Benchmarks:
    named = [Benchmark(entry.name, entry.path, tuple(entry.columns)) for entry in config.benchmarks]
    return Benchmarks.load(named, config.settings())


def stages(config: CorpusConfig, parts: Parts, lists: Path) -> tuple[Stage, ...]:
    """The method, in order."""
    identify = Stage("identify", documents.VERSION, documents.identified, True)
    drop = Stage("drop duplicates", duplicates.VERSION, partial(duplicate_files.drop_duplicates, lists=lists))
    return (
        identify,
        *_filters(config, parts),
        *([drop] if config.duplicates.remove == "near" else []),
        *([_personal_data(config.personal_data, "redact")] if config.personal_data.action == "redact" else []),
        Stage("choose subset", 1, partial(_subset, **config.subset.model_dump())),
    )


def _filters(config: CorpusConfig, parts: Parts) -> Iterator[Stage]:
    """The stages before duplicates are looked for: a document that one of them rejects survives no other."""
    language = config.language
    select = partial(
        identification.select,
        languages=language.keep,
        minimum_probability=language.minimum_probability,
        model=parts.language,
        max_characters=language.max_characters,
    )
    yield Stage("identify language", identification.VERSION, partial(_alone, select=select))
    measured, repeated = config.quality, config.repetition
    if measured.clean_lines:
        yield Stage("clean lines", quality.VERSION, partial(_clean, words=measured.words))
    if rules := chosen(quality.RULES, measured.rules):
        select = partial(quality.select, rules=rules, segmentation=measured.words, bad_words=tuple(measured.bad_words))
        yield Stage("quality", quality.VERSION, partial(_alone, select=select))
    if rules := chosen(repetition.RULES, repeated.rules):
        select = partial(repetition.select, rules=rules, segmentation=repeated.words)
        yield Stage("repetition", repetition.VERSION, partial(_alone, select=select))
    if parts.classifier is not None and config.classifier is not None:
        select = partial(classification.select, classifier=parts.classifier, minimum=config.classifier.minimum)
        yield Stage("classify", classification.VERSION, partial(_alone, select=select))
    if parts.benchmarks is not None:
        search = partial(_search, config=config.contamination, identity=parts.benchmarks.identity)
        yield Stage("contamination", contamination.VERSION, search)
    if config.personal_data.action == "reject":
        yield _personal_data(config.personal_data, "reject")


def _personal_data(config: PersonalDataConfig, action: personal_data.Action) -> Stage:
    select = partial(personal_data.select, action=action, kinds=config.kinds, regions=config.regions)
    return Stage("personal data", personal_data.VERSION, partial(_alone, select=select))


def _alone(frame: pl.DataFrame, split: Split, select: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """A filter of the text room, as a stage calls it."""
    return select(frame)


def _clean(frame: pl.DataFrame, split: Split, words: Segmentation) -> pl.DataFrame:
    cleaned = frame.with_columns(quality.clean(frame["text"], words).alias("text"))
    return cleaned.with_columns(reason=pl.when(pl.col("text") == "").then(pl.lit("no_clean_lines")))


def _search(frame: pl.DataFrame, split: Split, config: ContaminationConfig, identity: str) -> pl.DataFrame:
    benchmarks = _benchmarks(config)
    if benchmarks.identity != identity:
        raise BenchmarkError("a benchmark's file changed since the run was planned; run the same command again")
    return contamination.select(frame, benchmarks, config.maximum)


def _subset(frame: pl.DataFrame, split: Split, test_fraction: float, seed: int) -> pl.DataFrame:
    draw = key64(pl.format("{}:{}", pl.lit(seed), "record_id")).cast(pl.Float64) / 2.0**64
    return frame.with_columns(subset=pl.when(draw < test_fraction).then(pl.lit("test")).otherwise(pl.lit("train")))


def _texts(split: Split, filters: Sequence[Stage], score: str | None, source: DocumentSource) -> Iterator[TextTable]:
    """The documents of a split among which duplicates are looked for: those that the filters keep."""
    for found in documents.read_texts(split, source):
        frame = pl.DataFrame(found.texts)
        for stage in filters:
            frame = stage.run(frame, split).filter(pl.col("reason").is_null()).drop("reason", "failed", strict=False)
        rank = {"rank": score} if score else {}
        yield TextTable(found.split, frame.select("source_row", "ordinal", "text", **rank), found.rows, found.end)


def _key_pass(
    place: KeyWork, config: CorpusConfig, parts: Parts, read: Callable[[Split], Iterator[TextTable]]
) -> beam.PTransform:
    """Which documents are duplicates; or only how many rows each split has."""
    from pipelines import payload
    from transforms.io.counting_pass import CountingPass
    from transforms.io.duplicate_pass import DuplicatePass

    if config.duplicates.remove == "none":
        counted = partial(payload.read_keys, plan=place.plan, work=place.work, read=read)
        return CountingPass(counted, place.lists)
    settings = config.duplicates.settings()
    area = duplicate_files.area(place.work, settings)
    cached = partial(duplicate_files.cached, read, area, following=payload.following, settings=settings)
    signed = partial(payload.read_keys, plan=place.plan, work=place.work, read=cached)
    published = [
        duplicate_files.sign_published(shard.path, area, settings, key=shard.sha256) for shard in parts.against
    ]
    return DuplicatePass(signed, place.work, place.lists, settings, published)


def source(config: CorpusConfig, base: Path) -> DocumentSource:
    """How the config's sources are read."""
    mapped = [entry.mapping for entry in config.sources]
    return DocumentSource(
        tuple(DocumentMapping(**mapping.model_dump()) if mapping else None for mapping in mapped),
        tuple(entry.text_by for entry in config.sources),
        tuple(entry.storage_options for entry in config.sources),
        config.max_line_bytes,
        config.max_document_bytes,
        config.max_expansion,
    )


def recipe(config: CorpusConfig, source: DocumentSource, user_key: str) -> Recipe:
    """All that the runner needs to know of this pipeline.

    Raises:
        ConfigError: a file that the config names is missing or not what it should be.
    """
    try:
        parts = Parts.load(config)
    except (ModelError, BenchmarkError, SnapshotError, ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    filters = tuple(_filters(config, parts))
    read = partial(_texts, filters=filters, score=config.duplicates.score, source=source)
    settings = config.duplicates.settings()
    return Recipe(
        presentation=PRESENTATION,
        schema_version=document.SCHEMA_VERSION,
        read=partial(documents.read_chunks, source=source, reject=rejects.rejected),
        read_version=documents.VERSION,
        key_pass=partial(_key_pass, config=config, parts=parts, read=read),
        key_version=" ".join(str(part.VERSION) for part in (duplicates, shingles, minhash, words)),
        key_folder=partial(_area, settings=settings),
        stages=partial(stages, config, parts),
        reject=rejects.rejected,
        prompts={},
        models=parts.identities(config),
        warnings=_warnings,
    )


def _warnings(lists: Path) -> list[str]:
    """What the duplicate pass found worth a warning."""
    from transforms.io.duplicate_pass import SUMMARY

    path = lists / SUMMARY
    return list(json.loads(path.read_bytes())["warnings"]) if path.exists() else []


def _area(work: Path, settings: duplicates.Settings) -> Path:
    return duplicate_files.area(work, settings)


CONFIG: Final = CorpusConfig

"""How a pipeline's datasets are told of: what a card, a report, a trace and a check must know beyond the manifest.

A manifest says which pipeline made a dataset and what came of it; a ``Presentation`` says what that means. It is plain data, so
that whatever describes a snapshot works for every pipeline.

==================  ====================================================================================
of                  it holds
==================  ====================================================================================
rows                both schemas, what each column holds, why rows and instances are rejected
words               what instances are called, and what can be said of a source row that was used
publication         tags, paper, limits and care with personal data, for the card and for Croissant
samples             which columns of a row are shown, which of them are texts, and by what rows are grouped
distributions       the tallies of a manifest: which columns they count, and under which title they stand
layout              templates of the pipeline's own, where the general ones do not do
==================  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

import pyarrow as pa

CARD: Final = "card.md.j2"
REPORT: Final = "report.html.j2"
"""The general templates, in ``configs.templates``."""


@dataclass(frozen=True, slots=True)
class Paper:
    """Where a method is published, and how it is cited."""

    url: str
    bibtex: str


@dataclass(frozen=True, slots=True)
class Scale:
    """An ordinal judgement: its levels by number, the published label of each that has one, and a paper's shares."""

    levels: Mapping[int, str]
    labels: Mapping[int, int]
    paper_shares: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Tally:
    """Values that are counted over kept and rejected rows alike, wherever a row has them all.

    Several ``columns`` are counted together, their values joined by ``/``; a dot leads to a struct's field. Elements of a list are
    counted one by one. ``bins`` are the rising bounds of a histogram over one number: a value belongs to the bin of the largest
    bound that is not above it, and is counted under that bound; below all of them, under ``-inf``.
    """

    columns: tuple[str, ...]
    title: str = ""
    bins: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Samples:
    """Which columns of kept and rejected rows a sample shows, in order; ``judge.rule`` is a field of a struct.

    ``texts`` are set as prose and clipped, the rest as facts. A pattern such as ``gopher_*`` stands for every column that fits.
    Kept rows are grouped by the values of ``group``, or by nothing.
    """

    kept: tuple[str, ...]
    rejected: tuple[str, ...]
    texts: tuple[str, ...]
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """All that is told of one pipeline's datasets.

    Attributes:
        pipeline: The pipeline's name in configs and manifests.
        kept: Columns of kept rows.
        rejected: Columns of rejected rows.
        columns: What each column holds, by its name, in Markdown.
        families: Many columns of one kind that are told of together: a title, and patterns as in ``Samples``.
        row_outcomes: Why a source row became no instance.
        instance_outcomes: Why an instance was not kept.
        instance: What an instance is called: ``instance``, ``document``. The plural adds an s.
        used: What is true of source rows that were used, after "90% ".
        summary: What a row is and how it came about, for the card's first paragraph, in Markdown.
        record: What a kept row is, for Croissant, in a sentence.
        samples: What samples show.
        tallies: What the manifest counts, by name.
        texts: Columns copied from the source, which ``trace`` looks for in the source row.
        identifiers: Columns by which ``trace`` finds a row.
        evidence: Stages by name, and the columns that tell what they decided; patterns as in ``Samples``.
        tasks: Task categories of the hub.
        tags: Tags of the hub.
        keywords: Keywords in Croissant.
        languages: Languages of a dataset whose settings name none.
        paper: The method's publication.
        collection: How data was collected, in Croissant's words.
        annotation: How rows were annotated.
        personal_data: What was done about personal data.
        limits: What a user must not expect.
        scale: The ordinal judgement, where there is one; its counts are ``levels`` and ``labels`` of the manifest.
        card_template: The card's template.
        report_template: The report's template.
    """

    pipeline: str
    kept: pa.Schema
    rejected: pa.Schema
    columns: Mapping[str, str]
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    row_outcomes: Mapping[str, str]
    instance_outcomes: Mapping[str, str]
    instance: str = "instance"
    used: str = "used"
    summary: str
    record: str
    samples: Samples
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ("record_id",)
    evidence: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    paper: Paper | None = None
    collection: tuple[str, ...] = ("Secondary data analysis",)
    annotation: tuple[str, ...] = ()
    personal_data: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    scale: Scale | None = None
    card_template: str = CARD
    report_template: str = REPORT

    @property
    def instances(self) -> str:
        """What several instances are called."""
        return f"{self.instance}s"

    def family(self, column: str) -> str | None:
        """The title of the family that a column belongs to, if to any."""
        fits = (title for title, patterns in self.families.items() if any(fnmatchcase(column, p) for p in patterns))
        return next(fits, None)

    @property
    def meanings(self) -> dict[str, str]:
        """Every reason and what it means."""
        return {**self.row_outcomes, **self.instance_outcomes}


def chosen(names: Iterable[str], patterns: Iterable[str]) -> Iterator[str]:
    """The patterns in order, each that holds a ``*`` replaced by the names that fit it."""
    names = list(names)
    for pattern in patterns:
        yield from (name for name in names if fnmatchcase(name, pattern)) if "*" in pattern else (pattern,)

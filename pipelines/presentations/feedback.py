"""How datasets of the feedback pipeline are told of."""

from __future__ import annotations

from typing import Final

from schemas import feedback
from schemas.presentation import Paper, Presentation, Samples, Scale, Tally

_BIBTEX: Final = """\
@misc{peng2026wildreward,
  title         = {WildReward: Learning Reward Models from In-the-Wild Human Interactions},
  author        = {Peng, Hao and Qi, Yunjia and Wang, Xiaozhi and Yao, Zijun and Hou, Lei and Li, Juanzi},
  year          = {2026},
  eprint        = {2602.08829},
  archivePrefix = {arXiv},
  url           = {https://arxiv.org/abs/2602.08829}
}
"""

_KEPT: Final = (
    "record_id",
    "conversation_id",
    "turn_index",
    "model",
    "language",
    "feedback_language",
    "query",
    "response",
    "feedback",
    "label",
    "level",
    "judge.level",
    "judge.rule",
    "judge.reason",
    "judge.engine",
    "mining.applied",
    "mining.source_turn",
    "mining.similarity",
    "refusal.candidate",
    "refusal.verdict",
    "refusal.rule",
    "history_turns",
    "subset",
    "source_uri",
    "source_row",
)

_REJECTED: Final = (
    "record_id",
    "unit",
    "stage",
    "reason",
    "failed",
    "detail",
    "duplicate_of",
    "language",
    "feedback_language",
    "level",
    "judge.rule",
    "judge.reason",
    "personal_data",
    "excerpt",
    "source_uri",
    "source_row",
)

PRESENTATION: Final = Presentation(
    pipeline="feedback",
    kept=feedback.KEPT,
    rejected=feedback.REJECTED,
    columns=feedback.COLUMNS,
    row_outcomes=feedback.ROW_OUTCOMES,
    instance_outcomes=feedback.INSTANCE_OUTCOMES,
    used="hold feedback",
    summary="""\
Each row is one assistant response, scored by what the same user said next. Nobody was asked to annotate: a
complaint, a correction, praise or thanks in the following message becomes an ordinal label from 1 (worst) to 4
(best), after WildReward/WildFB ([arXiv 2602.08829](https://arxiv.org/abs/2602.08829)). It is made to train reward models.""",
    record="Responses scored by the user's next message; the column subset tells train from test.",
    samples=Samples(_KEPT, _REJECTED, ("query", "response", "feedback", "excerpt"), "label"),
    tallies={
        "levels": Tally(("judge.level",), "Levels"),
        "labels": Tally(("subset", "label"), "Labels"),
    },
    texts=("query", "response", "feedback"),
    identifiers=("record_id", "instance_id"),
    tasks=("text-classification",),
    tags=("reward-model", "user-feedback", "preference"),
    keywords=("reward model", "user feedback", "conversations"),
    languages=("en", "zh"),
    paper=Paper("https://arxiv.org/abs/2602.08829", _BIBTEX),
    annotation=("The user's next message is judged on five levels; levels 1, 2, 4 and 5 become labels 1 to 4.",),
    personal_data=(
        "Users are keyed hashes. Messages with detected personal data are rejected; detection is not complete.",
    ),
    limits=(
        "Labels are inferred from conversation, not given by annotators.",
        "Only English and Chinese rules exist unless a model judges.",
    ),
    scale=Scale(feedback.LEVELS, feedback.LABELS, feedback.PAPER_LEVEL_SHARES),
    card_template="feedback_card.md.j2",
    report_template="feedback_report.html.j2",
)

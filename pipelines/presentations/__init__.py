"""How the datasets of each pipeline are told of, for commands that are given a dataset and no config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.presentation import Presentation
from transforms.io.snapshots import SnapshotError

PIPELINES = ("feedback", "corpus")


def of(manifest: Mapping[str, Any]) -> Presentation:
    """The presentation of the pipeline that a manifest names. Only that pipeline's own modules are loaded.

    Raises:
        SnapshotError: this version knows no such pipeline.
    """
    match manifest.get("pipeline"):
        case "feedback":
            from pipelines.presentations.feedback import PRESENTATION as FEEDBACK

            return FEEDBACK
        case "corpus":
            from pipelines.presentations.corpus import PRESENTATION as CORPUS

            return CORPUS
        case other:
            raise SnapshotError(
                f"manifest: expected a dataset of {' or '.join(PIPELINES)}, found {other!r}; upgrade Sluice"
            )

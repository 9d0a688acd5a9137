"""Rules of quality and repetition in configs: names, with bounds where other than the published ones are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.config import Model
from transforms.text import filtering
from transforms.text.filtering import Rule


class BoundsConfig(Model):
    """Bounds of a rule; null is no bound."""

    minimum: float | None
    maximum: float | None


Rules = dict[str, BoundsConfig]


def published(rules: Iterable[Rule]) -> Rules:
    """Rules with the bounds that they were published with."""
    return {rule.name: BoundsConfig(minimum=rule.minimum, maximum=rule.maximum) for rule in rules}


def filled(known: Mapping[str, Rule], given: Any) -> Any:
    """What a config says of rules, bounds that it leaves out as published.

    Raises:
        ValueError: a name is no rule's.
    """
    if not isinstance(given, Mapping):
        return given
    whole = published(filtering.choose(known, {name: {} for name in given}))
    return {
        name: {**whole[name].model_dump(), **(bounds or {})} if isinstance(bounds, Mapping | None) else bounds
        for name, bounds in given.items()
    }


def chosen(known: Mapping[str, Rule], rules: Rules) -> list[Rule]:
    """The rules that a config names, in its order.

    Raises:
        ValueError: a name is no rule's, or no score can meet the bounds.
    """
    return filtering.choose(
        known, {name: {"minimum": bounds.minimum, "maximum": bounds.maximum} for name, bounds in rules.items()}
    )

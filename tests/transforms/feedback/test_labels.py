"""Labels, published user ids, and who is in train and who in test."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import polars as pl
import pytest

from tests.builders import some_split
from transforms.feedback import labels
from transforms.feedback.turns import owner
from transforms.io import keys
from transforms.io.records import key64

SPLIT = some_split()
Label = Callable[..., pl.DataFrame]


def instances(*rows: tuple[str | None, str], level: int = 5) -> pl.DataFrame:
    """Instances as (user, conversation)."""
    return pl.DataFrame(
        {
            "record_id": [f"r{at}" for at in range(len(rows))],
            "user": pl.Series([user for user, _ in rows], dtype=pl.String),
            "conversation_id": [conversation for _, conversation in rows],
            "level": pl.Series([level] * len(rows), dtype=pl.Int8),
        }
    )


@pytest.fixture
def label(tmp_path: Path) -> Label:
    """The stage; ``tied`` are pairs of owners that the key pass found to belong together."""

    def run(
        frame: pl.DataFrame,
        by: Literal["user", "conversation", "row"] = "user",
        test_fraction: float = 0.5,
        seed: int = 0,
        user_key: str = "key",
        tied: tuple[tuple[str, str], ...] = (),
    ) -> pl.DataFrame:
        lists = tmp_path / f"lists-{len(list(tmp_path.iterdir()))}"
        owners = frame.select(owner=key64(owner("user" if by == "row" else by))).unique().with_columns(rows=len(frame))
        edges = pl.DataFrame(tied, schema={"owner": pl.String, "other": pl.String}, orient="row").select(
            key64(pl.format("user\0{}", "owner")).alias("owner"), key64(pl.format("user\0{}", "other")).alias("other")
        )
        keys.write_list(lists, SPLIT.key, [owners.to_arrow()], [keys.components(edges).to_arrow()])
        return labels.label(frame, SPLIT, by, test_fraction, seed, user_key, lists)

    return run


@pytest.mark.parametrize(("level", "expected"), [(1, 1), (2, 2), (4, 3), (5, 4)])
def test_levels_become_ordinal_labels(label: Label, level: int, expected: int) -> None:
    assert label(instances(("u", "c"), level=level))["label"].to_list() == [expected]


def test_a_neutral_level_has_no_label_and_is_an_error(label: Label) -> None:
    with pytest.raises(pl.exceptions.InvalidOperationError):
        label(instances(("u", "c"), level=3))


def test_published_user_ids_are_keyed_hashes(label: Label) -> None:
    found = label(instances(("203.0.113.9", "c"), (None, "d")), user_key="ab" * 32)["user_id"].to_list()
    expected = hmac.new(("ab" * 32).encode(), b"203.0.113.9", hashlib.sha256).hexdigest()[:32]
    assert found == [expected, None]


def test_another_key_gives_other_ids_and_the_same_key_the_same(label: Label) -> None:
    frame = instances(("u", "c"))
    one, again, other = (label(frame, user_key=key)["user_id"].item() for key in ("a", "a", "b"))
    assert one == again != other
    assert one != "u"


def sides(found: pl.DataFrame, by: str) -> dict[str, set[str]]:
    subsets: dict[str, set[str]] = defaultdict(set)
    for name, subset in found.select(by, "subset").rows():
        subsets[name].add(subset)
    return subsets


def test_a_user_is_on_one_side_with_all_conversations(label: Label) -> None:
    found = label(instances(*((f"u{at % 50}", f"c{at}") for at in range(500))))
    assert {len(where) for where in sides(found, "user").values()} == {1}
    assert set(found["subset"]) == {"train", "test"}


def test_without_a_user_a_conversation_is_on_one_side(label: Label) -> None:
    found = label(instances(*((None, f"c{at % 50}") for at in range(500))))
    assert {len(where) for where in sides(found, "conversation_id").values()} == {1}
    assert set(found["subset"]) == {"train", "test"}


def test_by_conversation_a_user_may_be_on_both_sides_a_conversation_never(label: Label) -> None:
    found = label(instances(*((f"u{at % 5}", f"c{at % 100}") for at in range(500))), by="conversation")
    assert {len(where) for where in sides(found, "conversation_id").values()} == {1}
    assert 2 in {len(where) for where in sides(found, "user").values()}


def test_by_row_a_conversation_may_be_on_both_sides(label: Label) -> None:
    found = label(instances(*(("u", "c") for _ in range(50))), by="row")
    assert set(found["subset"]) == {"train", "test"}


def test_users_who_are_tied_together_are_on_one_side(label: Label) -> None:
    pairs = tuple((f"u{at}", f"u{at + 1}") for at in range(0, 200, 2))
    frame = instances(*((f"u{at}", f"c{at}") for at in range(200)))
    where = dict(label(frame, tied=pairs).select("user", "subset").rows())
    assert all(where[one] == where[other] for one, other in pairs)
    assert set(where.values()) == {"train", "test"}
    alone = dict(label(frame).select("user", "subset").rows())
    assert any(alone[one] != alone[other] for one, other in pairs), "untied, they fall as they may"


@pytest.mark.parametrize("by", ["user", "conversation", "row"])
@pytest.mark.parametrize("fraction", [0.027, 0.1, 0.5])
def test_the_test_fraction_is_a_share_of_groups(
    label: Label, by: Literal["user", "conversation", "row"], fraction: float
) -> None:
    n = 20_000
    found = label(instances(*((f"u{at}", f"c{at}") for at in range(n))), by=by, test_fraction=fraction)
    share = found["subset"].eq("test").mean()
    assert share == pytest.approx(fraction, abs=5 * math.sqrt(fraction * (1 - fraction) / n))


def test_none_and_all_are_possible_fractions(label: Label) -> None:
    frame = instances(*((f"u{at}", "c") for at in range(100)))
    assert set(label(frame, test_fraction=0.0)["subset"]) == {"train"}
    assert set(label(frame, test_fraction=1.0)["subset"]) == {"test"}


def test_who_is_in_a_small_test_set_is_in_a_larger_one_too(label: Label) -> None:
    frame = instances(*((f"u{at}", f"c{at}") for at in range(1_000)))
    small, large = (label(frame, test_fraction=f)["subset"].eq("test") for f in (0.1, 0.3))
    assert 0 < small.sum() < large.sum()
    assert (small & ~large).sum() == 0


def test_the_seed_draws_another_test_set_and_nothing_else_does(label: Label) -> None:
    frame = instances(*((f"u{at}", f"c{at}") for at in range(1_000)))
    drawn = label(frame)["subset"]
    assert not drawn.equals(label(frame, seed=1)["subset"])
    assert drawn.equals(label(frame, user_key="another")["subset"])
    assert drawn.reverse().equals(label(frame.reverse())["subset"]), "order does not matter"

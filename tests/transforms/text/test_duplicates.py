"""What is removed and for whom, against brute force over all pairs."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.text.test_minhash import plain_words
from transforms.text import duplicates, minhash
from transforms.text.duplicates import Alike, Groups, Pairs, Settings, Shelf, Standing
from transforms.text.shingles import Sets, Shingling, distinct, shingle
from transforms.text.words import Integers

NO_ONE_FIRST = Standing(0, None)
NOTHING = np.empty(0, np.int64)


def sets_of(members: list[set[int]]) -> Sets:
    offsets = np.cumsum([0, *map(len, members)])
    return Sets(np.array([one for each in members for one in sorted(each)], np.uint64), offsets)


def jaccard(one: set[Any], other: set[Any]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def shelved(members: list[set[int]]) -> Shelf:
    def chosen(documents: Integers) -> list[set[int]]:
        assert (np.diff(documents) > 0).all(), "documents are sorted, each once"
        return [members[document] for document in documents]

    return Shelf(
        lambda documents: np.array([*map(len, chosen(documents))], np.int64),
        lambda documents: sets_of(chosen(documents)),
    )


few_sets = st.lists(st.sets(st.integers(0, 7), max_size=6), max_size=12)
thresholds = st.sampled_from([0.1, 0.3, 0.5, 2 / 3, 0.8, 1.0])


@given(few_sets, thresholds, st.sampled_from([1, 10, 1 << 25]))
def test_verified_pairs_are_those_of_brute_force(members: list[set[int]], threshold: float, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "SHINGLES_AT_ONCE", at_once)
        _expect_verified(members, threshold)


def _expect_verified(members: list[set[int]], threshold: float) -> None:
    every = list(itertools.combinations(range(len(members)), 2))
    pairs = Pairs(*np.array(every, np.int64).reshape(-1, 2).T)
    found = duplicates.verify(pairs, shelved(members), threshold)
    wanted = {(a, b): jaccard(members[a], members[b]) for a, b in every if jaccard(members[a], members[b]) >= threshold}
    assert (
        dict(zip(zip(found.left.tolist(), found.right.tolist(), strict=True), found.similarity, strict=True)) == wanted
    )


@given(st.lists(st.integers(0, 5) | st.integers(0, 2**64 - 1), max_size=60), st.integers(2, 6))
def test_candidates_are_all_pairs_of_small_buckets_and_whole_large_ones(hashes: list[int], small: int) -> None:
    documents = np.arange(len(hashes)) * 3 + 1
    pairs, crowds = duplicates.candidates(np.array(hashes, np.uint64), documents, small)
    by_hash: dict[int, list[int]] = {}
    for value, document in zip(hashes, documents.tolist(), strict=True):
        by_hash.setdefault(value, []).append(document)
    wanted = {pair for bucket in by_hash.values() if len(bucket) <= small for pair in itertools.combinations(bucket, 2)}
    told = list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    assert set(told) == wanted and len(told) == len(wanted)
    found = [crowd.tolist() for crowd in np.split(crowds.members, crowds.offsets[1:-1]) if len(crowd)]
    assert sorted(found) == sorted(bucket for bucket in by_hash.values() if len(bucket) > small)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 3)), max_size=30),
    st.integers(0, 8),
    st.booleans(),
)
def test_equal_texts_stand_behind_their_survivor(
    rows: list[tuple[int, int, int]], published: int, valued: bool
) -> None:
    values = np.array([float(value) for _, _, value in rows]) if valued else None
    keys, checks = (np.array([row[at] for row in rows], np.uint64) for at in (0, 1))
    found = duplicates.equal(keys, checks, np.arange(len(rows)), Standing(published, values))
    wanted = set()
    for key in {row[:2] for row in rows}:
        group = [at for at, row in enumerate(rows) if row[:2] == key]
        first = min(group, key=lambda at: (at >= published, -rows[at][2] if valued else 0, at))
        wanted |= {(first, at) for at in group if at != first}
    assert set(zip(found.left.tolist(), found.right.tolist(), strict=True)) == wanted


@given(few_sets, thresholds, st.integers(0, 5), st.integers(0, 3), st.randoms())
def test_a_removed_document_is_alike_the_most_similar_one_that_stays(
    members: list[set[int]], threshold: float, published: int, hidden: int, draw: random.Random
) -> None:
    every = [
        (a, b)
        for a, b in itertools.combinations(range(len(members)), 2)
        if jaccard(members[a], members[b]) >= threshold
    ]
    known = draw.sample(every, max(0, len(every) - hidden))
    alike = Alike(
        np.array([a for a, _ in known], np.int64),
        np.array([b for _, b in known], np.int64),
        np.array([jaccard(members[a], members[b]) for a, b in known]),
    )
    values = np.array([float(draw.randint(0, 2)) for _ in members])
    settled, verified = duplicates.settle(alike, Standing(published, values), shelved(members), threshold)
    removed = dict(zip(settled.documents.tolist(), settled.survivors.tolist(), strict=True))
    edges = set(zip(verified.left.tolist(), verified.right.tolist(), strict=True))
    assert set(known) <= edges <= set(every)
    rank = {at: (at >= published, -values[at], at) for at in range(len(members))}
    for at, survivor, similarity in zip(*settled[:3], strict=True):
        assert at >= published and survivor not in removed and rank[survivor] < rank[at]
        assert jaccard(members[at], members[survivor]) == similarity >= threshold
        rivals = [other for pair in edges if at in pair for other in pair if other not in (at, *removed)]
        rivals = [other for other in rivals if rank[other] < rank[at]]
        assert survivor == min(rivals, key=lambda other: (-jaccard(members[at], members[other]), rank[other]))
    for one, other in edges:
        staying = one not in removed and other not in removed
        assert not staying or max(one, other) < published, "of two alike, one goes, unless both are published"
    if hidden == 0:
        keepers: list[int] = []
        for at in sorted(rank, key=rank.__getitem__):
            if at < published or not any(tuple(sorted((at, other))) in edges for other in keepers):
                keepers.append(at)
        assert set(keepers) == set(range(len(members))) - set(removed), "the greedy choice, written plainly"


def test_the_ends_of_a_chain_are_not_torn_down_by_its_middle() -> None:
    members = [set(range(0, 10)), set(range(1, 11)), set(range(2, 12))]
    threshold = jaccard(members[0], members[1])
    assert jaccard(members[0], members[2]) < threshold
    alike = Alike(np.array([0, 1]), np.array([1, 2]), np.array([threshold, threshold]))
    settled, _ = duplicates.settle(alike, NO_ONE_FIRST, shelved(members), threshold)
    assert settled.documents.tolist() == [1] and settled.survivors.tolist() == [0]
    told, roots = duplicates.components(alike.left, alike.right)
    assert told.tolist() == [0, 1, 2] and roots.tolist() == [0, 0, 0]


def test_a_pair_that_the_bands_missed_is_found_through_a_removed_one() -> None:
    members = [{1, 2, 3, 4, 5}, {1, 2, 3, 4, 5, 6}, {1, 2, 3, 4, 6, 5, 7}]
    alike = Alike(np.array([0, 1]), np.array([1, 2]), np.array([5 / 6, 6 / 7]))
    settled, verified = duplicates.settle(alike, NO_ONE_FIRST, shelved(members), 0.7)
    assert settled.documents.tolist() == [1, 2] and settled.survivors.tolist() == [0, 0]
    assert settled.similarity.tolist() == [5 / 6, 5 / 7] and len(verified.left) == 3


def test_who_stood_for_equals_takes_them_along() -> None:
    settled = duplicates.Settled(np.array([4]), np.array([1]), np.array([0.9]), np.array([False]))
    told = duplicates.restore(settled, Pairs(np.array([4, 4, 2, 0]), np.array([6, 7, 5, 1])), 2)
    assert told.documents.tolist() == [4, 5, 6, 7], "document 1 is published and stays"
    assert told.survivors.tolist() == [1, 2, 1, 1]
    assert told.similarity.tolist() == [0.9, 1.0, 0.9, 0.9] and told.equal.tolist() == [False, True, False, False]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_components_are_what_links_connect(links: list[tuple[int, int]]) -> None:
    left, right = (np.array([link[at] for link in links], np.int64) for at in (0, 1))
    root = {at: at for link in links for at in link}
    for _ in root:
        for one, other in links:
            root[one] = root[other] = min(root[one], root[other])
    documents, roots = duplicates.components(left, right)
    assert dict(zip(documents.tolist(), roots.tolist(), strict=True)) == root


@pytest.mark.parametrize(("at_once", "shingles"), [(7, 1 << 25), (10_000, 50), (10_000, 1), (10_000, 1 << 25)])
def test_a_crowd_is_compared_with_its_leaders(monkeypatch: pytest.MonkeyPatch, at_once: int, shingles: int) -> None:
    monkeypatch.setattr(duplicates, "AT_ONCE", at_once)
    monkeypatch.setattr(duplicates, "SHINGLES_AT_ONCE", shingles)
    draw = random.Random(1)
    kinds = [set(range(100 * kind, 100 * kind + 20)) for kind in range(3)]
    members = [kinds[at % 3] - {draw.choice(sorted(kinds[at % 3]))} for at in range(100)]
    values = np.array([float(draw.randint(0, 9)) for _ in members])
    found = duplicates.lead(np.arange(100), shelved(members), 0.8, Standing(0, values))
    order = sorted(range(100), key=lambda at: (-values[at], at))
    leaders = [next(at for at in order if members[at] <= kind) for kind in kinds]
    told = {tuple(sorted(pair)) for pair in zip(found.left.tolist(), found.right.tolist(), strict=True)}
    assert told == {tuple(sorted((leaders[at % 3], at))) for at in range(100) if at not in leaders}
    crowds = Groups(np.arange(100), np.array([0, 30, 32, 100]))
    parted = [duplicates.lead(crowds.members[a:b], shelved(members), 0.8, Standing(0, values)) for a, b in ((0, 30), (30, 32), (32, 100))]  # fmt: skip
    together = duplicates.led(crowds, shelved(members), 0.8, Standing(0, values))
    assert [column.tolist() for column in together] == [column.tolist() for column in duplicates.gathered(parted)]
    two = duplicates.lead(np.arange(100), shelved(members), 0.8, Standing(0, values), leaders=2)
    assert len(two.left) < len(found.left), "no third leader"


# --- Texts


WORDS = [f"w{number}" for number in range(50_000)]


def versions(draw: random.Random, similarity: float, words: int = 200) -> tuple[str, str, float]:
    """Two texts of different words, with shingles of about this similarity, and the exact one."""
    one = draw.sample(WORDS, words)
    other = list(one)
    missing = (1 - similarity) / (1 + similarity) * words
    for at in draw.sample(range(0, words, 5), round(missing / 5)):
        other[at] = draw.choice(WORDS)
    runs = [{tuple(text[at : at + 5]) for at in range(words - 4)} for text in (one, other)]
    return " ".join(one), " ".join(other), len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_of_pairs_with_known_similarity_nearly_all_at_the_threshold_are_found_and_no_other() -> None:
    draw = random.Random(3)
    pairs = [versions(draw, draw.choice([0.82, 0.9, 0.7, 0.5])) for _ in range(3000)]
    frame = pl.DataFrame({"text": [text for one, other, _ in pairs for text in (one, other)]})
    marked = duplicates.mark(frame, Settings())
    removed = marked["duplicate_of"].to_list()
    assert set(removed[0::2]) == {None}
    found = {at for at in range(len(pairs)) if removed[2 * at + 1] is not None}
    assert all(removed[2 * at + 1] == 2 * at for at in found)
    alike = {at for at, (_, _, exact) in enumerate(pairs) if exact >= 0.8}
    assert len(alike) > 1000
    assert found <= alike, "precision 1"
    assert len(found) / len(alike) >= 0.98
    for at in found:
        assert marked["similarity"][2 * at + 1] == pytest.approx(pairs[at][2], abs=1e-6)


def test_recall_at_the_threshold_itself() -> None:
    draw = np.random.default_rng(5)
    members, sizes = [], 180
    for _ in range(3000):
        own = draw.integers(0, 2**64, 200, np.uint64)
        members += [np.sort(own[:sizes]), np.sort(np.concatenate([own[: sizes - 20], own[sizes:]]))]
    sets = Sets(np.concatenate(members), np.arange(len(members) + 1, dtype=np.int64) * sizes)
    hashes = minhash.banded(minhash.signatures(sets), *Settings().banding)
    pairs = {
        pair for band in hashes for pair in zip(*duplicates.candidates(band, np.arange(len(members)))[0], strict=True)
    }
    exact = (sizes - 20) / 200
    assert exact == 0.8
    assert sum((2 * at, 2 * at + 1) in pairs for at in range(3000)) / 3000 >= 0.98


def test_exact_and_near_duplicates_of_a_frame() -> None:
    base = " ".join(WORDS[:100])
    near = " ".join([*WORDS[:99], "other"])
    frame = pl.DataFrame({"text": [base, "something else", base.upper() + " !", near, None, "", near], "n": range(7)})
    marked = duplicates.mark(frame, Settings())
    assert marked["reason"].to_list() == [
        None,
        None,
        "duplicate",
        "near_duplicate",
        None,
        "duplicate",
        "near_duplicate",
    ]
    assert marked["duplicate_of"].to_list() == [None, None, 0, 0, None, 4, 0]
    assert marked["similarity"].to_list() == [None, None, 1.0, np.float32(95 / 97), None, 1.0, np.float32(95 / 97)]
    assert marked.drop("reason", "duplicate_of", "similarity").equals(frame)
    assert duplicates.mark(frame.head(0), Settings())["reason"].to_list() == []


@pytest.mark.parametrize(("survivor", "stays"), [("first", 0), ("longest", 1), ("best", 3)])
def test_the_survivor_is_the_one_of_the_rule(survivor: duplicates.Survivor, stays: int) -> None:
    words = WORDS[:200]
    texts = [" ".join(words), " ".join([*words, "more"]), " ".join(words[:-1]), " ".join(words[1:])]
    frame = pl.DataFrame({"text": texts, "rank": [1.0, None, float("nan"), 2.0]})
    marked = duplicates.mark(frame, Settings(survivor=survivor))
    assert [at for at, reason in enumerate(marked["reason"]) if reason is None] == [stays]
    assert set(marked["duplicate_of"].drop_nulls()) == {stays}


def test_a_boilerplate_of_20_000_pages_costs_no_square() -> None:
    base = WORDS[:100]
    texts = [" ".join(base)] * 20_000 + [" ".join([*base, f"page{at}"]) for at in range(20_000)]
    marked = duplicates.mark(pl.DataFrame({"text": texts}), Settings())
    assert marked["reason"].null_count() == 1
    assert marked["reason"].value_counts().sort("reason")["count"].to_list() == [1, 19_999, 20_000]
    assert set(marked["duplicate_of"].drop_nulls()) == {0}


def test_the_order_of_words_matters_and_repetition_does_not() -> None:
    texts = pl.Series(["a b c d e f g h", "h g f e d c b a", "a b c d e a b c d e a b c d e", "a b c d e a b c d e"])
    sets = distinct(shingle(texts, Shingling(n=3)).sets)
    runs = [{tuple(text.split()[at : at + 3]) for at in range(len(text.split()) - 2)} for text in texts]
    assert np.diff(sets.offsets).tolist() == [len(run) for run in runs]
    sets_by_text = [set(part.tolist()) for part in np.split(sets.hashes, sets.offsets[1:-1])]
    alike = duplicates.verify(Pairs(np.array([2]), np.array([3])), shelved(sets_by_text), 0.9)
    assert alike.left.tolist() == [2] and alike.similarity.tolist() == [1.0]


def test_settings_that_make_no_sense_are_named() -> None:
    with pytest.raises(ValueError, match="threshold: expected more than 0"):
        Settings(threshold=0)
    with pytest.raises(ValueError, match="at most 128 slots in all, got 16 of 9"):
        Settings(bands=(16, 9))


def test_copies_of_real_texts_with_a_word_changed_are_found(shared_texts: pl.Series) -> None:
    texts = shared_texts.to_list()
    draw = random.Random(11)
    copies = []
    for text in texts:
        words = text.split(" ")
        words[draw.randrange(len(words))] = "anotherword"
        copies.append(" ".join(words))
    marked = duplicates.mark(pl.DataFrame({"text": [*texts, *copies]}), Settings())
    runs = [_runs(text) for text in (*texts, *copies)]
    found = set()
    for at, (survivor, similarity) in enumerate(marked.select("duplicate_of", "similarity").iter_rows()):
        if survivor is not None:
            assert similarity == pytest.approx(jaccard(runs[at], runs[survivor]), abs=1e-6) and similarity >= 0.8
            assert marked["duplicate_of"][survivor] is None
            found.add(at)
    alike = {len(texts) + at for at in range(len(texts)) if jaccard(runs[at], runs[len(texts) + at]) >= 0.8}
    assert len(alike) > 400 and len(alike - found) <= 0.02 * len(alike)


def _runs(text: str) -> set[tuple[str, ...]]:
    words = plain_words(text, Shingling())
    return {tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))}

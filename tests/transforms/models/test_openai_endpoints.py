"""When an endpoint gets requests, and how many. Times are given, nothing waits."""

from __future__ import annotations

import pytest

from schemas.answers import Answer
from transforms.models.openai_endpoints import Endpoint, pause

DOWN = Answer(failure="connection")
LIMITED = Answer(failure="rate_limited")
REFUSED = Answer(failure="authentication")


def endpoint() -> Endpoint:
    return Endpoint("http://127.0.0.1:1/v1", most=64, longest=10.0, patience=30.0)


def test_refusals_of_one_round_trip_halve_the_share_once() -> None:
    one = endpoint()
    for _ in range(64):
        one.overloaded(sent_at=0.0, now=1.0)
    assert one.limit == 32
    one.overloaded(sent_at=1.5, now=2.0)
    assert one.limit == 16


def test_the_share_is_never_less_than_one_request_and_grows_back_within_some_round_trips() -> None:
    one = endpoint()
    for moment in range(20):
        one.overloaded(sent_at=moment, now=moment + 0.5)
    assert one.limit == 1
    trips = 0
    while one.limit < 64:
        for _ in range(int(one.limit)):
            one.succeeded()
        trips += 1
    assert 8 <= trips <= 24


def test_one_trouble_is_forgiven_and_the_second_in_a_row_means_rest_and_one_request_at_a_time() -> None:
    one = endpoint()
    one.troubled(DOWN, 0.0, 1.0, False, None)
    assert one.takes(1.0)
    one.troubled(DOWN, 1.5, 2.0, False, None)
    assert not one.takes(2.0)
    assert one.takes(12.0)
    assert one.sent()
    assert not one.takes(12.0)
    one.succeeded()
    one.returned(True)
    assert one.takes(12.0)
    assert not one.sent()
    assert one.takes(12.0)


def test_where_there_is_no_connection_the_first_trouble_means_rest() -> None:
    one = endpoint()
    one.troubled(DOWN, 0.0, 1.0, True, None)
    assert not one.takes(1.1)
    assert one.takes(2.0)


def test_rests_grow_with_troubles_in_a_row_up_to_the_longest() -> None:
    one, rests = endpoint(), []
    for moment in range(0, 200, 20):
        one.troubled(DOWN, moment, moment + 1, True, None)
        rests.append(one.rests_until - moment - 1)
    assert rests[0] < 0.6 < rests[4]
    assert max(rests) <= 10
    assert all(rest >= 5 for rest in rests[5:])


def test_an_endpoint_that_limits_the_rate_rests_and_then_gets_its_smaller_share() -> None:
    one = endpoint()
    for moment in (0.0, 20.0):
        one.overloaded(moment, moment + 1)
        one.troubled(LIMITED, moment, moment + 1, False, None)
    assert not one.takes(21.0)
    assert [one.sent() for _ in range(16) if one.takes(40.0)] == [False] * 16
    assert not one.takes(40.0)


@pytest.mark.parametrize(("asked", "rest"), [(3.0, 3.0), (99.0, 10.0), (0.0, 0.0)])
def test_the_time_asked_for_is_given_up_to_the_longest_rest(asked: float, rest: float) -> None:
    one = endpoint()
    one.troubled(LIMITED, 0.0, 1.0, False, asked)
    assert one.rests_until == 1.0 + rest
    assert one.takes(1.0 + rest)


def test_an_endpoint_that_refuses_is_given_up_at_once_and_others_after_a_while() -> None:
    refusing, down = endpoint(), endpoint()
    for moment in range(2):
        refusing.troubled(REFUSED, moment, moment + 0.5, False, None)
        down.troubled(DOWN, moment, moment + 0.5, False, None)
    assert refusing.given_up(2.0)
    assert not down.given_up(2.0)
    assert down.given_up(31.0)
    down.succeeded()
    assert not down.given_up(31.0)


def test_pauses_double_with_jitter_up_to_the_longest() -> None:
    for failures in range(1, 40):
        waits = [pause(failures, 60.0) for _ in range(50)]
        whole = min(60.0, 0.5 * 2.0 ** (failures - 1))
        assert whole / 2 <= min(waits) < max(waits) <= whole

"""Asking: order, once only, the journal first, durable before used, bounded attempts, budgets."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.answers import Answer, Request, canonical
from transforms.models.asking import AskingError, Client, Reply
from transforms.models.budgets import Budget, BudgetError
from transforms.models.journal import Journal
from transforms.models.settings import Price

SCHEMA = canonical({"type": "object", "properties": {"level": {"type": "integer"}}, "required": ["level"]})


def request(text: str) -> Request:
    return Request((("user", text),), "test@1", schema=SCHEMA)


def echo(asked: Request) -> Answer:
    """A level made of the text's length, after a time that differs from text to text."""
    text = asked.messages[0][1]
    time.sleep(len(text) % 5 / 500)
    return Answer(f'{{"level": {len(text)}}}', input_tokens=10, output_tokens=2)


class Threads:
    """An engine of threads that answers as a function says, and remembers what it was sent."""

    def __init__(self, answer: Callable[[Request], Answer], in_flight: int = 8) -> None:
        self.answer, self.in_flight = answer, in_flight
        self.sent: list[Request] = []
        self.pool = ThreadPoolExecutor(in_flight)

    def submit(self, request: Request) -> Future[Answer]:
        self.sent.append(request)
        return self.pool.submit(self.answer, request)

    def close(self) -> None:
        self.pool.shutdown()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal", seconds=0.02) as opened:
        yield opened


def client(
    engine: Threads,
    journal: Journal,
    folder: Path,
    *,
    attempts: int = 1,
    retry_failed: bool = False,
    requests: int | None = None,
    cost: float | None = None,
) -> Client:
    budget = Budget(folder / "leases", requests, cost, Price(input=1e5, output=1e6))
    return Client(lambda: engine, "identity", journal, budget, attempts, retry_failed)


def levels(replies: list[Reply]) -> list[int | None]:
    return [reply.value["level"] if reply.usable else None for reply in replies]


def test_replies_stand_in_the_order_of_the_requests(journal: Journal, tmp_path: Path) -> None:
    engine = Threads(echo)
    asked = [request("x" * (1 + at * 7 % 40)) for at in range(40)]
    replies = client(engine, journal, tmp_path).ask(asked).result(30)
    assert levels(replies) == [len(one.messages[0][1]) for one in asked]
    assert [reply.sent for reply in replies] == [1] * 40
    assert (replies[0].input_tokens, replies[0].output_tokens) == (10, 2)


def test_equal_requests_are_sent_once_and_all_are_answered(journal: Journal, tmp_path: Path) -> None:
    engine = Threads(echo)
    asking = client(engine, journal, tmp_path)
    futures = [asking.ask([request("same"), request("other!"), request("same")]) for _ in range(3)]
    assert [levels(future.result(30)) for future in futures] == [[4, 6, 4]] * 3
    assert len(engine.sent) == 2


def test_what_the_journal_knows_is_not_sent(journal: Journal, tmp_path: Path) -> None:
    asked = [request(f"text {at}") for at in range(20)]
    first = client(Threads(echo), journal, tmp_path).ask(asked[:15]).result(30)
    engine = Threads(echo)
    again = client(engine, journal, tmp_path).ask(asked).result(30)
    assert {one.messages for one in engine.sent} == {one.messages for one in asked[15:]}
    assert [reply.sent for reply in again] == [0] * 15 + [1] * 5
    assert [reply.key for reply in again[:15]] == [reply.key for reply in first]


def test_another_identity_asks_anew(journal: Journal, tmp_path: Path) -> None:
    client(Threads(echo), journal, tmp_path).ask([request("text")]).result(30)
    engine = Threads(echo)
    Client(lambda: engine, "another", journal, Budget(tmp_path, None, None, Price()), 1, False).ask(
        [request("text")]
    ).result(30)
    assert len(engine.sent) == 1


def test_no_answer_is_used_before_it_is_durable(tmp_path: Path) -> None:
    gate = threading.Event()

    def held(asked: Request) -> Answer:
        if asked.messages[0][1] == "held":
            gate.wait(30)
        return echo(asked)

    with Journal(tmp_path / "journal", seconds=60) as slow:
        engine = Threads(held)
        asking = client(engine, slow, tmp_path)
        asking.ask([request("held")])
        future = asking.ask([request(f"text {at}") for at in range(4)])
        time.sleep(0.5)
        assert len(engine.sent) == 5
        assert not future.done()
        gate.set()
        assert levels(future.result(30)) == [6, 6, 6, 6]
        with Journal(tmp_path / "journal") as reader:
            assert len(reader.find([reply.key for reply in future.result()])) == 4


def test_the_last_answers_do_not_wait_for_their_segment_to_fill(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", seconds=60) as slow:
        began = time.monotonic()
        assert levels(client(Threads(echo), slow, tmp_path).ask([request("text")]).result(30)) == [4]
        assert time.monotonic() - began < 10


def test_an_unusable_answer_is_asked_for_again_within_bounds(journal: Journal, tmp_path: Path) -> None:
    def second_time(asked: Request) -> Answer:
        return echo(asked) if asked.attempt else Answer("I would rather not say.")

    engine = Threads(second_time)
    (reply,) = client(engine, journal, tmp_path, attempts=3).ask([request("text")]).result(30)
    assert (reply.status, reply.value, reply.sent) == ("ok", {"level": 4}, 2)
    assert [one.attempt for one in engine.sent] == [0, 1]

    never = Threads(lambda _: Answer('{"level": "high"}'))
    (reply,) = client(never, journal, tmp_path, attempts=3).ask([request("other")]).result(30)
    assert (reply.status, reply.usable, reply.sent) == ("wrong_schema", False, 3)
    assert reply.value is None


def test_earlier_attempts_are_found_in_the_journal(journal: Journal, tmp_path: Path) -> None:
    answers = {0: Answer(""), 1: Answer('{"level": 7}')}
    client(Threads(lambda asked: answers[asked.attempt]), journal, tmp_path, attempts=2).ask([request("a")]).result(30)
    engine = Threads(echo)
    (reply,) = client(engine, journal, tmp_path, attempts=2).ask([request("a")]).result(30)
    assert (reply.value, reply.sent, engine.sent) == ({"level": 7}, 0, [])


def test_failures_are_kept_and_asked_again_only_on_demand(journal: Journal, tmp_path: Path) -> None:
    broken = Threads(lambda _: Answer(failure="server_error", detail="500"))
    (reply,) = client(broken, journal, tmp_path, attempts=3).ask([request("a")]).result(30)
    assert (reply.status, reply.answer.failure, len(broken.sent)) == ("failed", "server_error", 1)

    mended = Threads(echo)
    (reply,) = client(mended, journal, tmp_path).ask([request("a")]).result(30)
    assert (reply.status, mended.sent) == ("failed", [])
    asked = [request("a"), request("bb")]
    replies = client(mended, journal, tmp_path, retry_failed=True).ask(asked).result(30)
    assert levels(replies) == [1, 2]
    again = client(Threads(echo), journal, tmp_path).ask([request("a")]).result(30)
    assert levels(again) == [1]


def test_an_engine_that_raises_fails_that_request_alone(journal: Journal, tmp_path: Path) -> None:
    def moody(asked: Request) -> Answer:
        if asked.messages[0][1] == "bad":
            raise RuntimeError("out of memory")
        return echo(asked)

    replies = client(Threads(moody), journal, tmp_path).ask([request("a"), request("bad"), request("cc")]).result(30)
    assert levels(replies) == [1, None, 2]
    assert (replies[1].answer.failure, replies[1].answer.detail) == ("engine_error", "RuntimeError: out of memory")


def test_requests_are_drawn_no_faster_than_they_are_taken(journal: Journal, tmp_path: Path) -> None:
    gate = threading.Event()
    drawn = itertools.count()

    def held(asked: Request) -> Answer:
        gate.wait(30)
        return echo(asked)

    def endless() -> Iterator[Request]:
        for number in range(20_000):
            next(drawn)
            yield request(f"text {number}")

    asking = client(Threads(held), journal, tmp_path)
    results: list[Future[list[Reply]]] = []
    thread = threading.Thread(target=lambda: results.append(asking.ask(endless())))
    thread.start()
    time.sleep(0.5)
    assert next(drawn) <= 2_000
    gate.set()
    thread.join(120)
    assert len(results[0].result(60)) == 20_000


def test_a_key_that_nobody_accepts_ends_the_asking(journal: Journal, tmp_path: Path) -> None:
    engine = Threads(lambda _: Answer(failure="authentication", detail="invalid key"))
    future = client(engine, journal, tmp_path).ask([request(f"text {at}") for at in range(1000)])
    with pytest.raises(AskingError, match="authentication: invalid key; the first 16 requests failed"):
        future.result(30)
    assert len(engine.sent) < 100


def test_a_key_that_some_requests_are_refused_with_fails_those_alone(journal: Journal, tmp_path: Path) -> None:
    def expiring(asked: Request) -> Answer:
        number = int(asked.messages[0][1])
        return Answer(failure="authentication", detail="expired") if 10 <= number < 60 else Answer('{"level": 1}')

    asking = client(Threads(expiring, in_flight=1), journal, tmp_path)
    replies = asking.ask([request(str(at)) for at in range(100)]).result(60)
    assert [reply.status for reply in replies] == ["ok"] * 10 + ["failed"] * 50 + ["ok"] * 40


def test_a_budget_of_requests_is_shared_and_never_exceeded(journal: Journal, tmp_path: Path) -> None:
    engine = Threads(echo)
    asked = [request(f"text {at}") for at in range(60)]
    two = [client(engine, journal, tmp_path, requests=25).ask(asked[at::2]) for at in range(2)]
    for future in two:
        with pytest.raises(BudgetError, match="max_requests=25 is spent; what is answered is kept"):
            future.result(30)
    assert len(engine.sent) == 25
    time.sleep(0.2)
    rest = Threads(echo)
    assert len(client(rest, journal, tmp_path / "next").ask(asked).result(30)) == 60
    assert len(rest.sent) == 35


def test_a_budget_of_money_ends_the_asking_near_its_limit(journal: Journal, tmp_path: Path) -> None:
    engine = Threads(echo, in_flight=2)
    future = client(engine, journal, tmp_path, cost=600.0).ask([request(f"text {at}") for at in range(1000)])
    with pytest.raises(BudgetError, match="max_cost=600 is spent"):
        future.result(30)
    each = 10 * 0.1 + 2 * 1.0
    assert 100 <= len(engine.sent) <= 600.0 / each + 4


def test_nothing_to_ask_is_answered_at_once(journal: Journal, tmp_path: Path) -> None:
    assert client(Threads(echo), journal, tmp_path).ask([]).result(1) == []


def test_a_journal_that_cannot_be_written_ends_the_asking(tmp_path: Path) -> None:
    blocked = tmp_path / "journal"
    with Journal(blocked, seconds=0.02) as opened:
        asking = client(Threads(echo), opened, tmp_path)
        asking.ask([request("a")]).result(30)
        for path in blocked.iterdir():
            path.unlink()
        blocked.rmdir()
        blocked.write_bytes(b"no folder")
        with pytest.raises(OSError, match="journal"):
            asking.ask([request("b"), request("c")]).result(30)

import random
import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eventspd_ros.predictor import Answer, Status
from eventspd_ros.ros import desk as desk_module
from eventspd_ros.ros.desk import NO_WINDOW, Request, RequestDesk


def request(message, count=2, malformed=False):
    return Request(message, None if malformed else np.zeros((count, 2), np.float32), count, 0)


class Desk:
    """A desk whose answers are kept."""

    def __init__(self, max_waiting=5):
        self.left = []
        self.desk = RequestDesk(lambda message, answer, window: self.left.append((message, answer)), max_waiting)

    def work(self, one):
        self.desk.answer(one, Answer.refused(one.count, one.refusal or Status.STALE_CACHE), NO_WINDOW)

    @property
    def order(self):
        return [message for message, _ in self.left]


ACTIONS = st.sampled_from(["put", "take", "answer", "refuse", "close"])


@settings(max_examples=200, deadline=None)
@given(st.lists(ACTIONS, max_size=60))
def test_every_request_gets_one_answer_in_order_whatever_happens(actions):
    office, count, in_hand, closed = Desk(max_waiting=3), 0, None, False
    for action in actions:
        if action == "put":
            office.desk.put(request(count))
            count += 1
        elif action == "take" and in_hand is None and (len(office.desk) or closed):
            in_hand = office.desk.take()
        elif action == "answer" and in_hand is not None:
            office.work(in_hand)
            in_hand = None
        elif action == "refuse":
            office.desk.refuse_all(Status.NO_CACHE)
        elif action == "close":
            office.desk.close()
            closed = True
    if in_hand is not None:
        office.work(in_hand)
    office.desk.refuse_all(Status.NO_CACHE)
    assert office.order == list(range(count))
    assert office.desk.received == office.desk.answered == count
    assert office.desk._held_points == 0
    assert all(len(answer.status) == 2 for _, answer in office.left)


def test_many_threads_do_not_shuffle_or_lose():
    office = Desk(max_waiting=50)

    def answer_all():
        while (one := office.desk.take()) is not None:
            office.work(one)

    def disturb():
        for _ in range(200):
            office.desk.refuse_all(Status.NO_CACHE)

    threads = [threading.Thread(target=t) for t in (answer_all, disturb)]
    for thread in threads:
        thread.start()
    for k in range(3000):
        office.desk.put(request(k, random.Random(k).randint(0, 3)))
    office.desk.close()
    for thread in threads:
        thread.join()
    assert office.order == list(range(3000))


def test_beyond_the_limit_requests_are_overloaded_at_their_turn():
    office = Desk(max_waiting=2)
    for k in range(5):
        office.desk.put(request(k))
    for _ in range(5):
        office.work(office.desk.take())
    statuses = [answer.status[0] for _, answer in office.left]
    assert statuses == [Status.STALE_CACHE] * 2 + [Status.OVERLOADED] * 3
    assert office.desk.overloaded == 3 and office.desk.points_by_status[Status.OVERLOADED] == 6


def test_where_memory_is_at_stake_nothing_waits_any_longer(monkeypatch):
    monkeypatch.setattr(desk_module, "MAX_HELD_POINTS", 100)
    office = Desk(max_waiting=1000)
    office.desk.put(request(0, 50))
    stuck = office.desk.take()
    office.desk.put(request(1, 40))
    assert office.left == []
    office.desk.put(request(2, 20))
    assert office.order == [0, 1, 2] and {a.status[0] for _, a in office.left} == {Status.OVERLOADED}
    office.work(stuck)  # comes too late
    assert office.order == [0, 1, 2]


def test_a_request_without_points_is_malformed():
    office = Desk()
    office.desk.put(request(0, 3, malformed=True))
    assert office.desk.take().refusal == Status.MALFORMED


def test_an_answer_that_cannot_be_published_does_not_hold_up_the_others():
    left = []

    def publish(message, answer, window):
        if message == 0:
            raise RuntimeError("context is gone")
        left.append(message)

    one = RequestDesk(publish, 5)
    for k in range(3):
        one.put(request(k))
    one.refuse_all(Status.NO_CACHE)
    assert left == [1, 2] and one.publish_errors == 1

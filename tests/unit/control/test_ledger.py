"""Writes that do not stay: told apart from writes that the API server stores in another form."""

from llmfleet.control.ledger import Ledger
from llmfleet.observe.views import Child
from tests.unit.worlds import child

SENT = {"kind": "Deployment", "metadata": {"name": "chat-1"}, "spec": {"replicas": 2}}


def stored(replicas: int, manager: str = "llmfleet") -> dict:
    entry = {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    metadata = {"name": "chat-1", "uid": "u-1", "managedFields": [entry]}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}


def view(digest: str) -> Child:
    return Child(**{**child("Deployment", "1"), "uid": "u-1", "digest": digest})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fight(ledger: Ledger, repairs: int) -> None:
    for _ in range(repairs + 1):
        ledger.wrote(SENT, stored(2), "w", "w", "llmfleet")


def test_what_admission_makes_of_a_write_is_no_drift_and_is_named() -> None:
    ledger = Ledger()
    ledger.wrote(SENT, stored(5), "w", "g", "llmfleet")
    assert ledger.is_as(view("g"), "w")
    assert not ledger.is_as(view("other"), "w")
    assert not ledger.is_as(view("g"), "another wish")
    said = ledger.altered("u-1")
    assert (
        said == "A webhook or policy of the cluster changes spec.replicas of Deployment chat-1 whenever it is written."
    )


def test_a_person_is_put_back_at_once_and_a_controller_after_growing_pauses() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    fight(ledger, 2)
    assert ledger.wait_s("u-1", "w") == 0
    pauses = []
    for _ in range(9):
        ledger.wrote(SENT, stored(2), "w", "w", "llmfleet")
        pauses.append(ledger.wait_s("u-1", "w"))
        clock.now += pauses[-1]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_another_wish_is_written_at_once() -> None:
    ledger = Ledger(Clock())
    fight(ledger, 5)
    assert ledger.wait_s("u-1", "w") > 0
    assert ledger.wait_s("u-1", "another wish") == 0


def test_changes_far_apart_are_no_dispute() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    for _ in range(10):
        ledger.wrote(SENT, stored(2), "w", "w", "llmfleet")
        clock.now += 61
    assert ledger.wait_s("u-1", "w") == 0


def test_who_undoes_our_writes_is_named_until_it_is_quiet() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    fight(ledger, 4)
    ledger.disputed(SENT, stored(7, "someone"), "llmfleet")
    said, again_s = ledger.dispute("u-1")
    assert "someone changes spec.replicas of Deployment chat-1 each time" in said
    assert again_s == 10  # then it is put back once more
    clock.now += 10
    assert ledger.dispute("u-1") == (said, 10)  # and is over if it stays so
    clock.now += 10
    assert ledger.dispute("u-1") == ("", 0)


def test_nobody_is_blamed_for_what_admission_does() -> None:
    ledger = Ledger(Clock())
    fight(ledger, 4)
    ledger.disputed(SENT, stored(7), "llmfleet")
    assert ledger.dispute("u-1")[0].startswith("a webhook or policy changes spec.replicas")

"""Writes that do not stay: told apart from writes that the API server stores in another form."""

from llmfleet.control.ledger import Ledger

CHAT = ("Deployment", "chat-1")
SENT = {"kind": "Deployment", "metadata": {"name": "chat-1"}, "spec": {"replicas": 2}}


def stored(replicas: int, manager: str = "llmfleet") -> dict:
    entry = {"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    metadata = {"name": "chat-1", "uid": "u-1", "managedFields": [entry]}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fight(ledger: Ledger, repairs: int) -> None:
    for _ in range(repairs + 1):
        ledger.wrote(CHAT, "w", "w", SENT, stored(2))


def test_what_admission_makes_of_a_write_is_no_drift_and_is_named() -> None:
    ledger = Ledger()
    ledger.wrote(CHAT, "w", "g", SENT, stored(5))
    assert ledger.is_as(CHAT, "g", "w")
    assert not ledger.is_as(CHAT, "other", "w")
    assert not ledger.is_as(CHAT, "g", "another wish")
    said = ledger.altered(CHAT)
    assert (
        said == "A webhook or policy of the cluster changes spec.replicas of Deployment chat-1 whenever it is written."
    )


def test_a_person_is_put_back_at_once_and_a_controller_after_growing_pauses() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    fight(ledger, 2)
    assert ledger.wait_s(CHAT, "w") == 0
    pauses = []
    for _ in range(9):
        ledger.wrote(CHAT, "w", "w", SENT, stored(2))
        pauses.append(ledger.wait_s(CHAT, "w"))
        clock.now += pauses[-1]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_another_wish_is_written_at_once() -> None:
    ledger = Ledger(Clock())
    fight(ledger, 5)
    assert ledger.wait_s(CHAT, "w") > 0
    assert ledger.wait_s(CHAT, "another wish") == 0


def test_changes_far_apart_are_no_dispute() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    for _ in range(10):
        ledger.wrote(CHAT, "w", "w", SENT, stored(2))
        clock.now += 61
    assert ledger.wait_s(CHAT, "w") == 0


def test_who_undoes_our_writes_is_named_until_it_is_quiet() -> None:
    clock = Clock()
    ledger = Ledger(clock)
    fight(ledger, 4)
    ledger.disputed(CHAT, SENT, stored(7, "someone"))
    said, again_s = ledger.dispute(CHAT)
    assert "someone changes spec.replicas of Deployment chat-1 each time" in said
    assert again_s == 10  # then it is put back once more
    clock.now += 10
    assert ledger.dispute(CHAT) == (said, 10)  # and is over if it stays so
    clock.now += 10
    assert ledger.dispute(CHAT) == ("", 0)


def test_nobody_is_blamed_for_what_admission_does() -> None:
    ledger = Ledger(Clock())
    fight(ledger, 4)
    ledger.disputed(CHAT, SENT, stored(7))
    assert ledger.dispute(CHAT)[0].startswith("a webhook or policy changes spec.replicas")


def test_what_is_deleted_each_time_is_made_again_after_a_pause_too() -> None:
    ledger = Ledger(Clock())
    fight(ledger, 4)
    ledger.disputed(CHAT, SENT, None)
    assert ledger.wait_s(CHAT, "w") == 10
    assert ledger.dispute(CHAT)[0].startswith("something deletes Deployment chat-1 each time that llmfleet makes it")


def test_what_was_removed_on_purpose_begins_anew() -> None:
    ledger = Ledger(Clock())
    fight(ledger, 9)
    ledger.forget(CHAT)
    assert ledger.wait_s(CHAT, "w") == 0

"""Events: each transition once, what goes on not at all."""

from dataclasses import replace

from llmfleet.api.reasons import Reason
from llmfleet.api.status import Status
from llmfleet.control.narration import narrate
from llmfleet.control.summary import summarise
from llmfleet.decide.decision import decide
from llmfleet.decide.plan import GuardRevision
from llmfleet.decide.revision import revision_hash
from llmfleet.observe.views import Orders, Refusal, Snapshot
from tests.unit.worlds import NOW, deployment, failed, pod, snapshot, stored_spec

NEW = revision_hash(stored_spec())


def world(status: Status | None = None, **more: object) -> Snapshot:
    return snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(pod(NEW, **more),), status=status)


def told(seen: Snapshot) -> tuple[Status, list[tuple[str, str]]]:
    plan = decide(seen, NOW)
    status = summarise(seen, plan, None, outdated=False, now=NOW)
    return status, [(event.type, event.reason) for event in narrate(seen, (), status)]


def test_a_failure_is_told_once_and_its_end_as_well() -> None:
    status, first = told(world(**failed("boom")))
    _, again = told(world(status, **failed("boom", 2)))
    _, mended = told(world(status, ready=True))
    assert first == [("Warning", "EngineFailed")]
    assert again == []
    assert mended == [("Normal", "AllReady")]


def test_steps_that_changed_something_are_told_and_others_are_not() -> None:
    seen = snapshot()
    plan = decide(seen, NOW)
    status = summarise(seen, plan, None, outdated=False, now=NOW)
    reasons = [(event.reason, event.message) for event in narrate(seen, plan.steps, status)]
    assert ("NewRevision", f"Revision {NEW} asks for 1 engine.") in reasons
    assert narrate(seen, (), status) is not None
    assert list(narrate(world(status), (), status)) == []


def test_a_repair_is_told_of_whatever_object() -> None:
    seen = world(ready=True)
    status, _ = told(seen)
    mended = GuardRevision(NEW, Reason.REPAIRED, "PodDisruptionBudget chat was deleted and is made again")
    events = list(narrate(replace(seen, status=status), (mended,), status))
    assert [(event.reason, event.message) for event in events] == [
        ("Repaired", "PodDisruptionBudget chat was deleted and is made again.")
    ]
    assert list(narrate(replace(seen, status=status), (replace(mended, reason=Reason.ADJUSTED),), status)) == []


def test_a_pause_is_told_once() -> None:
    paused = replace(world(ready=True), orders=Orders(pause="true"))
    status, first = told(paused)
    _, again = told(replace(paused, status=status))
    assert ("Normal", "Paused") in first
    assert again == []


def test_nothing_is_told_in_a_namespace_that_goes() -> None:
    seen = snapshot()
    plan, refusal = decide(seen, NOW), Refusal(Reason.NAMESPACE_TERMINATING, "namespace team is being deleted")
    status = summarise(seen, plan, refusal, outdated=False, now=NOW)
    assert list(narrate(seen, plan.steps, status)) == []


def test_it_is_told_when_users_cease_to_be_served() -> None:
    serving, _ = told(world(ready=True))
    unready, first = told(world(serving))
    _, again = told(world(unready))
    assert ("Warning", "NoReadyEngine") in first
    assert again == []

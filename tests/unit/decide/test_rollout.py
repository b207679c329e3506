"""Blue-green: who serves at which moment, told as situations."""

from datetime import timedelta

import pytest

from llmfleet.decide.decision import decide
from llmfleet.decide.plan import ForgetRevision, Plan, PointService, RemoveRevision, RunRevision
from llmfleet.decide.revision import revision_hash
from tests.unit.worlds import NOW, deployment, failed, pod, serving_status, snapshot, stored_spec

NEW = revision_hash(stored_spec())
OLD, OLDER = "aaaaaaaa", "bbbbbbbb"
TWO = stored_spec(replicas=2)


def removed(plan: Plan) -> list[str]:
    return [step.revision for step in plan.steps if isinstance(step, RemoveRevision)]


def runs(plan: Plan) -> dict[str, int]:
    return {step.revision: step.replicas for step in plan.steps if isinstance(step, RunRevision)}


def test_the_first_revision_is_made_whole_service_included() -> None:
    plan = decide(snapshot(), NOW)
    assert [type(step).__name__ for step in plan.steps] == [
        "RememberRevision",
        "PointService",
        "RunRevision",
        "GuardRevision",
    ]
    assert {step.revision for step in plan.steps} == {NEW}


def test_the_old_revision_serves_while_the_new_one_starts() -> None:
    plan = decide(
        snapshot(
            serving=OLD,
            deployments=(deployment(OLD), deployment(NEW)),
            pods=(pod(OLD, ready=True), pod(NEW)),
        ),
        NOW,
    )
    assert plan.stable == OLD
    assert runs(plan) == {NEW: 1, OLD: 1}


def test_the_service_switches_when_every_engine_of_the_new_revision_is_ready() -> None:
    world = {"serving": OLD, "deployments": (deployment(OLD, 2), deployment(NEW, 2))}
    old = (pod(OLD, 0, ready=True), pod(OLD, 1, ready=True))
    half = decide(snapshot(TWO, **world, pods=(*old, pod(NEW, 0, ready=True), pod(NEW, 1))), NOW)
    whole = decide(snapshot(TWO, **world, pods=(*old, pod(NEW, 0, ready=True), pod(NEW, 1, ready=True))), NOW)
    assert (half.stable, whole.stable) == (OLD, NEW)
    assert [step.revision for step in whole.steps if isinstance(step, PointService)] == [NEW]


def test_one_ready_engine_is_better_than_a_dead_revision() -> None:
    world = {"serving": OLD, "deployments": (deployment(OLD, 2), deployment(NEW, 2))}
    plan = decide(snapshot(TWO, **world, pods=(pod(OLD, 0), pod(NEW, 0, ready=True), pod(NEW, 1))), NOW)
    assert plan.stable == NEW


def test_a_revision_that_never_becomes_ready_is_overdue_and_the_old_one_goes_on() -> None:
    late = pod(NEW, scheduled_at=NOW - timedelta(minutes=31), **failed("no such model"))
    world = {"serving": OLD, "deployments": (deployment(OLD), deployment(NEW))}
    plan = decide(snapshot(**world, pods=(pod(OLD, ready=True), late)), NOW)
    assert plan.overdue
    assert plan.stable == OLD
    assert removed(plan) == []


def test_before_the_deadline_the_plan_asks_to_be_looked_at_when_it_comes() -> None:
    early = pod(NEW, scheduled_at=NOW - timedelta(minutes=20))
    plan = decide(snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(early,)), NOW)
    assert not plan.overdue
    assert plan.revisit_s == pytest.approx(600)


def test_a_relieved_revision_stays_ready_for_a_while_and_then_goes() -> None:
    pods = (pod(NEW, ready=True), pod(OLD, ready=True))

    def after(minutes: float) -> Plan:
        old = deployment(OLD, retired_at=NOW - timedelta(minutes=minutes))
        return decide(snapshot(serving=NEW, deployments=(old, deployment(NEW)), pods=pods), NOW)

    assert removed(after(9)) == []
    assert after(9).revisit_s == pytest.approx(60)
    assert removed(after(10)) == [OLD]


def test_relieving_notes_the_moment() -> None:
    plan = decide(
        snapshot(
            serving=NEW,
            deployments=(deployment(OLD), deployment(NEW)),
            pods=(pod(NEW, ready=True), pod(OLD, ready=True)),
        ),
        NOW,
    )
    (old,) = [step for step in plan.steps if isinstance(step, RunRevision) and step.revision == OLD]
    assert old.retired_at == NOW


def test_going_back_to_a_revision_that_is_still_ready_switches_at_once() -> None:
    relieved = deployment(NEW, retired_at=NOW - timedelta(minutes=3))
    plan = decide(
        snapshot(
            serving=OLD, deployments=(relieved, deployment(OLD)), pods=(pod(OLD, ready=True), pod(NEW, ready=True))
        ),
        NOW,
    )
    assert plan.stable == NEW
    (new,) = [step for step in plan.steps if isinstance(step, RunRevision) and step.revision == NEW]
    assert new.retired_at is None


def test_a_revision_that_was_superseded_before_it_was_ready_goes_at_once() -> None:
    plan = decide(
        snapshot(
            serving=OLDER,
            deployments=(deployment(OLDER), deployment(OLD), deployment(NEW)),
            pods=(pod(OLDER, ready=True), pod(OLD), pod(NEW)),
        ),
        NOW,
    )
    assert removed(plan) == [OLD]
    assert plan.stable == OLDER


def test_a_relieved_revision_makes_room_when_the_new_one_finds_none() -> None:
    world = {
        "serving": OLDER,
        "deployments": (deployment(OLDER), deployment(OLD, retired_at=NOW), deployment(NEW)),
    }
    full = pod(NEW, scheduled_at=None, unschedulable="0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    plan = decide(snapshot(**world, pods=(pod(OLDER, ready=True), pod(OLD, ready=True), full)), NOW)
    assert removed(plan) == [OLD]
    assert plan.stable == OLDER


def test_scaling_changes_the_new_and_the_serving_revision_alike() -> None:
    plan = decide(
        snapshot(
            stored_spec(replicas=5),
            serving=OLD,
            deployments=(deployment(OLD, 2), deployment(NEW, 2)),
            pods=(pod(OLD, 0, ready=True), pod(OLD, 1, ready=True), pod(NEW)),
        ),
        NOW,
    )
    assert runs(plan) == {NEW: 5, OLD: 5}


def test_a_lost_service_does_not_make_us_forget_who_serves() -> None:
    plan = decide(
        snapshot(
            deployments=(deployment(OLD), deployment(NEW)),
            pods=(pod(OLD, ready=True), pod(NEW)),
            status=serving_status(OLD),
        ),
        NOW,
    )
    assert plan.stable == OLD
    assert [step.revision for step in plan.steps if isinstance(step, PointService)] == [OLD]


def test_a_service_that_somebody_pointed_elsewhere_comes_back() -> None:
    plan = decide(
        snapshot(
            serving="ffffffff",
            deployments=(deployment(OLD), deployment(NEW)),
            pods=(pod(OLD, ready=True), pod(NEW)),
            status=serving_status(OLD),
        ),
        NOW,
    )
    assert plan.stable == OLD


def test_a_spec_that_cannot_be_read_changes_nothing() -> None:
    world = snapshot(serving=OLD, deployments=(deployment(OLD),), pods=(pod(OLD, ready=True),), spec=None)
    unreadable = world.__class__(**{name: getattr(world, name) for name in world.__slots__} | {"spec": None})
    plan = decide(unreadable, NOW)
    assert plan.steps == ()
    assert plan.stable == OLD


def test_history_is_forgotten_beyond_its_limit_but_not_what_runs() -> None:
    plan = decide(
        snapshot(
            stored_spec(revisionHistoryLimit=1),
            serving=NEW,
            deployments=(deployment(NEW),),
            pods=(pod(NEW, ready=True),),
            remembered=(NEW, OLDER, OLD),
        ),
        NOW,
    )
    assert [step.revision for step in plan.steps if isinstance(step, ForgetRevision)] == [OLDER]

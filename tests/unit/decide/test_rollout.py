"""Blue-green: who serves at which moment, told as situations."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from llmfleet.decide.decision import decide
from llmfleet.decide.plan import ForgetRevision, Plan, PointService, RemoveRevision, RunRevision
from llmfleet.decide.revision import revision_hash
from llmfleet.observe.views import Snapshot
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
    assert removed(plan) == [], "its engines are loaded and may be ready again in a second"


def test_a_relieved_revision_whose_engine_fails_for_a_moment_stays_the_way_back() -> None:
    world = {"serving": NEW, "deployments": (deployment(OLD, retired_at=NOW - timedelta(minutes=1)), deployment(NEW))}
    plan = decide(snapshot(**world, pods=(pod(NEW, ready=True), pod(OLD))), NOW)
    assert removed(plan) == []


def test_what_serves_comes_first_so_that_a_refused_target_does_not_keep_it_from_growing() -> None:
    world = {"serving": OLD, "deployments": (deployment(OLD, 1),), "pods": (pod(OLD, ready=True),)}
    plan = decide(snapshot(TWO, **world), NOW)
    first = plan.steps[0]
    assert isinstance(first, RunRevision)
    assert (first.revision, first.replicas) == (OLD, 2)


def test_a_revision_whose_template_was_taken_away_is_never_made_from_another_spec() -> None:
    world = snapshot(
        serving=NEW,
        deployments=(deployment(OLD, retired_at=NOW), deployment(NEW)),
        remembered=(NEW,),
        pods=(pod(NEW, ready=True), pod(OLD, ready=True)),
    )
    assert OLD not in runs(decide(world, NOW))


def test_an_engine_that_was_ready_for_long_is_not_overdue_when_it_fails_for_a_moment() -> None:
    blip = pod(NEW, scheduled_at=NOW - timedelta(days=2), unready_since=NOW - timedelta(seconds=1), started=True)
    world = snapshot(serving=NEW, deployments=(deployment(NEW),), pods=(blip,))
    assert not decide(world, NOW).overdue
    assert decide(world, NOW + timedelta(minutes=31)).overdue


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


@pytest.mark.parametrize("retired_at", [None, NOW - timedelta(hours=1)], ids=["never relieved", "relieved before"])
def test_what_the_service_still_selects_runs_on_whoever_is_to_take_over(retired_at: datetime | None) -> None:
    """The switch may be refused, or undone each time, for as long as anybody likes."""
    world = snapshot(
        TWO,
        serving=OLD,
        deployments=(deployment(OLD, 1, retired_at=retired_at), deployment(NEW, 2)),
        pods=(pod(NEW, 0, ready=True), pod(NEW, 1, ready=True), pod(OLD, ready=True)),
    )
    for _ in range(3):
        plan = decide(world, NOW)
        assert plan.stable == NEW
        assert [step.revision for step in plan.steps if isinstance(step, PointService)] == [NEW]
        assert removed(plan) == []
        (old,) = [step for step in plan.steps if isinstance(step, RunRevision) and step.revision == OLD]
        assert (old.replicas, old.retired_at) == (2, None)
        world = replace(world, relieved=plan.relieved)


def test_the_template_of_what_the_service_still_selects_is_not_forgotten() -> None:
    world = {"deployments": (deployment(OLD), deployment(NEW)), "pods": (pod(OLD, ready=True), pod(NEW, ready=True))}
    plan = decide(snapshot(stored_spec(revisionHistoryLimit=0), serving=OLD, **world), NOW)
    assert [step for step in plan.steps if isinstance(step, ForgetRevision)] == []


def test_after_the_switch_a_revision_that_was_not_ready_any_more_is_kept_for_its_time_too() -> None:
    world = {"deployments": (deployment(OLD), deployment(NEW)), "pods": (pod(OLD), pod(NEW, ready=True))}
    before = decide(snapshot(serving=OLD, **world), NOW)
    assert before.stable == NEW
    after = decide(snapshot(serving=NEW, **world, relieved=before.relieved), NOW)
    assert (removed(after), runs(after)) == ([], {NEW: 1, OLD: 1})


def test_where_the_moment_does_not_stay_on_the_object_it_is_the_same_in_each_plan_and_runs_out() -> None:
    world = snapshot(
        serving=NEW,
        deployments=(deployment(OLD), deployment(NEW)),
        pods=(pod(NEW, ready=True), pod(OLD, ready=True)),
    )

    def relieved(world: Snapshot, minutes: float) -> tuple[list[datetime | None], Snapshot, list[str]]:
        plan = decide(world, NOW + timedelta(minutes=minutes))
        steps = [step for step in plan.steps if isinstance(step, RunRevision) and step.revision == OLD]
        return [step.retired_at for step in steps], replace(world, relieved=plan.relieved), removed(plan)

    at, world, _ = relieved(world, 0)
    again, world, gone = relieved(world, 9)
    assert (at, again, gone) == ([NOW], [NOW], [])
    assert relieved(world, 10)[2] == [OLD]


@pytest.mark.parametrize("year", [2027, 9998])
def test_a_moment_to_come_keeps_no_revision_until_then(year: int) -> None:
    old = deployment(OLD, retired_at=NOW.replace(year=year))
    pods = (pod(NEW, ready=True), pod(OLD, ready=True))
    plan = decide(snapshot(serving=NEW, deployments=(old, deployment(NEW)), pods=pods), NOW)
    (step,) = [step for step in plan.steps if isinstance(step, RunRevision) and step.revision == OLD]
    assert step.retired_at == NOW
    assert plan.revisit_s == pytest.approx(600)


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
    serve = (pod(OLDER, ready=True), pod(OLD, ready=True))
    full = pod(NEW, scheduled_at=None, unscheduled_since=NOW, unschedulable="3 Insufficient nvidia.com/gpu.")
    at_once = decide(snapshot(**world, pods=(*serve, full)), NOW)
    assert removed(at_once) == [], "a cluster that adds nodes gets a minute for it"
    assert at_once.revisit_s == 60
    later = decide(snapshot(**world, pods=(*serve, full)), NOW + timedelta(seconds=60))
    assert removed(later) == [OLD]
    assert later.stable == OLDER


def test_no_room_is_made_where_room_is_not_what_lacks() -> None:
    world = {
        "serving": OLDER,
        "deployments": (deployment(OLDER), deployment(OLD, retired_at=NOW), deployment(NEW)),
    }
    lost = pod(NEW, scheduled_at=None, unscheduled_since=NOW, unschedulable='persistentvolumeclaim "m" not found')
    plan = decide(
        snapshot(**world, pods=(pod(OLDER, ready=True), pod(OLD, ready=True), lost)), NOW + timedelta(minutes=5)
    )
    assert removed(plan) == []


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


def test_what_serves_is_put_right_also_when_the_spec_cannot_be_read() -> None:
    world = snapshot(serving=OLD, remembered=(OLD,), deployments=(), status=serving_status(OLD))
    plan = decide(replace(world, spec=None), NOW)
    assert runs(plan) == {OLD: 1}


def test_a_spec_that_cannot_be_read_changes_nothing() -> None:
    world = snapshot(serving=OLD, deployments=(deployment(OLD),), pods=(pod(OLD, ready=True),), spec=None)
    unreadable = world.__class__(**{name: getattr(world, name) for name in world.__slots__} | {"spec": None})
    plan = decide(unreadable, NOW)
    assert plan.stable == OLD
    assert runs(plan) == {OLD: 1}
    assert [step.revision for step in plan.steps if isinstance(step, PointService)] == [OLD]
    assert len(plan.steps) == 2


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

"""The restart of the engines that serve: when it begins, whom it concerns, how it finds room, when it is over."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmfleet.api.deployment import Disruption
from llmfleet.api.reasons import Reason
from llmfleet.api.status import RestartStatus, Status
from llmfleet.decide.decision import decide
from llmfleet.decide.plan import Acted, Plan, RemoveRevision, RunRevision
from llmfleet.decide.restart import may_be_missing
from llmfleet.decide.revision import revision_hash
from llmfleet.observe.views import Orders, PodView, Snapshot
from tests.unit.worlds import NOW, deployment, pod, snapshot, stored_spec

NEW = revision_hash(stored_spec())
OLD = "aaaaaaaa"
BEFORE = NOW - timedelta(minutes=1)
FULL = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def run(plan: Plan, revision: str = NEW) -> RunRevision:
    (found,) = [step for step in plan.steps if isinstance(step, RunRevision) and step.revision == revision]
    return found


def asked(world: Snapshot, restart: str = "a") -> Snapshot:
    return replace(world, orders=Orders(restart=restart))


def serving(replicas: int = 2, *, spec: dict | None = None, **noted: object) -> Snapshot:
    """A fleet of one revision, all engines ready."""
    pods = tuple(pod(NEW, number, ready=True) for number in range(replicas))
    there = replace(deployment(NEW, replicas), **noted)
    return snapshot(stored_spec(replicas=replicas, **(spec or {})), serving=NEW, deployments=(there,), pods=pods)


def told(request: str, at: datetime = BEFORE) -> Status:
    return Status(restart=RestartStatus(request=request, at=f"{at:%Y-%m-%dT%H:%M:%SZ}"))


def test_a_new_value_restarts_the_revision_that_serves() -> None:
    plan = decide(asked(serving()), NOW)
    assert (run(plan).restart, run(plan).restarted_at, run(plan).reason) == ("a", NOW, Reason.RESTARTING)
    assert (plan.restart, plan.restarting) == (Acted("a", NOW), True)


@pytest.mark.parametrize(
    ("world", "at"),
    [
        (replace(serving(), status=told("a")), BEFORE),
        (serving(restart="a", restarted_at=BEFORE), BEFORE),
        (replace(serving(restart="a", restarted_at=NOW), status=told("b")), NOW),
        (serving(restart="a"), NOW),
    ],
    ids=["echoed in status", "status was lost", "killed before the status was written", "made with it"],
)
def test_a_value_that_was_acted_on_does_nothing(world: Snapshot, at: datetime) -> None:
    plan = decide(asked(world), NOW)
    assert run(plan).restarted_at == world.deployments[NEW].restarted_at
    assert plan.restart == Acted("a", at)


def test_a_value_that_was_acted_on_before_the_last_one_is_new_again() -> None:
    world = replace(serving(restart="b", restarted_at=BEFORE), status=told("b"))
    assert run(decide(asked(world, "a"), NOW)).restarted_at == NOW


def test_a_value_that_a_revision_was_made_with_is_new_again_once_another_was_acted_on() -> None:
    world = replace(serving(restart="a"), status=told("b"))
    assert run(decide(asked(world, "a"), NOW)).restarted_at == NOW


def test_a_relieved_revision_that_answered_under_a_clock_ahead_restarts_nothing_again() -> None:
    ahead = replace(deployment(OLD, retired_at=BEFORE), restart="a", restarted_at=NOW + timedelta(minutes=5))
    world = replace(serving(restart="b", restarted_at=BEFORE), status=told("b"))
    world = replace(world, deployments={**world.deployments, OLD: ahead})
    plan = decide(asked(world, "b"), NOW)
    assert (run(plan).restarted_at, plan.restart) == (BEFORE, Acted("b", BEFORE))


def test_a_restart_is_later_than_the_last_one_though_that_clock_was_ahead() -> None:
    ahead = NOW + timedelta(minutes=5)
    world = replace(serving(restart="a", restarted_at=ahead), status=told("a", ahead))
    plan = decide(asked(world, "b"), NOW)
    assert run(plan).restarted_at == ahead + timedelta(seconds=1)
    done = replace(world.deployments[NEW], restart="b", restarted_at=run(plan).restarted_at)
    again = decide(asked(replace(world, deployments={NEW: done}), "b"), NOW)
    assert run(again).restarted_at == done.restarted_at


def test_what_is_only_just_made_does_not_restart() -> None:
    plan = decide(asked(snapshot()), NOW)
    assert (run(plan).restart, run(plan).restarted_at) == ("a", None)
    assert (plan.restart, plan.restarting) == (Acted("a", NOW), False)


def test_taking_the_annotation_away_changes_nothing() -> None:
    world = replace(serving(restart="a", restarted_at=BEFORE), status=told("a"))
    plan = decide(world, NOW)
    assert (run(plan).restart, run(plan).restarted_at, plan.restart) == ("a", BEFORE, Acted("a", BEFORE))


def test_during_a_switch_only_the_revision_that_serves_restarts() -> None:
    world = snapshot(serving=OLD, deployments=(deployment(OLD), deployment(NEW)), pods=(pod(OLD, ready=True), pod(NEW)))
    plan = decide(asked(world), NOW)
    assert (run(plan, OLD).restarted_at, run(plan, NEW).restarted_at) == (NOW, None)


def test_a_relieved_revision_keeps_its_mark_and_so_its_engines() -> None:
    old = replace(deployment(OLD, retired_at=BEFORE), restart="a", restarted_at=BEFORE)
    world = snapshot(serving=NEW, deployments=(old, deployment(NEW)), pods=(pod(OLD, ready=True), pod(NEW, ready=True)))
    assert (run(decide(world, NOW), OLD).restart, run(decide(world, NOW), OLD).restarted_at) == ("a", BEFORE)


def test_it_is_over_when_every_engine_is_a_successor() -> None:
    half = mid_restart(2, pod(NEW, 2, ready=True, restarted_at=BEFORE))
    whole = replace(half, pods=tuple(replace(one, restarted_at=BEFORE) for one in half.pods))
    assert (decide(half, NOW).restarting, decide(whole, NOW).restarting) == (True, False)


# --- room ------------------------------------------------------------------------------------------------------------


def mid_restart(replicas: int, *successors: PodView, spec: dict | None = None, surge: bool = True) -> Snapshot:
    world = serving(replicas, spec=spec, restart="a", restarted_at=BEFORE, surge=surge)
    return replace(world, pods=(*world.pods, *successors), status=told("a"))


def stuck() -> PodView:
    return pod(NEW, 9, restarted_at=BEFORE, scheduled_at=None, unschedulable=FULL)


def test_a_successor_comes_first_while_there_is_room() -> None:
    assert run(decide(mid_restart(2, pod(NEW, 9, restarted_at=BEFORE)), NOW)).surge


def test_where_there_is_no_room_an_engine_makes_some() -> None:
    step = run(decide(mid_restart(2, stuck()), NOW))
    assert not step.surge
    assert step.reason is Reason.RESTARTING


def test_the_last_ready_engine_never_makes_room() -> None:
    assert run(decide(mid_restart(1, stuck()), NOW)).surge
    one_left = mid_restart(2, stuck())
    one_left = replace(one_left, pods=tuple(replace(one, ready=one.name.endswith("0")) for one in one_left.pods))
    assert run(decide(one_left, NOW)).surge


@pytest.mark.parametrize("disruption", [{"maxUnavailable": 0}, {"minAvailable": "100%"}], ids=str)
def test_no_engine_makes_room_where_disruption_lets_none_be_missing(disruption: dict) -> None:
    assert run(decide(mid_restart(3, stuck(), spec={"disruption": disruption}), NOW)).surge


def test_room_that_is_about_to_be_free_is_waited_for() -> None:
    draining = pod(NEW, 7, ready=False, deleting=True)
    assert run(decide(mid_restart(2, stuck(), draining), NOW)).surge


def test_a_relieved_revision_makes_room_before_an_engine_does() -> None:
    waiting = replace(stuck(), unscheduled_since=NOW - timedelta(minutes=2))
    world = mid_restart(2, waiting, pod(OLD, ready=True))
    old = deployment(OLD, retired_at=BEFORE)
    plan = decide(replace(world, deployments={**world.deployments, OLD: old}), NOW)
    assert run(plan).surge
    assert [step.revision for step in plan.steps if isinstance(step, RemoveRevision)] == [OLD]


def test_making_room_goes_on_until_the_restart_is_over() -> None:
    going = mid_restart(2, pod(NEW, 9, restarted_at=BEFORE), surge=False)
    over = replace(going, pods=tuple(pod(NEW, n, ready=True, restarted_at=BEFORE) for n in range(2)))
    assert not run(decide(going, NOW)).surge
    assert run(decide(over, NOW)).surge


def test_making_room_ends_when_the_model_is_scaled_down_to_the_last_engine() -> None:
    assert run(decide(mid_restart(1, stuck(), surge=False), NOW)).surge


def test_a_successor_that_never_becomes_ready_is_overdue_though_all_others_are() -> None:
    late = pod(NEW, 9, restarted_at=BEFORE, scheduled_at=NOW - timedelta(minutes=31))
    early = replace(late, scheduled_at=NOW - timedelta(minutes=29))
    assert decide(mid_restart(2, late), NOW).overdue
    assert decide(mid_restart(2, early), NOW).revisit_s == pytest.approx(60)


@pytest.mark.parametrize(
    ("disruption", "replicas", "missing"),
    [
        ({}, 4, 1),
        ({"maxUnavailable": 2}, 4, 2),
        ({"maxUnavailable": "30%"}, 4, 2),
        ({"minAvailable": 3}, 4, 1),
        ({"minAvailable": "50%"}, 5, 2),
        ({"minAvailable": 9}, 4, 0),
    ],
    ids=str,
)
def test_shares_are_rounded_as_budgets_round_them(disruption: dict, replicas: int, missing: int) -> None:
    assert may_be_missing(Disruption.model_validate(disruption), replicas) == missing


@given(
    requests=st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=8),
    lost=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_every_change_to_a_new_value_restarts_once_even_where_statuses_are_lost(
    requests: list[str], lost: list[bool]
) -> None:
    world, last, when = serving(), "", NOW
    for request, status_lost in zip(requests, lost, strict=False):
        when += timedelta(minutes=1)
        before = world.deployments[NEW].restarted_at
        for _ in range(2):
            plan = decide(asked(world, request), when)
            step = run(plan)
            there = replace(world.deployments[NEW], restart=step.restart, restarted_at=step.restarted_at)
            status = world.status
            if plan.restart is not None and not status_lost:
                status = told(plan.restart.request, plan.restart.at)
            world = replace(world, deployments={NEW: there}, status=status)
            when += timedelta(seconds=10)
        assert (world.deployments[NEW].restarted_at != before) == (request not in ("", last))
        last = request or last

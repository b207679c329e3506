"""Whatever happens to pods, specs and writes, and when: users stay served, and it ends in what was asked for."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmfleet.api.deployment import Spec
from llmfleet.api.reasons import Reason
from llmfleet.api.status import RestartStatus, Status
from llmfleet.api.units import timestamp
from llmfleet.decide.decision import decide
from llmfleet.decide.plan import (
    ForgetRevision,
    GuardRevision,
    Plan,
    PointService,
    RememberRevision,
    RemoveRevision,
    RunRevision,
    Step,
)
from llmfleet.decide.revision import revision_hash
from llmfleet.observe.views import Child, DeploymentView, Orders, PodView, RevisionView, Snapshot, packed
from tests.unit.worlds import NOW, child, deployment, pod, snapshot, stored_spec

DISPUTABLE = (PointService, RunRevision, GuardRevision, RemoveRevision, ForgetRevision)
WRITES = (RememberRevision, *DISPUTABLE)


class Fleet(RuleBasedStateMachine):
    """A world in which pods become ready, fail and vanish at will, and in which steps of some kinds may fail.

    A refused step ends what is done for its revision; one that somebody disputes is left out, and the next is taken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world: Snapshot = snapshot()
        self.now = NOW
        self.made = 0
        self.refused: frozenset[type[Step]] = frozenset()
        self.disputed: frozenset[type[Step]] = frozenset()
        self.settle()

    # -- the world ----------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Decide and carry out until nothing changes, as the operator does."""
        for _ in range(20):
            before = self.world
            reachable = self.served()
            plan = decide(self.world, self.now)
            whole = self.carry_out_plan(plan, reachable)
            self.keep_pods()
            self.assert_never_worse(reachable, "keeping the pods")
            if whole:
                self.echo(plan)
            self.world = replace(self.world, relieved=plan.relieved)
            if self.world == before:
                return
        raise AssertionError("the decision does not come to rest")

    def carry_out_plan(self, plan: Plan, reachable: int) -> bool:
        """Carry out what can be; return whether that was all."""
        refused, whole = set(), True
        for step in plan.steps:
            if step.revision in refused:
                continue
            before = self.world
            self.carry_out(step)
            if self.world != before and type(step) in self.refused | self.disputed:
                self.world, whole = before, False
                if type(step) in self.refused:
                    refused.add(step.revision)
            self.assert_never_worse(reachable, step)
            self.assert_what_is_selected_stays(before, step)
        return whole

    def assert_what_is_selected_stays(self, before: Snapshot, step: Step) -> None:
        selected = self.world.service.revision if self.world.service else ""
        if selected not in before.deployments:
            return
        assert selected in self.world.deployments, f"{step} removed what the Service selects"
        if before.deployments[selected] != self.world.deployments[selected]:
            assert self.world.deployments[selected].retired_at is None, f"{step} retired what the Service selects"
            assert self.world.deployments[selected].replicas or not self.world.spec.replicas, (
                f"{step} scaled it to zero"
            )

    def served(self) -> int:
        return self.world.ready(self.world.service.revision) if self.world.service else 0

    def echo(self, plan: Plan) -> None:
        """Write the part of the status that decisions read."""
        if plan.restart is not None:
            restart = RestartStatus(request=plan.restart.request, at=timestamp(plan.restart.at))
            self.world = replace(self.world, status=Status(restart=restart))

    def assert_never_worse(self, reachable: int, step: Step | str) -> None:
        if reachable and self.world.spec.replicas:
            assert self.served() > 0, f"users were served, and {step} took that away"

    def carry_out(self, step: Step) -> None:
        world, revision = self.world, step.revision
        match step:
            case RememberRevision() if revision not in world.revisions:
                number = 1 + max((view.number for view in world.revisions.values()), default=0)
                view = RevisionView(**child("ControllerRevision", revision), number=number, packed=packed({}))
                self.world = replace(world, revisions={**world.revisions, revision: view})
            case PointService():
                self.world = replace(world, service=Child(**child("Service", revision)))
            case RunRevision():
                assert revision in world.revisions, "a Deployment without its template"
                marked = world.deployments[revision].restarted_at if revision in world.deployments else None
                assert step.restarted_at == marked or step.reason is Reason.RESTARTING, "a restart nobody asked for"
                made = replace(
                    deployment(revision, step.replicas, step.retired_at),
                    restart=step.restart,
                    restarted_at=step.restarted_at,
                    surge=step.surge,
                )
                self.world = replace(world, deployments={**world.deployments, revision: made})
            case GuardRevision():
                budget = Child(**child("PodDisruptionBudget", revision))
                self.world = replace(world, budgets={**world.budgets, revision: budget})
            case RemoveRevision():
                self.world = replace(
                    world,
                    deployments={key: view for key, view in world.deployments.items() if key != revision},
                    pods=tuple(p for p in world.pods if p.revision != revision),
                )
            case ForgetRevision():
                assert revision not in world.deployments, "a running revision was forgotten"
                self.world = replace(
                    world, revisions={key: view for key, view in world.revisions.items() if key != revision}
                )

    def keep_pods(self) -> None:
        """Play the Deployment controller: as many pods as wanted, and successors as the strategy allows."""
        kept: list[PodView] = []
        for revision, view in self.world.deployments.items():
            kept.extend(self.rolled(view, [p for p in self.world.pods if p.revision == revision]))
        self.world = replace(self.world, pods=tuple(kept))

    def rolled(self, view: DeploymentView, pods: list[PodView]) -> list[PodView]:
        olds = [p for p in pods if p.restarted_at != view.restarted_at]
        news = sorted((p for p in pods if p not in olds), key=lambda p: not p.ready)[: view.replicas]
        least = view.replicas - (not view.surge)
        for old in sorted(olds, key=lambda p: p.ready):
            others = sum(p.ready for p in (*olds, *news)) - old.ready
            if others >= least or not (old.ready or view.surge):
                olds.remove(old)
        while len(news) < view.replicas and len(olds) + len(news) < view.replicas + view.surge:
            self.made += 1
            news.append(pod(view.revision, self.made, scheduled_at=self.now, restarted_at=view.restarted_at))
        return olds + news

    def set_pod(self, index: int, **change: object) -> None:
        pods = list(self.world.pods)
        chosen = index % len(pods)
        pods[chosen] = replace(pods[chosen], **change)
        self.world = replace(self.world, pods=tuple(pods))

    def change_spec(self, model: str, replicas: int) -> None:
        stored = stored_spec(f"hf://org/{model}", replicas=replicas, revisionHistoryLimit=1)
        self.world = replace(self.world, spec=Spec.model_validate(stored), revision=revision_hash(stored))
        self.settle()

    # -- what may happen ----------------------------------------------------------------------------------------------

    @rule(model=st.sampled_from("abcd"), replicas=st.integers(0, 3))
    def user_changes_the_spec(self, model: str, replicas: int) -> None:
        self.change_spec(model, replicas)

    @precondition(lambda self: self.world.pods)
    @rule(index=st.integers(0, 20))
    def pod_becomes_ready(self, index: int) -> None:
        self.set_pod(index, ready=True, unschedulable="")
        self.settle()

    @precondition(lambda self: self.world.pods)
    @rule(index=st.integers(0, 20))
    def pod_fails(self, index: int) -> None:
        self.set_pod(index, ready=False)
        self.settle()

    @precondition(lambda self: any(not p.ready for p in self.world.pods))
    @rule(index=st.integers(0, 20))
    def pod_finds_no_node(self, index: int) -> None:
        waiting = [number for number, p in enumerate(self.world.pods) if not p.ready]
        self.set_pod(waiting[index % len(waiting)], unschedulable="0/1 nodes are available", scheduled_at=None)
        self.settle()

    @rule(minutes=st.integers(1, 60))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        self.settle()

    @rule(request=st.sampled_from("xyz"))
    def user_asks_for_a_restart(self, request: str) -> None:
        self.now += timedelta(minutes=1)
        self.world = replace(self.world, orders=Orders(restart=request))
        self.settle()

    @rule()
    def a_pause_changes_nothing(self) -> None:
        paused = replace(self.world, orders=replace(self.world.orders, pause="wait"))
        plan = decide(paused, self.now)
        assert plan.steps == ()
        assert not paused.service or plan.stable == paused.service.revision

    @rule()
    def service_is_deleted(self) -> None:
        self.world = replace(self.world, service=None)
        self.settle()

    @precondition(lambda self: self.world.service)
    @rule(index=st.integers(0, 20))
    def somebody_points_the_service_elsewhere(self, index: int) -> None:
        running = sorted(self.world.deployments)
        if running:
            self.world = replace(self.world, service=Child(**child("Service", running[index % len(running)])))
        self.settle()

    @rule(refused=st.frozensets(st.sampled_from(WRITES)), disputed=st.frozensets(st.sampled_from(DISPUTABLE)))
    def some_writes_fail(self, refused: frozenset[type[Step]], disputed: frozenset[type[Step]]) -> None:
        self.refused, self.disputed = refused, disputed
        self.settle()

    @rule()
    def all_writes_succeed_again(self) -> None:
        self.refused = self.disputed = frozenset()
        self.settle()

    @rule()
    def another_process_takes_over(self) -> None:
        self.world = replace(self.world, relieved={})
        self.settle()

    # -- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def equal_worlds_give_equal_plans(self) -> None:
        assert decide(self.world, self.now) == decide(replace(self.world), self.now)

    @precondition(lambda self: not self.refused | self.disputed)
    @invariant()
    def the_service_selects_a_revision_that_runs(self) -> None:
        assert self.world.service is not None
        assert self.world.service.revision in self.world.deployments

    def teardown(self) -> None:
        """Left alone with a cluster that works, it ends in what was asked for and nothing else."""
        self.refused = self.disputed = frozenset()
        for _ in range(10):
            ready = tuple(replace(p, ready=True, unschedulable="") for p in self.world.pods)
            self.world = replace(self.world, pods=ready)
            self.now += timedelta(hours=1)
            self.settle()
        assert set(self.world.deployments) == {self.world.revision}
        assert self.world.service.revision == self.world.revision
        assert len(self.world.revisions) <= 2
        asked, (there,) = self.world.orders.restart, self.world.deployments.values()
        assert not asked or self.world.status.restart.request == asked, "a restart was not acted on"
        assert {p.restarted_at for p in self.world.pods} <= {there.restarted_at}, "an engine was left out"


Fleet.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestFleet = Fleet.TestCase

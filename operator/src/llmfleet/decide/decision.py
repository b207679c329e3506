"""The decision about one LLMDeployment: from its snapshot and the time to its plan."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType

from llmfleet.api.deployment import Spec
from llmfleet.api.reasons import Reason
from llmfleet.decide import restart
from llmfleet.decide.plan import (
    Acted,
    ForgetRevision,
    GuardRevision,
    Plan,
    PointService,
    RememberRevision,
    RemoveRevision,
    RunRevision,
    Step,
)
from llmfleet.decide.revision import forgotten
from llmfleet.decide.rollout import Roles, roles, serving
from llmfleet.observe.views import DeploymentView, Snapshot


def decide(snapshot: Snapshot, now: datetime) -> Plan:
    """Decide what shall be.

    A pause changes nothing. A spec that cannot be read changes nothing either: what serves is kept as it was. An object
    on its way out is left to the garbage collector, which takes its children with it.
    """
    spec = snapshot.spec
    if snapshot.deleting or snapshot.orders.pause:
        target = snapshot.revision if spec else ""
        return Plan(target=target, stable=serving(snapshot), overdue=False, steps=())
    if spec is None:
        stable = serving(snapshot)
        return Plan(target="", stable=stable, overdue=False, steps=tuple(_keeping(snapshot, stable)))
    who = roles(snapshot, spec, now)
    acted, restarts_now = restart.acted(snapshot, who.stable, now)
    anew = acted if restarts_now else None
    return Plan(
        target=snapshot.revision,
        stable=who.stable,
        overdue=who.overdue,
        steps=(*_serving(snapshot, spec, who, anew), *_leaving(snapshot, spec, who)),
        revisit_s=who.revisit_s,
        restart=acted,
        restarting=restarts_now or restart.under_way(snapshot, who.stable),
        relieved=_relieved(who, now),
    )


def _relieved(who: Roles, now: datetime) -> Mapping[str, datetime]:
    """Return since when each revision serves no more. What users still reach is relieved by the switch, from now on."""
    switched = {} if who.current in ("", who.stable) else {who.current: now}
    return MappingProxyType({**who.retired, **switched})


def _serving(snapshot: Snapshot, spec: Spec, who: Roles, anew: Acted | None) -> Iterator[Step]:
    """See to what serves first, and bring up before switching: the Service never selects what is not there yet."""
    target, current = snapshot.revision, who.current
    gone = current != who.stable and current not in snapshot.deployments
    if current != target and current in snapshot.revisions and not gone:
        yield from _running(snapshot, spec, current, anew if current == who.stable else None)
    yield RememberRevision(target, Reason.NEW_REVISION, f"revision {target} is new")
    if snapshot.service is None:
        yield PointService(who.stable, Reason.NEW_REVISION, f"the Service selects revision {who.stable}")
    yield from _running(snapshot, spec, target, anew if target == who.stable else None)
    if snapshot.service is not None:
        reason = Reason.ADJUSTED if snapshot.service.revision == who.stable else Reason.SWITCHED
        yield PointService(who.stable, reason, f"the Service selects revision {who.stable}")


def _running(snapshot: Snapshot, spec: Spec, revision: str, anew: Acted | None) -> Iterator[Step]:
    existing = snapshot.deployments.get(revision)
    run = _born(snapshot, spec, revision) if existing is None else _kept(snapshot, spec, existing, anew)
    yield run
    yield GuardRevision(revision, run.reason, f"a PodDisruptionBudget limits evictions of revision {revision}")


def _born(snapshot: Snapshot, spec: Spec, revision: str) -> RunRevision:
    """Return how a revision begins: with the restart of this day noted, so that it does not answer it."""
    said = f"revision {revision} asks for {_engines(spec)}"
    return RunRevision(revision, Reason.NEW_REVISION, said, spec.replicas, restart=snapshot.orders.restart)


def _kept(snapshot: Snapshot, spec: Spec, existing: DeploymentView, anew: Acted | None) -> RunRevision:
    """Return how a revision goes on. What is noted on it about its last restart stays: without it engines restart."""
    revision, surge = existing.revision, restart.surge(snapshot, spec, existing)
    reason, said = Reason.ADJUSTED, f"revision {revision} asks for {_engines(spec)}"
    if anew is not None:
        reason, said = Reason.RESTARTING, f"revision {revision} restarts its engines, one after another"
    elif existing.retired_at is not None:
        reason = Reason.NEW_REVISION
    elif existing.replicas != spec.replicas:
        reason = Reason.SCALED
    elif existing.surge and not surge:
        reason = Reason.RESTARTING
        said = f"revision {revision} restarts its engines, each making room for its successor: there is none beside it"
    return RunRevision(
        revision,
        reason,
        said,
        spec.replicas,
        restart=anew.request if anew else existing.restart,
        restarted_at=anew.at if anew else existing.restarted_at,
        surge=surge,
    )


def _keeping(snapshot: Snapshot, stable: str) -> Iterator[Step]:
    """Put right what serves, without a spec: its template is on record, and its size is what it last was."""
    existing, told = snapshot.deployments.get(stable), snapshot.status.stable if snapshot.status else None
    if stable not in snapshot.revisions:
        return
    last = told if told is not None and told.revision == stable else existing
    yield RunRevision(
        stable,
        Reason.ADJUSTED,
        f"revision {stable} is kept as it was",
        last.replicas if last else 1,
        restart=existing.restart if existing else "",
        restarted_at=existing.restarted_at if existing else None,
        surge=existing.surge if existing else True,
    )
    yield PointService(stable, Reason.ADJUSTED, f"the Service selects revision {stable}")


def _engines(spec: Spec) -> str:
    return "1 engine" if spec.replicas == 1 else f"{spec.replicas} engines"


def _leaving(snapshot: Snapshot, spec: Spec, who: Roles) -> Iterator[Step]:
    for revision, since in who.retired.items():
        if revision not in snapshot.revisions:
            continue  # somebody took its template away: it runs on as it is, until its time is over
        existing = snapshot.deployments[revision]
        yield RunRevision(
            revision,
            Reason.RETIRED,
            f"revision {revision} serves no more and stays ready for {spec.rollout.retain_stable}",
            replicas=min(existing.replicas, spec.replicas),
            retired_at=since,
            restart=existing.restart,
            restarted_at=existing.restarted_at,
        )
    for revision, cause in who.removed.items():
        yield RemoveRevision(revision, Reason.REMOVED, f"revision {revision} is removed: {cause}")
    running = frozenset((snapshot.revision, who.stable, *snapshot.deployments))
    numbers = {revision: view.number for revision, view in snapshot.revisions.items()}
    for revision in forgotten(numbers, running, spec.revision_history_limit):
        yield ForgetRevision(revision, Reason.REMOVED, f"revision {revision} is older than revisionHistoryLimit keeps")

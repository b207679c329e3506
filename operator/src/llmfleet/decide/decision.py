"""The decision about one LLMDeployment: from its snapshot and the time to its plan."""

from collections.abc import Iterator
from datetime import datetime

from llmfleet.api.deployment import Spec
from llmfleet.api.reasons import Reason
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
from llmfleet.decide.revision import forgotten
from llmfleet.decide.rollout import Roles, roles, serving
from llmfleet.observe.views import Snapshot


def decide(snapshot: Snapshot, now: datetime) -> Plan:
    """Decide what shall be.

    A spec that cannot be read changes nothing: what serves goes on serving. An object on its way out is left to the
    garbage collector, which takes its children with it.
    """
    spec = snapshot.spec
    if spec is None or snapshot.deleting:
        return Plan(target="", stable=serving(snapshot), overdue=False, steps=())
    who = roles(snapshot, spec, now)
    return Plan(
        target=snapshot.revision,
        stable=who.stable,
        overdue=who.overdue,
        steps=(*_serving(snapshot, spec, who), *_leaving(snapshot, spec, who)),
        revisit_s=who.revisit_s,
    )


def _serving(snapshot: Snapshot, spec: Spec, who: Roles) -> Iterator[Step]:
    """Bring up before switching, so that the Service never selects what is not there yet."""
    target = snapshot.revision
    yield RememberRevision(target, Reason.NEW_REVISION, f"revision {target} is new")
    if snapshot.service is None:
        yield PointService(who.stable, Reason.NEW_REVISION, f"the Service selects revision {who.stable}")
    for revision in dict.fromkeys((target, who.stable)):
        if revision == target or revision in snapshot.revisions:
            yield from _running(snapshot, spec, revision)
    if snapshot.service is not None:
        reason = Reason.REPAIRED if snapshot.service.revision == who.stable else Reason.SWITCHED
        yield PointService(who.stable, reason, f"the Service selects revision {who.stable}")


def _running(snapshot: Snapshot, spec: Spec, revision: str) -> Iterator[Step]:
    engines = "1 engine" if spec.replicas == 1 else f"{spec.replicas} engines"
    existing = snapshot.deployments.get(revision)
    if existing is None or existing.retired_at is not None:
        reason = Reason.NEW_REVISION
    else:
        reason = Reason.REPAIRED if existing.replicas == spec.replicas else Reason.SCALED
    yield RunRevision(revision, reason, f"revision {revision} runs {engines}", replicas=spec.replicas)
    yield GuardRevision(revision, reason, f"evictions of revision {revision} are limited")


def _leaving(snapshot: Snapshot, spec: Spec, who: Roles) -> Iterator[Step]:
    for revision, since in who.retired.items():
        yield RunRevision(
            revision,
            Reason.RETIRED,
            f"revision {revision} serves no more and stays ready for {spec.rollout.retain_stable}",
            replicas=snapshot.deployments[revision].replicas,
            retired_at=since,
        )
    for revision, cause in who.removed.items():
        yield RemoveRevision(revision, Reason.REMOVED, f"revision {revision} is removed: {cause}")
    running = frozenset((snapshot.revision, who.stable, *who.retired, *who.removed))
    numbers = {revision: view.number for revision, view in snapshot.revisions.items()}
    for revision in forgotten(numbers, running, spec.revision_history_limit):
        yield ForgetRevision(revision, Reason.REMOVED, f"revision {revision} is older than revisionHistoryLimit keeps")

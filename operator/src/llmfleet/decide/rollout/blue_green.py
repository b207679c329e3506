"""Blue-green: the new revision comes up beside the old, the Service switches when it is ready, the old one drains.

    spec changes        target ready         retain_stable over
         |                   |                       |
    old  ====== serves ======|====== retired ========x  drained and removed
    new       ---- starts ---|====== serves ===================

The Service's selector is the memory of who serves; nothing else is needed to go on after a restart of the operator.
What it selects is kept up, whoever is to take over: a switch can be refused, or undone, and then the old one still
serves. It is relieved only when the Service was seen to select the new one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from llmfleet.api.deployment import Spec
from llmfleet.decide.health import Health, health
from llmfleet.decide.restart import waiting_since
from llmfleet.observe.views import DeploymentView, Snapshot

_NO_ROOM: Final = "Insufficient"
"""What the scheduler says where a node would do, were it not full."""
_ROOM_WAIT: Final = timedelta(seconds=60)
"""A cluster that adds nodes says so first as well, and is given the time to begin."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Who serves, who comes and who goes.

    Attributes:
        current: revision that users reach at this moment, empty where there is none; never retired nor removed.
        stable: revision that the Service shall select.
        retired: revisions that serve no more and stay ready, with the moment they were relieved.
        removed: revisions to remove, with the cause in words.
        overdue: the target is not ready and startup.deadline has passed since it got a node.
        revisit_s: seconds until time alone can change the roles, None where it cannot.
    """

    current: str
    stable: str
    retired: Mapping[str, datetime]
    removed: Mapping[str, str]
    overdue: bool
    revisit_s: float | None


def roles(snapshot: Snapshot, spec: Spec, now: datetime) -> Roles:
    """Decide who serves at this moment, by what is ready."""
    target, fares = snapshot.revision, health(snapshot, snapshot.revision)
    current = serving(snapshot)
    stable = target if _takes_over(snapshot, spec, current, fares) else current
    moments: list[datetime] = []
    overdue = _overdue(snapshot, fares, spec, now, moments)
    retired, removed = {}, {}
    for revision, deployment in sorted(snapshot.deployments.items()):
        if revision in (current, stable, target):
            continue
        since = _relieved_at(snapshot, deployment, now)
        until = since + timedelta(seconds=spec.retain_stable_s)
        if cause := _removal_cause(snapshot, deployment, until, now):
            removed[revision] = cause
        else:
            retired[revision] = since
            moments.extend(moment for moment in (until, _needed_at(snapshot)) if moment is not None and moment > now)
    wait = min((moment - now for moment in moments), default=None)
    return Roles(
        current=current,
        stable=stable,
        retired=MappingProxyType(retired),
        removed=MappingProxyType(removed),
        overdue=overdue,
        revisit_s=None if wait is None else max(0.0, wait.total_seconds()),
    )


def serving(snapshot: Snapshot) -> str:
    """Return the revision that users reach now, empty where there is none.

    A Service that is gone, or that somebody pointed elsewhere, does not make us forget: status remembers.
    """
    selected = snapshot.service.revision if snapshot.service else ""
    if selected in snapshot.revisions or selected in snapshot.deployments:
        return selected
    remembered = snapshot.status.stable.revision if snapshot.status and snapshot.status.stable else ""
    return remembered if remembered in snapshot.revisions else ""


def _takes_over(snapshot: Snapshot, spec: Spec, current: str, fares: Health) -> bool:
    """Say whether the target may serve: complete, or at least better than what serves now."""
    if current in ("", snapshot.revision):
        return True
    if spec.replicas == 0:
        return True
    if fares.ready >= spec.replicas:
        return True
    return fares.ready > 0 and snapshot.ready(current) == 0


def _overdue(snapshot: Snapshot, fares: Health, spec: Spec, now: datetime, moments: list[datetime]) -> bool:
    """Compare with startup.deadline; a deadline still to come is noted in ``moments``."""
    since = fares.starting_since if fares.ready < spec.replicas else waiting_since(snapshot, snapshot.revision)
    if since is None:
        return False
    deadline = since + timedelta(seconds=spec.startup_deadline_s)
    if deadline > now:
        moments.append(deadline)
    return deadline <= now


def _relieved_at(snapshot: Snapshot, deployment: DeploymentView, now: datetime) -> datetime:
    """Return since when a revision serves no more: as it is noted on it, or as is remembered, or else since now.

    A moment to come was written by somebody, or by a clock that was ahead: it would keep the engines until then.
    """
    known = (deployment.retired_at, snapshot.relieved.get(deployment.revision))
    return next((moment for moment in known if moment is not None and moment <= now), now)


def _removal_cause(snapshot: Snapshot, deployment: DeploymentView, until: datetime, now: datetime) -> str:
    """Say why a revision that shall not serve must go now, or nothing while it may stay.

    One that served keeps its engines for its time, ready or not: they are loaded, and may be ready again in a second.
    """
    served = deployment.retired_at is not None or deployment.revision in snapshot.relieved
    if not served and snapshot.ready(deployment.revision) == 0:
        return "it never served and is not ready"
    needed_at = _needed_at(snapshot)
    if needed_at is not None and needed_at <= now:
        return f"revision {snapshot.revision} needs its room"
    return "rollout.retainStable is over" if until <= now else ""


def _needed_at(snapshot: Snapshot) -> datetime | None:
    """Return from when on room is made for the target's engines, None while they lack none that could be made."""
    short = [
        pod.unscheduled_since
        for pod in snapshot.pods_of(snapshot.revision)
        if pod.unscheduled_since is not None and _NO_ROOM in pod.unschedulable
    ]
    return min(short) + _ROOM_WAIT if short else None

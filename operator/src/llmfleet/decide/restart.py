"""The restart of the engines that serve, asked for by the annotation llmfleet.dev/restart.

The revision stays. Its Deployment's pod template gets the moment of the restart as an annotation, and the Deployment
controller replaces the engines one after another: a successor first, then a drained end. Where there is no room for a
successor, one engine makes room for it, as far as spec.disruption lets one be missing; the last ready one never does.

A Deployment carries the value that it answered beside the moment, in one write, and status echoes both: of the
Deployment that serves and the status the newer one tells what was acted on last. A Deployment is born with the value of
that day: what just starts is not restarted.
"""

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from llmfleet.api.deployment import Disruption, Spec
from llmfleet.api.units import moment
from llmfleet.decide.plan import Acted
from llmfleet.observe.views import DeploymentView, PodView, Snapshot

_LATER: Final = timedelta(seconds=1)
"""Moments are stored in whole seconds."""


def acted(snapshot: Snapshot, stable: str, now: datetime) -> tuple[Acted | None, bool]:
    """Return the restart last acted on, the present one included, and whether it is to be acted on now."""
    asked, serves = snapshot.orders.restart, snapshot.deployments.get(stable)
    last = _last(snapshot, serves)
    if last is None and serves is not None and serves.restart:
        last = Acted(serves.restart, now)
    if not asked or (last is not None and last.request == asked):
        return last, False
    # Later than the last one whatever the clocks say, or what was acted on before would count again.
    return Acted(asked, now if last is None else max(now, last.at + _LATER)), serves is not None


def under_way(snapshot: Snapshot, revision: str) -> bool:
    """Say whether engines of a revision are older than its last restart."""
    deployment = snapshot.deployments.get(revision)
    if deployment is None or deployment.restarted_at is None:
        return False
    return any(pod.restarted_at != deployment.restarted_at for pod in snapshot.pods_of(revision))


def waiting_since(snapshot: Snapshot, revision: str) -> datetime | None:
    """Return when the successor that a restart waits for got its node; None while it waits for none, or for a node."""
    if not under_way(snapshot, revision):
        return None
    waiting = (pod for pod in successors(snapshot, revision) if not pod.ready)
    starting = [pod.starting_since for pod in waiting if pod.starting_since is not None]
    return min(starting, default=None)


def successors(snapshot: Snapshot, revision: str) -> tuple[PodView, ...]:
    """Return the engines that the last restart of a revision made."""
    deployment = snapshot.deployments.get(revision)
    if deployment is None or deployment.restarted_at is None:
        return ()
    return tuple(pod for pod in snapshot.pods_of(revision) if pod.restarted_at == deployment.restarted_at)


def surge(snapshot: Snapshot, spec: Spec, deployment: DeploymentView) -> bool:
    """Say whether a successor comes before an engine goes: always, unless a restart found no room for one.

    What was decided once holds until the restart is over: with an engine missing there is room, and asking anew would
    go to and fro.
    """
    if not under_way(snapshot, deployment.revision):
        return True
    if not deployment.surge:
        return spec.replicas <= _must_stay(spec)  # scaled down meanwhile: none may be missing any more
    return not (_no_room(snapshot, deployment.revision) and _one_may_be_missing(snapshot, spec, deployment.revision))


def may_be_missing(disruption: Disruption, replicas: int) -> int:
    """Return how many of a revision's engines may be missing; shares are rounded up, as for PodDisruptionBudgets."""
    if disruption.min_available is not None:
        return max(0, replicas - _count(disruption.min_available, replicas))
    return _count(1 if disruption.max_unavailable is None else disruption.max_unavailable, replicas)


def _count(share: int | str, replicas: int) -> int:
    return share if isinstance(share, int) else math.ceil(int(share.removesuffix("%")) * replicas / 100)


def _last(snapshot: Snapshot, serves: DeploymentView | None) -> Acted | None:
    """Return the newest restart that is on record. At one moment a Deployment is the newer one: it is written first.

    Only the Deployment that serves is asked: a relieved one may have answered under a clock that was ahead.
    """
    return max((*_answered(serves), *_echoed(snapshot)), key=lambda restart: restart.at, default=None)


def _answered(serves: DeploymentView | None) -> Iterator[Acted]:
    if serves is not None and serves.restart and serves.restarted_at is not None:
        yield Acted(serves.restart, serves.restarted_at)


def _echoed(snapshot: Snapshot) -> Iterator[Acted]:
    told = snapshot.status.restart if snapshot.status else None
    at = moment(told.at) if told else None
    if told is not None and at is not None:
        yield Acted(told.request, at)


def _no_room(snapshot: Snapshot, revision: str) -> bool:
    """Say whether a successor finds no node, and nothing that is about to go will make room for it."""
    if any(pod.deleting or pod.revision not in (revision, snapshot.revision) for pod in snapshot.pods):
        return False
    return any(pod.unschedulable for pod in successors(snapshot, revision))


def _one_may_be_missing(snapshot: Snapshot, spec: Spec, revision: str) -> bool:
    return snapshot.ready(revision) > _must_stay(spec)


def _must_stay(spec: Spec) -> int:
    """Return how many engines must be ready at any moment of a restart: one at least."""
    return max(1, spec.replicas - may_be_missing(spec.disruption, spec.replicas))

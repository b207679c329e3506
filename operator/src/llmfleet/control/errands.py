"""Errands: what a step of a plan means for single objects, and how each of them is rendered. Pure."""

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmfleet.control.memory import Memory
from llmfleet.decide.plan import (
    ForgetRevision,
    GuardRevision,
    PointService,
    RememberRevision,
    RemoveRevision,
    RunRevision,
    Step,
)
from llmfleet.observe.views import Child, Snapshot
from llmfleet.render import objects
from llmfleet.render.profiles import Images


@dataclass(frozen=True, slots=True)
class Errand:
    """One object of a step.

    Attributes:
        view: what is, None where there is nothing.
        make: renders what is wanted; None where nothing is.
        inputs: what ``make`` depends on beside kind, name and owner.
    """

    step: Step
    kind: str
    name: str
    view: Child | None
    make: Callable[[], Mapping[str, Any]] | None = None
    inputs: Hashable = None


def owner_of(snapshot: Snapshot) -> objects.Owner:
    """Name the LLMDeployment as the owner of its children."""
    return objects.Owner(snapshot.namespace, snapshot.name, snapshot.uid)


def template_data(snapshot: Snapshot, images: Images, revision: str) -> Mapping[str, Any]:
    """Return what a Deployment of a revision needs: as it is on record, or made from today's spec.

    Raises:
        ValueError: Neither can be had.
    """
    remembered, spec = snapshot.revisions.get(revision), snapshot.spec
    if remembered is not None:
        return remembered.data
    if spec is None or revision != snapshot.revision:
        raise ValueError(f"revision {revision} of {snapshot.name} is not on record, and today's spec is another one")
    return objects.revision_data(owner_of(snapshot), revision, spec, images)


def errands(
    snapshot: Snapshot, step: Step, data: Callable[[str], Mapping[str, Any]], memory: Memory
) -> Iterator[Errand]:
    """Turn a step into objects to make or to delete.

    Args:
        snapshot: what is.
        step: what shall be.
        data: see `template_data`.
        memory: what was wanted so far.
    """
    spec, owner, revision = snapshot.spec, owner_of(snapshot), step.revision
    name = objects.child_name(owner, revision)
    deployment, budget = snapshot.deployments.get(revision), snapshot.budgets.get(revision)
    remembered = snapshot.revisions.get(revision)
    match step:
        case RememberRevision() if remembered is None or remembered.relabelled:
            last = max((view.number for view in snapshot.revisions.values()), default=0)
            number = remembered.number if remembered else last + 1
            make = _once(_controller_revision, owner, revision, number, data)
            yield Errand(step, "ControllerRevision", name, remembered, make, (number, snapshot.generation))
        case RunRevision():
            # The digest stands for the data, and is the same before and after they are on record.
            record = remembered.digest if remembered else memory.wanted(("ControllerRevision", name))
            how = (step.replicas, step.retired_at, step.restart, step.restarted_at, step.surge)
            yield Errand(step, "Deployment", name, deployment, _once(_deployment, owner, step, data), (record, *how))
        case GuardRevision() if spec is not None:
            guard = _once(objects.disruption_budget, owner, revision, spec)
            yield Errand(step, "PodDisruptionBudget", name, budget, guard, spec.disruption)
        case PointService():
            point = _once(objects.service, owner, revision)
            yield Errand(step, "Service", owner.name, snapshot.service, point, revision)
        case RemoveRevision():
            # The Deployment last: by it, whoever comes after a crash sees what is left to remove.
            yield Errand(step, "PodDisruptionBudget", name, budget)
            yield Errand(step, "Deployment", name, deployment)
        case ForgetRevision():
            yield Errand(step, "ControllerRevision", name, remembered)


def has_siblings(snapshot: Snapshot, errand: Errand) -> bool:
    """Say whether other objects or pods of the same revision are there, so that this one should be too."""
    revision = errand.step.revision
    if errand.kind == "Service":
        return False
    made = (snapshot.revisions, snapshot.deployments, snapshot.budgets)
    return any(revision in views for views in made) or bool(snapshot.pods_of(revision))


def _once(render: Callable[..., Mapping[str, Any]], *arguments: object) -> Callable[[], Mapping[str, Any]]:
    """Return what renders an object when it is first needed, and then never again."""
    return functools.cache(functools.partial(render, *arguments))


def _controller_revision(
    owner: objects.Owner, revision: str, number: int, data: Callable[[str], Mapping[str, Any]]
) -> dict[str, Any]:
    return objects.controller_revision(owner, revision, number, data(revision))


def _deployment(owner: objects.Owner, step: RunRevision, data: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    return objects.deployment(
        owner,
        step.revision,
        data(step.revision),
        replicas=step.replicas,
        retired_at=step.retired_at,
        restart=step.restart,
        restarted_at=step.restarted_at,
        surge=step.surge,
    )

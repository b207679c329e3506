"""Carries out a plan: compares every step with what is, and writes only what differs.

An object of ours is recognised by its controlling owner. An object that is not ours is never written, whatever its
name. What is made for the first time is applied without force: the API server refuses that where somebody else owns
one of the fields, as everybody does who made a Deployment, a PodDisruptionBudget or a ControllerRevision of that name.
A Service need not have any field that ours sets, so the API server is asked for it before.
"""

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from llmfleet.api.deployment import Spec
from llmfleet.api.names import KIND, MANAGER
from llmfleet.api.reasons import Reason
from llmfleet.control.cache import Cache
from llmfleet.control.memory import Memory
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
from llmfleet.kube.client import Client
from llmfleet.kube.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound
from llmfleet.kube.resources import Ref
from llmfleet.observe.views import Child, Refusal, Snapshot
from llmfleet.render import objects
from llmfleet.render.profiles import Images

log = logging.getLogger(__name__)


class OwnerGone(Exception):  # noqa: N818 - it is no fault
    """The LLMDeployment was deleted and we were not told: nothing may be made for it any more."""


class PredecessorLeaving(Exception):  # noqa: N818 - it is no fault
    """An object of a deleted LLMDeployment of the same name still has the name: it will be free soon."""


class _Refused(Exception):  # noqa: N818 - carries a Refusal to the end of the plan
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a plan.

    Attributes:
        done: steps that changed something, in order.
        refusal: what ended it early, None when it was carried out whole.
    """

    done: tuple[Step, ...]
    refusal: Refusal | None = None


class Executor:
    """Writes children.

    Args:
        client: to the API server.
        cache: takes over what writes return.
        images: that the engine profiles run where a user names none.
    """

    def __init__(self, client: Client, cache: Cache, images: Images) -> None:
        self._client = client
        self._cache = cache
        self._images = images

    async def carry_out(self, snapshot: Snapshot, plan: Plan, memory: Memory) -> Outcome:
        """Carry out a plan step by step; the first refusal ends it.

        Raises:
            OwnerGone: There is nothing to do any more.
            PredecessorLeaving: Try again soon.
            ApiError: The API server could not be asked; try again.
        """
        done: list[Step] = []
        spec = snapshot.spec
        works = [work for step in plan.steps for work in self._work(snapshot, spec, step)] if spec else []
        try:
            for work in works:
                if await self._carry_out(snapshot, work, memory):
                    done.append(work.step)  # noqa: PERF401 - a refusal must leave what was done before it
        except _Refused as refused:
            return Outcome(tuple(done), refused.refusal)
        return Outcome(tuple(done))

    def outdated(self, snapshot: Snapshot, memory: Memory) -> bool:
        """Say whether the wanted revision was made with other defaults, startup or drain than one of today."""
        spec, remembered = snapshot.spec, snapshot.revisions.get(snapshot.revision)
        if spec is None or remembered is None:
            return False
        owner = objects.Owner(snapshot.namespace, snapshot.name, snapshot.uid)
        return memory.outdated(
            (snapshot.generation, remembered.digest),
            lambda: objects.revision_data(owner, snapshot.revision, spec, self._images) != remembered.data,
        )

    def _work(self, snapshot: Snapshot, spec: Spec, step: Step) -> "Iterator[_Work]":
        """Turn a step into objects to make or to delete."""
        owner, revision = objects.Owner(snapshot.namespace, snapshot.name, snapshot.uid), step.revision
        name = objects.child_name(owner, revision)
        deployment, budget = snapshot.deployments.get(revision), snapshot.budgets.get(revision)
        remembered = snapshot.revisions.get(revision)

        def data() -> dict[str, Any]:
            return dict(remembered.data if remembered else objects.revision_data(owner, revision, spec, self._images))

        match step:
            case RememberRevision() if remembered is None:
                number = 1 + max((view.number for view in snapshot.revisions.values()), default=0)
                make = partial(objects.controller_revision, owner, revision, number, data())
                yield _Work(step, "ControllerRevision", name, None, make, (number, snapshot.generation))
            case RunRevision(replicas=replicas, retired_at=retired_at):
                inputs = (remembered.digest if remembered else None, replicas, retired_at)
                run = partial(_deployment, owner, revision, data, replicas=replicas, retired_at=retired_at)
                yield _Work(step, "Deployment", name, deployment, run, inputs)
            case GuardRevision():
                guard = partial(objects.disruption_budget, owner, revision, spec)
                yield _Work(step, "PodDisruptionBudget", name, budget, guard, spec.disruption)
            case PointService():
                point = partial(objects.service, owner, revision)
                yield _Work(step, "Service", owner.name, snapshot.service, point, revision)
            case RemoveRevision():
                yield _Work(step, "Deployment", name, deployment)
                yield _Work(step, "PodDisruptionBudget", name, budget)
            case ForgetRevision():
                yield _Work(step, "ControllerRevision", name, remembered)

    async def _carry_out(self, snapshot: Snapshot, work: "_Work", memory: Memory) -> bool:
        """Make one object so; return whether something was written."""
        if work.make is None:
            return await self._delete(work, memory)
        child, view = (work.kind, work.name), work.view
        made_before = memory.knows(child)
        wanted = memory.digest(child, work.inputs, work.make)
        if view is not None and (view.digest == wanted or memory.forms.get(view.uid) == (wanted, view.digest)):
            return False
        if view is None and made_before:
            await self._check_owner(snapshot)
        try:
            stored = await self._apply(snapshot, work, work.make())
        except (Invalid, Forbidden, BadRequest) as error:
            raise _Refused(
                Refusal(Reason.REJECTED, f"the API server refuses {work.kind} {work.name}: {error}")
            ) from error
        self._note(stored, wanted, memory)
        return True

    async def _apply(self, snapshot: Snapshot, work: "_Work", wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Apply what is wanted; what is not there yet only if its name is free."""
        if work.view is not None:
            return await self._put_right(wanted)
        ref = Ref.of(wanted)
        if work.kind == "Service":
            await self._check_name(snapshot, ref)
        try:
            return await self._client.apply(wanted, manager=MANAGER, force=False)
        except (Conflict, Invalid) as error:
            ours = await self._check_name(snapshot, ref)
            if isinstance(error, Invalid) and not ours:
                raise
        # Ours, made before and not in the cache yet, and somebody has changed it meanwhile.
        return await self._client.apply(wanted, manager=MANAGER)

    async def _put_right(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Apply; where somebody's entry stands in the way of ours in a Service's ports, that list is put back first.

        Ports are merged by number, and names must be unique: a port that was edited by hand leaves no room for ours.
        """
        try:
            return await self._client.apply(wanted, manager=MANAGER)
        except Invalid:
            if wanted["kind"] != "Service":
                raise
            ports = [{"op": "replace", "path": "/spec/ports", "value": wanted["spec"]["ports"]}]
            await self._client.patch_json(Ref.of(wanted), ports, manager=MANAGER)
            return await self._client.apply(wanted, manager=MANAGER)

    def _note(self, stored: dict[str, Any], wanted: str, memory: Memory) -> None:
        """Take over what was stored. Should it differ from what was sent, that difference is no drift."""
        view = self._cache.reflectors[stored["kind"]].absorb(stored)
        if view.digest != wanted:
            log.warning("%s %s is stored in another form", stored["kind"], stored["metadata"]["name"])
            memory.forms[view.uid] = (wanted, view.digest)

    async def _check_owner(self, snapshot: Snapshot) -> None:
        """Make sure that the owner lives before something that is gone is made again.

        What went may have gone with its owner, of whose deletion we were not told.
        """
        owner = Ref.to(KIND, snapshot.name, snapshot.namespace)
        try:
            if (await self._client.get_metadata(owner))["metadata"]["uid"] != snapshot.uid:
                raise OwnerGone
        except NotFound:
            raise OwnerGone from None

    async def _check_name(self, snapshot: Snapshot, ref: Ref) -> bool:
        """Make sure that a name is not somebody else's; return whether an object of ours has it."""
        try:
            found = await self._client.get_metadata(ref)
        except NotFound:
            return False
        controller = _controller(found)
        if controller.get("uid") == snapshot.uid:
            return True
        if (controller.get("kind"), controller.get("name")) == (KIND, snapshot.name):
            raise PredecessorLeaving(f"{ref.resource.kind} {ref.name} of the LLMDeployment before is still there")
        raise _Refused(
            Refusal(
                Reason.NAME_TAKEN,
                f"{ref.resource.kind} {ref.name} exists and does not belong to this LLMDeployment: "
                "rename one of the two; it is left as it is",
            )
        )

    async def _delete(self, work: "_Work", memory: Memory) -> bool:
        view = work.view
        if view is None:
            return False
        memory.forget((work.kind, work.name), view.uid)
        try:
            await self._client.delete(Ref.to(work.kind, view.name, view.namespace), uid=view.uid)
        except NotFound:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Work:
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


def _deployment(
    owner: objects.Owner,
    revision: str,
    data: Callable[[], Mapping[str, Any]],
    *,
    replicas: int,
    retired_at: datetime | None,
) -> dict[str, Any]:
    return objects.deployment(owner, revision, data(), replicas=replicas, retired_at=retired_at)


def _controller(found: Mapping[str, Any]) -> Mapping[str, Any]:
    owners = found["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})

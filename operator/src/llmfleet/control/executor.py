"""Carries out a plan: compares every step with what is, and writes only what differs.

An object of ours is recognised by its controlling owner. An object that is not ours is never written, whatever its
name. What is made for the first time is applied without force: the API server refuses that where somebody else owns
one of the fields, as everybody does who made a Deployment, a PodDisruptionBudget or a ControllerRevision of that name.
A Service need not have any field that ours sets, so the API server is asked for it before.
"""

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from llmfleet.api.names import KIND, MANAGER
from llmfleet.api.reasons import Reason
from llmfleet.control.cache import Cache
from llmfleet.control.memory import Memory
from llmfleet.control.rejection import field_to_correct
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
from llmfleet.kube.errors import ApiError, BadRequest, Conflict, Forbidden, Invalid, NotFound
from llmfleet.kube.resources import Ref
from llmfleet.observe.views import Child, Refusal, Snapshot
from llmfleet.render import objects
from llmfleet.render.profiles import Images

log = logging.getLogger(__name__)

_FOREIGN_LOOK_S: Final = 20.0
"""Nobody tells when a taken name becomes free, or a policy changes: after this time it is tried again."""


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
        refusal: what kept it from being carried out whole, None where nothing did.
        look_again_s: when what is refused may be otherwise without our being told, None where nothing is refused.
        altered: sentences about objects that are stored otherwise than they were sent.
    """

    done: tuple[Step, ...]
    refusal: Refusal | None = None
    look_again_s: float | None = None
    altered: tuple[str, ...] = ()


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
        """Carry out a plan step by step. A refusal ends what is done for its revision, not what is done for others.

        Raises:
            OwnerGone: There is nothing to do any more.
            PredecessorLeaving: Try again soon.
            ApiError: The API server could not be asked; try again.
        """
        done: list[Step] = []
        refusals: dict[str, Refusal] = {}
        works = [work for step in plan.steps for work in self._work(snapshot, step)]
        for work in works:
            if work.step.revision in refusals:
                continue
            try:
                if await self._carry_out(snapshot, work, memory):
                    done.append(work.step)
            except _Refused as refused:
                refusals[work.step.revision] = refused.refusal
        if refusals:
            return Outcome(tuple(done), next(iter(refusals.values())), _FOREIGN_LOOK_S)
        children = [(work.kind, work.name) for work in works]
        altered = tuple(said for child in children if (said := memory.ledger.altered(child)))
        for said, again_s in map(memory.ledger.dispute, children):
            if said:
                return Outcome(tuple(done), Refusal(Reason.CONTESTED, said), again_s, altered)
        return Outcome(tuple(done), altered=altered)

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

    def _work(self, snapshot: Snapshot, step: Step) -> "Iterator[_Work]":
        """Turn a step into objects to make or to delete."""
        spec = snapshot.spec
        owner, revision = objects.Owner(snapshot.namespace, snapshot.name, snapshot.uid), step.revision
        name = objects.child_name(owner, revision)
        deployment, budget = snapshot.deployments.get(revision), snapshot.budgets.get(revision)
        remembered = snapshot.revisions.get(revision)

        def data() -> dict[str, Any]:
            if remembered is not None:
                return dict(remembered.data)
            if spec is None or revision != snapshot.revision:
                raise ValueError(f"revision {revision} of {name} is not on record, and today's spec is another one")
            return objects.revision_data(owner, revision, spec, self._images)

        match step:
            case RememberRevision() if remembered is None:
                number = 1 + max((view.number for view in snapshot.revisions.values()), default=0)
                make = partial(_controller_revision, owner, revision, number, data)
                yield _Work(step, "ControllerRevision", name, None, make, (number, snapshot.generation))
            case RunRevision():
                how = (step.replicas, step.retired_at, step.restart, step.restarted_at, step.surge)
                run, inputs = partial(_deployment, owner, step, data), (remembered.digest if remembered else None, *how)
                yield _Work(step, "Deployment", name, deployment, run, inputs)
            case GuardRevision() if spec is not None:
                guard = partial(objects.disruption_budget, owner, revision, spec)
                yield _Work(step, "PodDisruptionBudget", name, budget, guard, spec.disruption)
            case PointService():
                point = partial(objects.service, owner, revision)
                yield _Work(step, "Service", owner.name, snapshot.service, point, revision)
            case RemoveRevision():
                # The Deployment last: by it, whoever comes after a crash sees what is left to remove.
                yield _Work(step, "PodDisruptionBudget", name, budget)
                yield _Work(step, "Deployment", name, deployment)
            case ForgetRevision():
                yield _Work(step, "ControllerRevision", name, remembered)

    async def _carry_out(self, snapshot: Snapshot, work: "_Work", memory: Memory) -> bool:
        """Make one object so; return whether that changed anything."""
        try:
            if work.make is None:
                return await self._delete(work, memory)
            return await self._make(snapshot, work, work.make, memory)
        except ApiError as error:
            if any(cause.reason == "NamespaceTerminating" for cause in error.causes):
                memory.namespace_goes = True
                raise _Refused(_namespace_goes(snapshot)) from error
            if (refusal := _refusal(snapshot, work, error)) is None:
                raise
            raise _Refused(refusal) from error

    async def _make(
        self, snapshot: Snapshot, work: "_Work", make: Callable[[], Mapping[str, Any]], memory: Memory
    ) -> bool:
        """Write an object unless it is as wanted, or somebody undoes that each time."""
        child, view, ledger = (work.kind, work.name), work.view, memory.ledger
        made_before = memory.knows(child)
        wanted = memory.digest(child, work.inputs, make)
        if view is not None and ledger.is_as(child, view.digest, wanted):
            return False
        if ledger.wait_s(child, wanted) > 0:
            if not ledger.dispute(child)[0]:
                live = await self._client.get(Ref.of(make())) if view is not None else None
                ledger.disputed(child, make(), live)
            return False
        if view is None and memory.namespace_goes:
            raise _Refused(_namespace_goes(snapshot))
        if view is None and made_before:
            await self._check_owner(snapshot)
        sent = make()
        stored = await self._apply(snapshot, work, sent)
        now = self._cache.reflectors[stored["kind"]].absorb(stored)
        if made_before or now.digest != wanted:
            ledger.wrote(child, wanted, now.digest, sent, stored)
        if now.digest != wanted:
            log.warning("%s", ledger.altered(child))
        return view is None or view.digest != now.digest

    async def _apply(self, snapshot: Snapshot, work: "_Work", wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Apply what is wanted; what is not there yet only if its name is free."""
        if work.view is not None:
            return await self._put_right(_this_very(wanted, work.view))
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
        memory.forget((work.kind, work.name))
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


def _controller_revision(
    owner: objects.Owner, revision: str, number: int, data: Callable[[], Mapping[str, Any]]
) -> dict[str, Any]:
    return objects.controller_revision(owner, revision, number, data())


def _deployment(owner: objects.Owner, step: RunRevision, data: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    return objects.deployment(
        owner,
        step.revision,
        data(),
        replicas=step.replicas,
        retired_at=step.retired_at,
        restart=step.restart,
        restarted_at=step.restarted_at,
        surge=step.surge,
    )


def _this_very(wanted: Mapping[str, Any], view: Child) -> Mapping[str, Any]:
    """Name the object that is there by its uid: should it be gone by now, the write fails instead of making another."""
    return {**wanted, "metadata": {**wanted["metadata"], "uid": view.uid}}


def _namespace_goes(snapshot: Snapshot) -> Refusal:
    said = f"namespace {snapshot.namespace} is being deleted: nothing can be made in it any more"
    return Refusal(Reason.NAMESPACE_TERMINATING, said)


def _refusal(snapshot: Snapshot, work: _Work, error: ApiError) -> Refusal | None:
    """Return what a person has to be told about a failed write, or None for what passes by itself."""
    # A webhook that cannot be asked makes a 500, but no fault of the API server's: it does not pass by itself.
    webhook = any(words in error.message for words in ("admission webhook", "failed calling webhook"))
    if webhook or isinstance(error, Invalid | Forbidden | BadRequest):
        what = f"{'' if work.make else 'the deletion of '}{work.kind} {work.name}"
        field = field_to_correct(snapshot.spec, work.make(), str(error)) if snapshot.spec and work.make else ""
        remedy = f"Correct {field}: " if field else ""
        return Refusal(Reason.REJECTED, f"{remedy}the API server refuses {what}: {error}")
    return None


def _controller(found: Mapping[str, Any]) -> Mapping[str, Any]:
    owners = found["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})

"""Carries out a plan: compares every step with what is, and writes only what differs.

An object of ours is recognised by its controlling owner. An object that is not ours is never written, whatever its
name. What is made for the first time is applied without force: the API server refuses that where somebody else owns
one of the fields, as everybody does who made a Deployment, a PodDisruptionBudget or a ControllerRevision of that name.
A Service need not have any field that ours sets, so the API server is asked for it before.

What is ours is followed by a label, and anybody can change that. So an object that should be there is looked for
before it is made again: a Deployment made again without what is noted on it would restart its engines.
"""

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from llmfleet.api.names import KIND, LABEL_MANAGED_BY, MANAGER
from llmfleet.api.reasons import Reason
from llmfleet.control.cache import Cache
from llmfleet.control.errands import Errand, errands, has_siblings, owner_of, template_data
from llmfleet.control.ledger import ChildKey, put_back
from llmfleet.control.memory import Memory
from llmfleet.control.rejection import field_to_correct
from llmfleet.decide.plan import Plan, Step
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


class Overlooked(Exception):  # noqa: N818 - it is no fault
    """An object of ours is there of which the plan did not know: now it is known, and the plan has to be made anew."""


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
            Overlooked: Decide anew.
            ApiError: The API server could not be asked; try again.
        """
        done: list[Step] = []
        refusals: dict[str, Refusal] = {}
        children: list[ChildKey] = []
        await self._look_for_strays(snapshot, plan, memory)
        data = functools.cache(functools.partial(template_data, snapshot, self._images))
        for errand in (errand for step in plan.steps for errand in errands(snapshot, step, data, memory)):
            if errand.step.revision in refusals:
                continue
            children.append((errand.kind, errand.name))
            try:
                if (step := await self._carry_out(snapshot, errand, memory)) is not None:
                    done.append(step)
            except _Refused as refused:
                refusals[errand.step.revision] = refused.refusal
        if refusals:
            return Outcome(tuple(done), next(iter(refusals.values())), _FOREIGN_LOOK_S)
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
        return memory.outdated(
            (snapshot.generation, remembered.digest),
            lambda: objects.revision_data(owner_of(snapshot), snapshot.revision, spec, self._images) != remembered.data,
        )

    async def _carry_out(self, snapshot: Snapshot, errand: Errand, memory: Memory) -> Step | None:
        """Make one object so; return the step as it is to be told, None where it changed nothing."""
        try:
            if errand.make is None:
                return errand.step if await self._delete(errand, memory) else None
            return await self._make(snapshot, errand, errand.make, memory)
        except ApiError as error:
            if any(cause.reason == "NamespaceTerminating" for cause in error.causes):
                memory.namespace_goes = True
                raise _Refused(_namespace_goes(snapshot)) from error
            if (refusal := _refusal(snapshot, errand, error)) is None:
                raise
            raise _Refused(refusal) from error

    async def _make(
        self, snapshot: Snapshot, errand: Errand, make: Callable[[], Mapping[str, Any]], memory: Memory
    ) -> Step | None:
        """Write an object unless it is as wanted, or somebody undoes that each time."""
        child, view, ledger = (errand.kind, errand.name), errand.view, memory.ledger
        made_before = memory.knows(child)
        wanted = memory.digest(child, errand.inputs, make)
        if view is not None and ledger.is_as(child, view.digest, wanted):
            memory.stands(child, wanted)
            return None
        waits, told = ledger.wait_s(child, wanted) > 0, ledger.dispute(child)[0]
        if waits and told:
            return None
        if view is None and memory.namespace_goes:
            raise _Refused(_namespace_goes(snapshot))
        if view is None and (made_before or has_siblings(snapshot, errand)):
            await self._take_in(snapshot, Ref.of(make()))
        if waits:
            ledger.disputed(child, make(), await self._client.get(Ref.of(make())) if view is not None else None)
            return None
        if view is None and made_before:
            await self._check_owner(snapshot)
        sent = make()
        step = await self._told(errand, sent, wanted, memory)
        stored = await self._apply(snapshot, errand, sent)
        now = self._cache.reflectors[stored["kind"]].absorb(stored)
        if made_before or now.digest != wanted:
            ledger.wrote(child, wanted, now.digest, sent, stored)
        if now.digest != wanted:
            log.warning("%s", ledger.altered(child))
        memory.stands(child, wanted)
        return step if view is None or view.digest != now.digest else None

    async def _told(self, errand: Errand, sent: Mapping[str, Any], wanted: str, memory: Memory) -> Step:
        """Return the step, as a repair where somebody else undid what was in place: only then it is looked what.

        A new process does not know what was in place, so it tells nothing as repaired before it has seen it so.
        """
        step, before = errand.step, memory.in_place((errand.kind, errand.name))
        if before and errand.view is None:
            said = f"{errand.kind} {errand.name} was deleted and is made again"
        elif before == wanted:
            said = put_back(sent, await self._client.get(Ref.of(sent)))
        else:
            return step
        return replace(step, reason=Reason.REPAIRED, message=said)

    async def _apply(self, snapshot: Snapshot, errand: Errand, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Apply what is wanted; what is not there yet only if its name is free."""
        if errand.view is not None:
            return await self._put_right(_this_very(wanted, errand.view))
        ref = Ref.of(wanted)
        if errand.kind == "Service":
            await self._check_name(snapshot, ref)
        try:
            return await self._client.apply(wanted, manager=MANAGER, force=False)
        except (Conflict, Invalid) as error:
            ours = await self._check_name(snapshot, ref)
            if ours:
                await self._take_in(snapshot, ref)
            elif isinstance(error, Invalid):
                raise
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

    async def _look_for_strays(self, snapshot: Snapshot, plan: Plan, memory: Memory) -> None:
        """Look for what should be there and no plan asks for: Deployments by their pods, and templates; each once.

        Raises:
            Overlooked: There is one.
        """
        planned = {"", *(step.revision for step in plan.steps)}
        there = {pod.revision for pod in snapshot.pods if not pod.deleting}
        lost = [("Deployment", revision) for revision in there - snapshot.deployments.keys() - planned]
        lost += [
            ("ControllerRevision", one) for one in snapshot.deployments.keys() - snapshot.revisions.keys() - planned
        ]
        strays = frozenset((kind, objects.child_name(owner_of(snapshot), revision)) for kind, revision in lost)
        for kind, name in sorted(strays - memory.strays):
            await self._take_in(snapshot, Ref.to(kind, name, snapshot.namespace))
        memory.strays = strays

    async def _take_in(self, snapshot: Snapshot, ref: Ref) -> None:
        """Take an object of ours into the cache, of which no watch tells because somebody changed its label.

        That it lacks the label is seen as drift then, and put right as any other.

        Raises:
            Overlooked: It is there.
        """
        try:
            live = await self._client.get(ref)
        except NotFound:
            return
        if _controller(live).get("uid") != snapshot.uid or "deletionTimestamp" in live["metadata"]:
            return
        self._cache.reflectors[ref.resource.kind].absorb(live)
        raise Overlooked(f"{ref.resource.kind} {ref.name} is there, though its label {LABEL_MANAGED_BY} hides it")

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

    async def _delete(self, errand: Errand, memory: Memory) -> bool:
        view = errand.view
        if view is None:
            return False
        memory.forget((errand.kind, errand.name))
        try:
            await self._client.delete(Ref.to(errand.kind, view.name, view.namespace), uid=view.uid)
        except NotFound:
            return False
        return True


def _this_very(wanted: Mapping[str, Any], view: Child) -> Mapping[str, Any]:
    """Name the object that is there by its uid: should it be gone by now, the write fails instead of making another."""
    return {**wanted, "metadata": {**wanted["metadata"], "uid": view.uid}}


def _namespace_goes(snapshot: Snapshot) -> Refusal:
    said = f"namespace {snapshot.namespace} is being deleted: nothing can be made in it any more"
    return Refusal(Reason.NAMESPACE_TERMINATING, said)


def _refusal(snapshot: Snapshot, errand: Errand, error: ApiError) -> Refusal | None:
    """Return what a person has to be told about a failed write, or None for what passes by itself."""
    # A webhook that cannot be asked makes a 500, but no fault of the API server's: it does not pass by itself.
    webhook = any(words in error.message for words in ("admission webhook", "failed calling webhook"))
    if webhook or isinstance(error, Invalid | Forbidden | BadRequest):
        what = f"{'' if errand.make else 'the deletion of '}{errand.kind} {errand.name}"
        field = field_to_correct(snapshot.spec, errand.make(), str(error)) if snapshot.spec and errand.make else ""
        remedy = f"Correct {field}: " if field else ""
        return Refusal(Reason.REJECTED, f"{remedy}the API server refuses {what}: {error}")
    return None


def _controller(found: Mapping[str, Any]) -> Mapping[str, Any]:
    owners = found["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})

"""Carries out a plan: compares every step with what is, and writes only what differs.

An object of ours is recognised by its controlling owner. An object that is not ours is never written, whatever its
name: before something is made for the first time, the API server is asked whether the name is free.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmfleet.api.deployment import Spec
from llmfleet.api.names import KIND, MANAGER
from llmfleet.api.reasons import Reason
from llmfleet.control.cache import Cache
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
from llmfleet.kube.errors import BadRequest, Forbidden, Invalid, NotFound
from llmfleet.kube.ownership import applied_fields, digest, owned_fields
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
        self._equivalent: dict[str, tuple[str, str]] = {}

    async def carry_out(self, snapshot: Snapshot, plan: Plan) -> Outcome:
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
                if await self._carry_out(snapshot, work):
                    done.append(work.step)  # noqa: PERF401 - a refusal must leave what was done before it
        except _Refused as refused:
            return Outcome(tuple(done), refused.refusal)
        return Outcome(tuple(done))

    def outdated(self, snapshot: Snapshot) -> bool:
        """Say whether the wanted revision was made with other defaults, startup or drain than one of today."""
        spec, remembered = snapshot.spec, snapshot.revisions.get(snapshot.revision)
        if spec is None or remembered is None:
            return False
        owner = objects.Owner(snapshot.namespace, snapshot.name, snapshot.uid)
        return objects.revision_data(owner, snapshot.revision, spec, self._images) != remembered.data

    def _work(self, snapshot: Snapshot, spec: Spec, step: Step) -> "Iterator[_Work]":
        """Turn a step into objects to make or to delete."""
        owner, revision = objects.Owner(snapshot.namespace, snapshot.name, snapshot.uid), step.revision
        deployment, budget = snapshot.deployments.get(revision), snapshot.budgets.get(revision)
        remembered = snapshot.revisions.get(revision)
        match step:
            case RememberRevision() if remembered is None:
                number = 1 + max((view.number for view in snapshot.revisions.values()), default=0)
                data = objects.revision_data(owner, revision, spec, self._images)
                yield _Work(step, objects.controller_revision(owner, revision, number, data))
            case RunRevision(replicas=replicas, retired_at=retired_at):
                kept = remembered.data if remembered else None
                data = dict(kept or objects.revision_data(owner, revision, spec, self._images))
                made = objects.deployment(owner, revision, data, replicas=replicas, retired_at=retired_at)
                yield _Work(step, made, deployment)
            case GuardRevision():
                yield _Work(step, objects.disruption_budget(owner, revision, spec), budget)
            case PointService():
                yield _Work(step, objects.service(owner, revision), snapshot.service)
            case RemoveRevision():
                yield _Work(step, None, deployment, "Deployment")
                yield _Work(step, None, budget, "PodDisruptionBudget")
            case ForgetRevision():
                yield _Work(step, None, remembered, "ControllerRevision")

    async def _carry_out(self, snapshot: Snapshot, work: "_Work") -> bool:
        """Make one object so; return whether something was written."""
        if work.wanted is None:
            return await self._delete(work)
        wanted = digest(applied_fields(work.wanted))
        view = work.view
        if view is not None and (view.digest == wanted or self._equivalent.get(view.uid) == (wanted, view.digest)):
            return False
        if view is None:
            await self._check_name(snapshot, Ref.of(work.wanted))
        try:
            stored = await self._apply(work.wanted, view)
        except (Invalid, Forbidden, BadRequest) as error:
            what = f"{work.wanted['kind']} {work.wanted['metadata']['name']}"
            raise _Refused(Refusal(Reason.REJECTED, f"the API server refuses {what}: {error}")) from error
        self._note(stored, wanted)
        return True

    async def _apply(self, wanted: Mapping[str, Any], view: Child | None) -> dict[str, Any]:
        """Apply; where somebody's entry stands in the way of ours in a Service's ports, that list is put back first.

        Ports are merged by number, and names must be unique: a port that was edited by hand leaves no room for ours.
        """
        try:
            return await self._client.apply(wanted, manager=MANAGER)
        except Invalid:
            if view is None or wanted["kind"] != "Service":
                raise
            ports = [{"op": "replace", "path": "/spec/ports", "value": wanted["spec"]["ports"]}]
            await self._client.patch_json(Ref.of(wanted), ports, manager=MANAGER)
            return await self._client.apply(wanted, manager=MANAGER)

    def _note(self, stored: dict[str, Any], wanted: str) -> None:
        """Take over what was stored. Should it differ from what was sent, that difference is no drift."""
        got, uid = digest(owned_fields(stored, MANAGER)), stored["metadata"]["uid"]
        if got != wanted:
            log.warning("%s %s is stored in another form", stored["kind"], stored["metadata"]["name"])
            self._equivalent[uid] = (wanted, got)
        self._cache.reflectors[stored["kind"]].absorb(stored)

    async def _check_name(self, snapshot: Snapshot, ref: Ref) -> None:
        """Make sure that we make something for an owner that lives, under a name that is free or already ours."""
        owner = Ref.to(KIND, snapshot.name, snapshot.namespace)
        try:
            if (await self._client.get_metadata(owner))["metadata"]["uid"] != snapshot.uid:
                raise OwnerGone
        except NotFound:
            raise OwnerGone from None
        try:
            found = await self._client.get_metadata(ref)
        except NotFound:
            return
        controller = _controller(found)
        if controller.get("uid") == snapshot.uid:
            return
        if (controller.get("kind"), controller.get("name")) == (KIND, snapshot.name):
            raise PredecessorLeaving(f"{ref.resource.kind} {ref.name} of the LLMDeployment before is still there")
        raise _Refused(
            Refusal(
                Reason.NAME_TAKEN,
                f"{ref.resource.kind} {ref.name} exists and does not belong to this LLMDeployment: "
                "rename one of the two; it is left as it is",
            )
        )

    async def _delete(self, work: "_Work") -> bool:
        view = work.view
        if view is None:
            return False
        try:
            await self._client.delete(Ref.to(work.kind, view.name, view.namespace), uid=view.uid)
        except NotFound:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Work:
    """One object of a step: what is wanted (None: nothing), what is, and of which kind it is when nothing is wanted."""

    step: Step
    wanted: Mapping[str, Any] | None
    view: Child | None = None
    kind: str = ""


def _controller(found: Mapping[str, Any]) -> Mapping[str, Any]:
    owners = found["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})

"""What the operator knows: the LLMDeployments, told by kopf, and their children, told by reflectors.

Everything is parsed once, on arrival. A change tells the queue which LLMDeployment it concerns, and nothing else.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from llmfleet.api.deployment import Spec
from llmfleet.api.names import KIND, LABEL_MANAGED_BY, MANAGED_BY, MANAGER
from llmfleet.api.reasons import Reason
from llmfleet.api.status import Status
from llmfleet.decide.revision import revision_hash
from llmfleet.kube.client import Client
from llmfleet.kube.newest import Newest
from llmfleet.kube.ownership import OwnedDigests
from llmfleet.kube.reflector import Reflector
from llmfleet.kube.resources import RESOURCES, version_of
from llmfleet.observe import objects
from llmfleet.observe.views import Child, Orders, PodView, Refusal, Snapshot

Key = tuple[str, str]
"""Namespace and name of an LLMDeployment."""

_NONE: Final[Mapping[str, Any]] = {}

_SELECTOR: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
_VIEWS: Final[Mapping[str, Callable[[objects.Object, str], Child]]] = {
    "Service": objects.service,
    "PodDisruptionBudget": objects.child,
    "ControllerRevision": objects.controller_revision,
    "Deployment": objects.deployment,
}
WATCHED: Final = (KIND, *_VIEWS, "Pod")
"""Every kind that is followed."""


@dataclass(frozen=True, slots=True)
class Known:
    """One LLMDeployment, parsed."""

    uid: str
    generation: int
    deleting: bool
    spec: Spec | None
    refusal: Refusal | None
    revision: str
    orders: Orders
    told: bytes
    """Its status as JSON, in which it takes a seventh of the memory."""

    @property
    def status(self) -> Status | None:
        """Its status, None where it has none."""
        return Status.model_validate_json(self.told) if self.told else None


class Cache:
    """The operator's picture of the cluster.

    Args:
        client: for the reflectors.
        namespaces: which to look at; None means all.
        changed: called with the key of an LLMDeployment when something about it changed.
        admit: says why a readable spec is not accepted all the same, or None.
    """

    def __init__(
        self,
        client: Client,
        namespaces: Sequence[str] | None,
        changed: Callable[[Key], None],
        admit: Callable[[Spec], Refusal | None],
    ) -> None:
        self._changed = changed
        self._admit = admit
        self._known: dict[Key, Known] = {}
        self._newest: Newest[Key] = Newest()
        self._children: dict[str, dict[Key, dict[str, Child | PodView]]] = defaultdict(lambda: defaultdict(dict))
        self._phases: dict[str, str] = {}
        self._obstacles: dict[str, str] = {}
        self.reflectors: dict[str, Reflector[Any]] = {
            kind: Reflector(
                client,
                RESOURCES[kind],
                namespaces=namespaces,
                label_selector=_SELECTOR,
                trim=_trimmer(kind),
                on_change=self._child_changed(kind),
            )
            for kind in WATCHED
            if kind != KIND
        }

    def __len__(self) -> int:
        return len(self._known)

    def put(self, obj: Mapping[str, Any]) -> None:
        """Take an LLMDeployment as the API server tells it, unless something newer is known.

        kopf tells every object in a task of its own, so what it tells of a name that was taken again may come late.
        """
        metadata = obj["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if not self._newest.put(key, version_of(obj)):
            return
        before = self._known.get(key)
        known = self._known[key] = self._parse(obj, before)
        if known != before:
            self._changed(key)

    def drop(self, key: Key, uid: str, version: int = 0) -> bool:
        """Forget an LLMDeployment that is gone, unless another one of its name took its place; return whether it was.

        Args:
            key: its namespace and name.
            uid: which one is gone.
            version: of its deletion, where that is known: what is older is no news of a new one.
        """
        known = self._known.get(key)
        if known is None or known.uid != uid:
            return False
        del self._known[key]
        self._newest.drop(key, max(version, self._newest.of(key)))
        self._changed(key)
        return True

    def uids(self) -> dict[Key, str]:
        """Return the uid of every LLMDeployment known."""
        return {key: known.uid for key, known in self._known.items()}

    def told(self, key: Key) -> int:
        """Return the newest version told of an LLMDeployment, be it of its being gone; 0 where nothing is known."""
        return self._newest.told(key)

    def wrote_status(self, key: Key, status: Status, version: int) -> None:
        """Remember a status just written, and at which version, so that its echo is no news."""
        known = self._known.get(key)
        if known is not None and self._newest.put(key, version):
            self._known[key] = replace(known, told=_json(status))

    def set_phase(self, key: Key, pod_uid: str, phase: str) -> None:
        """Remember what the launcher of a pod says it does; empty for nothing known."""
        self._note(self._phases, key, pod_uid, phase)

    def set_obstacle(self, key: Key, pod_uid: str, message: str) -> None:
        """Remember what keeps a pod from its volumes; empty for nothing known."""
        self._note(self._obstacles, key, pod_uid, message)

    def _note(self, book: dict[str, str], key: Key, pod_uid: str, text: str) -> None:
        if book.get(pod_uid, "") == text:
            return
        if text:
            book[pod_uid] = text
        else:
            del book[pod_uid]
        self._changed(key)

    def snapshot(self, key: Key) -> Snapshot | None:
        """Return what is known of one LLMDeployment and its children, or None where there is no such object."""
        known = self._known.get(key)
        if known is None:
            return None
        deployments, budgets, revisions, services = (
            {child.revision: child for child in self._of(kind, key).values() if child.owner == known.uid}
            for kind in ("Deployment", "PodDisruptionBudget", "ControllerRevision", "Service")
        )
        pods = tuple(sorted(self._of("Pod", key).values(), key=lambda pod: pod.name))
        return Snapshot(
            namespace=key[0],
            name=key[1],
            uid=known.uid,
            generation=known.generation,
            deleting=known.deleting,
            spec=known.spec,
            refusal=known.refusal,
            revision=known.revision,
            status=known.status,
            service=next(iter(services.values()), None),
            deployments=deployments,
            budgets=budgets,
            revisions=revisions,
            pods=pods,
            phases={pod.uid: self._phases[pod.uid] for pod in pods if pod.uid in self._phases},
            orders=known.orders,
            obstacles={pod.uid: self._obstacles[pod.uid] for pod in pods if pod.uid in self._obstacles},
        )

    def pods(self, key: Key) -> tuple[PodView, ...]:
        """Return the pods of one LLMDeployment, none where there is no such object."""
        return tuple(self._of("Pod", key).values()) if key in self._known else ()

    def _of(self, kind: str, key: Key) -> Mapping[str, Any]:
        return self._children[kind].get(key, _NONE)

    def _parse(self, obj: Mapping[str, Any], before: Known | None) -> Known:
        """Parse what changed: a new generation has a new spec, everything else is status or metadata."""
        metadata = obj["metadata"]
        uid, generation = metadata["uid"], metadata["generation"]
        if before is not None and (before.uid, before.generation) == (uid, generation):
            spec, refusal, revision = before.spec, before.refusal, before.revision
        else:
            spec, refusal, revision = self._parse_spec(obj.get("spec") or {})
        try:
            status = Status.model_validate(obj["status"]) if obj.get("status") else None
        except ValidationError:
            status = None  # somebody wrote nonsense into it: it is written anew
        told = _json(status) if status is not None else b""
        deleting, orders = "deletionTimestamp" in metadata, objects.orders(obj)
        return Known(uid, generation, deleting, spec, refusal, revision, orders, told)

    def _parse_spec(self, stored: Mapping[str, Any]) -> tuple[Spec | None, Refusal | None, str]:
        try:
            spec = Spec.model_validate(stored)
        except ValidationError as error:
            return None, Refusal(Reason.INVALID_SPEC, _first_fault(error)), ""
        refusal = self._admit(spec)
        if refusal is not None:
            return None, refusal, ""
        return spec, None, revision_hash(stored)

    def _child_changed(self, kind: str) -> Callable[[Key, Any, Any], None]:
        children = self._children[kind]

        def on_change(key: Key, old: Child | PodView | None, new: Child | PodView | None) -> None:
            for view in (old, new):
                if view is not None:
                    owner = (key[0], view.llm)
                    children[owner].pop(key[1], None)
                    if new is view:
                        children[owner][key[1]] = view
                    elif not children[owner]:
                        del children[owner]
                    self._changed(owner)
            if new is None and isinstance(old, PodView):
                self._phases.pop(old.uid, None)
                self._obstacles.pop(old.uid, None)

        return on_change


def _json(status: Status) -> bytes:
    return status.model_dump_json(by_alias=True, exclude_none=True).encode()


def _trimmer(kind: str) -> Callable[[dict[str, Any]], Child | PodView]:
    if kind == "Pod":
        return objects.pod
    view, digests = _VIEWS[kind], OwnedDigests(MANAGER)
    return lambda obj: view(obj, digests.of(obj))


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"spec.{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"

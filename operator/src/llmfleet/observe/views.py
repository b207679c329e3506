"""Frozen views of the objects that an LLMDeployment owns, and the snapshot of one LLMDeployment with all of them."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from llmfleet.api.deployment import Spec
from llmfleet.api.reasons import Reason
from llmfleet.api.status import Status

_PREPARING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_TAKEN_WITHIN: Final = timedelta(seconds=30)
"""Within this time after a pod was given to a node, the node says of it that it is not ready."""


@dataclass(frozen=True, slots=True)
class Child:
    """What every owned object has.

    Attributes:
        owner: uid of the controlling owner, empty where there is none.
        llm: name of that owner.
        revision: hash of the revision it belongs to, by its name; of a Service, the one its selector names.
        digest: of the fields that our field manager owns, to see drift without keeping them.
    """

    namespace: str
    name: str
    uid: str
    owner: str
    llm: str
    revision: str
    digest: str


@dataclass(frozen=True, slots=True)
class DeploymentView(Child):
    """A Deployment: what is wanted of it and whether the API server lets its pods be made.

    Attributes:
        refused: why pods could not be made (condition ReplicaFailure), else empty.
        retired_at: when it was relieved of serving, else None.
        restart: value of the annotation llmfleet.dev/restart that it last answered or was made with, else empty.
        restarted_at: when its engines were told to restart, else None.
        surge: whether a successor may start while all engines are still there.
    """

    replicas: int
    refused: str
    retired_at: datetime | None
    restart: str = ""
    restarted_at: datetime | None = None
    surge: bool = True


@dataclass(frozen=True, slots=True)
class EnginePart:
    """What of a pod, or of a template, decides how its engine runs: to see what admission made of a pod.

    Attributes:
        image: of the engine's container.
        arguments: digest of command and arguments.
        environment: digest of the environment.
        resources: what the engine's container asks for, such as ("limits.memory", "64Gi"), sorted; requests that
            equal their limit are left out, because the API server fills those in.
        containers: names of all containers, init containers included, sorted.
    """

    image: str = ""
    arguments: str = ""
    environment: str = ""
    resources: tuple[tuple[str, str], ...] = ()
    containers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RevisionView(Child):
    """A ControllerRevision: the resolved template of a revision.

    Attributes:
        number: grows with every revision of one LLMDeployment.
        packed: ``data``, packed.
        engine: what its template says of the engine.
        relabelled: whether somebody changed the labels by which it is found.
    """

    number: int
    packed: bytes
    engine: EnginePart = EnginePart()
    relabelled: bool = False

    @property
    def data(self) -> dict[str, Any]:
        """What render.objects stored, unpacked anew each time: it is rarely read, and there are thousands."""
        data: dict[str, Any] = json.loads(zlib.decompress(self.packed))
        return data


def packed(data: Mapping[str, Any]) -> bytes:
    """Pack what a ControllerRevision stores: a fifteenth of the memory that it takes as objects."""
    return zlib.compress(json.dumps(data, separators=(",", ":")).encode())


@dataclass(frozen=True, slots=True)
class Failure:
    """How an engine's container last ended.

    Attributes:
        message: its termination message, or else exit code and reason.
        at: RFC 3339 text of the moment, empty where unknown.
    """

    message: str
    at: str


@dataclass(frozen=True, slots=True)
class PodView:
    """An engine's pod.

    Attributes:
        scheduled_at: when a node was found, else None.
        unscheduled_since: since when no node is found, None where there is one.
        unready_since: since when it is not ready; of a pod that never was, when its node took it. None while ready.
        started: its startup probe has passed, since its container was last started.
        unschedulable: the scheduler's message while there is no node, else empty.
        waiting: the container's waiting reason and message, empty strings while it runs.
        probe: host:port of the launcher's own server, empty where the engine has none or no address yet.
        restarted_at: the restart that made it, None where none did.
        engine: what admission left of the template's engine.
    """

    namespace: str
    name: str
    uid: str
    llm: str
    revision: str
    ready: bool
    deleting: bool
    scheduled_at: datetime | None
    unschedulable: str
    waiting: tuple[str, str]
    running: bool
    failure: Failure | None
    restarts: int
    probe: str
    restarted_at: datetime | None = None
    engine: EnginePart = EnginePart()
    unscheduled_since: datetime | None = None
    unready_since: datetime | None = None
    started: bool = False

    @property
    def starting_since(self) -> datetime | None:
        """Since when its engine starts: from its node, or from the moment at which it ceased to be ready."""
        if self.scheduled_at is None:
            return None
        return max(self.scheduled_at, self.unready_since or self.scheduled_at)

    @property
    def lost_readiness(self) -> bool:
        """Whether its engine is up and was ready before, but is not now."""
        if self.ready or not self.started or self.scheduled_at is None or self.unready_since is None:
            return False
        # A pod that never was ready is unready from about the moment at which its node took it.
        return self.unready_since - self.scheduled_at > _TAKEN_WITHIN

    @property
    def preparing(self) -> bool:
        """Whether its node still prepares what its container needs: volumes, network, image."""
        return self.waiting[0] in _PREPARING


@dataclass(frozen=True, slots=True)
class Orders:
    """What the annotations of an LLMDeployment ask for.

    Attributes:
        restart: any text; a new one means that the engines shall restart. Empty for none.
        pause: why llmfleet shall leave the object alone; empty where it shall not.
    """

    restart: str = ""
    pause: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a spec, or an object made from it, is not accepted."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One LLMDeployment and everything that belongs to it, as last seen.

    Attributes:
        revision: hash of the revision that the spec asks for.
        refusal: why the spec cannot be carried out, else None; then ``spec`` is None.
        phases: what the launcher of a pod last said it does, by pod uid.
        orders: what its annotations ask for.
        obstacles: why a pod does not get its volumes or sandbox, in the words of the Event that tells it, by pod uid.
        relieved: since when revisions serve no more, as the last plan said; empty in a new process.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    deleting: bool
    spec: Spec | None
    refusal: Refusal | None
    revision: str
    status: Status | None
    service: Child | None
    deployments: Mapping[str, DeploymentView]
    budgets: Mapping[str, Child]
    revisions: Mapping[str, RevisionView]
    pods: tuple[PodView, ...]
    phases: Mapping[str, str]
    orders: Orders = Orders()
    obstacles: Mapping[str, str] = field(default_factory=dict)
    relieved: Mapping[str, datetime] = field(default_factory=dict)

    def pods_of(self, revision: str) -> tuple[PodView, ...]:
        """Return the pods of one revision that are not on their way out."""
        return tuple(pod for pod in self.pods if pod.revision == revision and not pod.deleting)

    def ready(self, revision: str) -> int:
        """Return how many engines of one revision are ready to answer."""
        return sum(pod.ready for pod in self.pods_of(revision))

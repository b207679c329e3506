"""The fleet that is measured: N LLMDeployments, spread over namespaces as fleets are, and the objects made for them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from llmfleet.api.deployment import Spec
from llmfleet.api.names import API_VERSION, KIND, STATUS_MANAGER
from llmfleet.control.settings import Settings
from llmfleet.control.summary import summarise
from llmfleet.decide.decision import decide
from llmfleet.decide.revision import revision_hash
from llmfleet.kube.client import Client
from llmfleet.kube.resources import RESOURCES, Resource
from llmfleet.kube.session import Connection, open_session
from llmfleet.observe.views import Snapshot
from llmfleet.render import objects

Object = dict[str, Any]
T = TypeVar("T")

NAMESPACE_MODELS: Final = 50
"""LLMDeployments of one namespace."""
IN_FLIGHT: Final = 32
"""Requests under way at once: the best of 8, 16, 32 and 64 for the bare loop."""
_NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace")
"""The operator has no business with them, so its client does not know them."""
CHILDREN: Final = ("ControllerRevision", "Service", "Deployment", "PodDisruptionBudget")


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Client]:
    """Lend a client of the cluster that a kubeconfig names."""
    connection = Connection.load(kubeconfig, None)
    async with open_session(connection) as session:
        yield Client(session, connection.server, in_flight=IN_FLIGHT)


def namespaces(count: int) -> list[str]:
    """Return the namespaces that a fleet of so many models is spread over."""
    return [f"team-{number}" for number in range(-(-count // NAMESPACE_MODELS))]


def models(count: int) -> list[tuple[str, str]]:
    """Return namespace and name of every model."""
    return [(f"team-{number // NAMESPACE_MODELS}", f"model-{number}") for number in range(count)]


def spec(sequences: int = 256) -> Object:
    """Return the spec of a model as a team writes it; another number makes another revision."""
    return {
        "model": {"source": "hf://meta-llama/Llama-3.1-8B-Instruct", "tokenSecret": {"name": "hf", "key": "token"}},
        "engine": {"maxModelLen": 8192, "maxNumSeqs": sequences},
        "resources": {"cpu": "8", "memory": "64Gi"},
    }


def manifest(namespace: str, name: str, sequences: int = 256) -> Object:
    """Return an LLMDeployment."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec(sequences),
    }


async def each(things: Iterable[T], act: Callable[[T], Awaitable[object]], in_flight: int = IN_FLIGHT) -> None:
    """Do something to everything, so many at once; the first failure ends it."""
    waiting = iter(things)

    async def take() -> None:
        for thing in waiting:
            await act(thing)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(take())


async def create(client: Client, count: int) -> dict[tuple[str, str], str]:
    """Make namespaces and LLMDeployments; return the uids."""
    uids: dict[tuple[str, str], str] = {}

    async def make_namespace(name: str) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await client._call("create", "POST", _NAMESPACES, _NAMESPACES.path(), body=body)

    async def make_model(key: tuple[str, str]) -> None:
        uids[key] = (await client.apply(manifest(*key), manager="bench"))["metadata"]["uid"]

    await each(namespaces(count), make_namespace)
    await each(models(count), make_model)
    return uids


def rendered(uids: dict[tuple[str, str], str]) -> Iterator[list[Object]]:
    """Return what is written for each model: its children and a status, the very objects that the operator makes."""
    parsed, revision, images = Spec.model_validate(spec()), revision_hash(spec()), Settings().images
    for (namespace, name), uid in uids.items():
        owner = objects.Owner(namespace, name, uid)
        data = objects.revision_data(owner, revision, parsed, images)
        yield [
            objects.controller_revision(owner, revision, 1, data),
            objects.service(owner, revision),
            objects.deployment(owner, revision, data, replicas=1, retired_at=None),
            objects.disruption_budget(owner, revision, parsed),
            {**_identity(namespace, name), "status": _status(namespace, name, uid, parsed, revision)},
        ]


def _identity(namespace: str, name: str) -> Object:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"namespace": namespace, "name": name}}


def _status(namespace: str, name: str, uid: str, parsed: Spec, revision: str) -> Object:
    now = datetime.now(UTC)
    snapshot = Snapshot(
        namespace=namespace,
        name=name,
        uid=uid,
        generation=1,
        deleting=False,
        spec=parsed,
        refusal=None,
        revision=revision,
        status=None,
        service=None,
        deployments={},
        budgets={},
        revisions={},
        pods=(),
        phases={},
    )
    status = summarise(snapshot, decide(snapshot, now), None, outdated=False, now=now)
    return status.model_dump(by_alias=True, exclude_none=True)


async def write(client: Client, made: Object) -> None:
    """Write one object as the operator does."""
    if made["kind"] == KIND:
        await client.apply(made, manager=STATUS_MANAGER, subresource="status")
    else:
        await client.apply(made, manager="llmfleet")


async def count(client: Client, kind: str) -> int:
    """Count the objects of a kind in all namespaces, without fetching them."""
    async for page in client.pages(RESOURCES[kind], limit=1, metadata_only=True):
        return len(page.get("items") or ()) + int(page["metadata"].get("remainingItemCount") or 0)
    return 0

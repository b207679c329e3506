"""What is asked of the API server and written to it, plan by plan, against one that is played."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import timedelta
from typing import Any, cast

import pytest

from llmfleet.control.cache import Cache, Key
from llmfleet.control.executor import Executor, Overlooked
from llmfleet.control.memory import Memory
from llmfleet.decide.decision import decide
from llmfleet.decide.revision import revision_hash
from llmfleet.kube.client import Client
from llmfleet.kube.errors import Forbidden, NotFound
from llmfleet.kube.resources import Ref
from llmfleet.render import objects
from llmfleet.render.profiles import Images
from tests.unit.worlds import NOW, UID, stored_spec

KEY: Key = ("team", "chat")
REVISION = revision_hash(stored_spec())
HIDDEN = {"app.kubernetes.io/managed-by": "somebody"}


class Api:
    """Stores what is applied, all of it owned by its manager."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], dict[str, Any]] = {}
        self.asked: list[str] = []
        self.version = 1
        self.refusing = ""

    async def apply(self, obj: Mapping[str, Any], *, manager: str, **_: object) -> dict[str, Any]:
        if obj["kind"] == self.refusing:
            raise Forbidden("exceeded quota")
        self.version += 1
        name = obj["metadata"]["name"]
        self.asked.append(f"apply {obj['kind']}")
        own = {f"f:{part}": {} for part in ("labels", "annotations", "ownerReferences") if part in obj["metadata"]}
        fields = {f"f:{part}": {} for part in obj if part not in ("apiVersion", "kind", "metadata")}
        entry = {"manager": manager, "operation": "Apply", "fieldsV1": {**fields, "f:metadata": own}}
        metadata = {**obj["metadata"], "uid": name, "resourceVersion": str(self.version), "managedFields": [entry]}
        stored = self.stored[obj["kind"], name] = {**obj, "metadata": metadata}
        return stored

    async def get(self, ref: Ref) -> dict[str, Any]:
        self.asked.append(f"get {ref.resource.kind}")
        if ref.resource.kind == "LLMDeployment":
            return {"metadata": {"uid": UID}}
        if (ref.resource.kind, ref.name) not in self.stored:
            raise NotFound(f"{ref} not found")
        return self.stored[ref.resource.kind, ref.name]

    get_metadata = get


class Process:
    """One life of the operator; another one begins with what is stored, as far as its labels show it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        client = cast("Client", api)
        self.cache = Cache(client, None, lambda _: None, lambda _: None)
        for obj in api.stored.values():
            if obj["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "llmfleet":
                self.cache.reflectors[obj["kind"]].absorb(obj)
        self.executor = Executor(client, self.cache, Images("gpu", "cpu", "sim"))
        self.memory, self.now, self.version = Memory(), NOW, 0

    def lose(self, kind: str) -> None:
        """Somebody deletes an object, and the watch tells it."""
        del self.api.stored[kind, NAMES[kind]]
        self.api.version += 1
        self.cache.reflectors[kind]._drop(("team", NAMES[kind]), self.api.version)

    def edit(self, kind: str, path: tuple[str | int, ...], value: object) -> None:
        """Somebody changes a field of an object, and the watch tells it."""
        edited = deepcopy(self.api.stored[kind, NAMES[kind]])
        place: Any = edited
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        owned: dict[str, Any] = {}
        for part in reversed(path):
            owned = {'k:{"name":"engine"}' if isinstance(part, int) else f"f:{part}": owned}
        metadata = edited["metadata"]
        metadata["managedFields"].append({"manager": "kubectl-edit", "fieldsV1": owned})
        self.api.version += 1
        metadata["resourceVersion"] = str(self.api.version)
        self.api.stored[kind, NAMES[kind]] = edited
        self.cache.reflectors[kind].absorb(edited)

    def ask_for(self, **fields: object) -> None:
        """Somebody changes the spec."""
        self.version += 1
        metadata = {"namespace": "team", "name": "chat", "uid": UID, "generation": self.version}
        self.cache.put({"metadata": {**metadata, "resourceVersion": str(self.version)}, "spec": stored_spec(**fields)})

    def ask(self, **annotations: str) -> None:
        self.version += 1
        noted = {f"llmfleet.dev/{name}": value for name, value in annotations.items()}
        metadata = {"namespace": "team", "name": "chat", "uid": UID, "generation": 1, "annotations": noted}
        self.cache.put({"metadata": {**metadata, "resourceVersion": str(self.version)}, "spec": stored_spec()})

    async def reconcile(self) -> list[str]:
        """Carry out one plan; return what was asked of the API server."""
        before = len(self.api.asked)
        await self.carry_out()
        return self.api.asked[before:]

    async def carry_out(self) -> list[tuple[str, str]]:
        """Carry out one plan; return what was done as it is told."""
        snapshot = self.cache.snapshot(KEY)
        assert snapshot is not None
        outcome = await self.executor.carry_out(snapshot, decide(snapshot, self.now), self.memory)
        return [(step.reason, step.message) for step in outcome.done]


async def started(api: Api, **annotations: str) -> Process:
    process = Process(api)
    process.ask(**annotations)
    await process.reconcile()
    return process


async def test_a_new_model_costs_one_look_and_its_template_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(render: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            made.append(render.__name__)
            return render(*arguments, **keywords)

        return call

    for render in (objects.revision_data, objects.deployment):
        monkeypatch.setattr(objects, render.__name__, counted(render))
    process = await started(Api())
    kinds = ("ControllerRevision", "Service", "Deployment", "PodDisruptionBudget")
    assert process.api.asked == ["apply ControllerRevision", "get Service", *(f"apply {kind}" for kind in kinds[1:])]
    assert await process.reconcile() == []
    assert made == ["revision_data", "deployment"]


async def restarted(api: Api) -> Process:
    """A model whose engines were restarted an hour ago, and whose Deployment's label somebody has changed since."""
    process = await started(api)
    process.ask(restart="once")
    await process.reconcile()
    there = api.stored["Deployment", f"chat-{REVISION}"]
    there["metadata"]["labels"] = {**there["metadata"]["labels"], **HIDDEN}
    process.now += timedelta(hours=1)
    return process


async def test_a_deployment_that_a_new_process_does_not_see_is_looked_for_and_keeps_its_engines() -> None:
    api = Api()
    before = await restarted(api)
    template = api.stored["Deployment", f"chat-{REVISION}"]["spec"]["template"]
    assert "llmfleet.dev/restarted-at" in template["metadata"]["annotations"]
    process = Process(api)
    process.now = before.now
    process.ask(restart="once")
    with pytest.raises(Overlooked, match="Deployment chat-"):
        await process.reconcile()
    assert await process.reconcile() == ["apply Deployment"]
    there = api.stored["Deployment", f"chat-{REVISION}"]
    assert there["spec"]["template"] == template
    assert there["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "llmfleet"


async def test_what_is_gone_indeed_is_made_again() -> None:
    api = Api()
    await started(api)
    del api.stored["Deployment", f"chat-{REVISION}"]
    process = Process(api)
    process.ask()
    assert await process.reconcile() == ["get Deployment", "apply Deployment"]


NAMES = {
    "Deployment": f"chat-{REVISION}",
    "PodDisruptionBudget": f"chat-{REVISION}",
    "Service": "chat",
}


@pytest.mark.parametrize("kind", NAMES)
async def test_what_somebody_deletes_is_told_as_repaired(kind: str) -> None:
    process = await started(Api())
    await process.reconcile()
    process.lose(kind)
    assert await process.carry_out() == [("Repaired", f"{kind} {NAMES[kind]} was deleted and is made again")]
    assert await process.carry_out() == []


@pytest.mark.parametrize(
    ("kind", "path", "value", "told"),
    [
        ("Deployment", ("spec", "replicas"), 4, "spec.replicas"),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "image"), "x", "[engine].image"),
        ("PodDisruptionBudget", ("spec", "maxUnavailable"), 5, "spec.maxUnavailable"),
        ("Service", ("spec", "selector", "llmfleet.dev/revision"), "other", "spec.selector.llmfleet.dev/revision"),
    ],
    ids=["size", "image", "budget", "hijacked traffic"],
)
async def test_what_somebody_changes_is_told_as_repaired_with_the_field_and_who_it_was(
    kind: str, path: tuple[str | int, ...], value: object, told: str
) -> None:
    process = await started(Api())
    process.edit(kind, path, value)
    ((reason, message),) = await process.carry_out()
    assert reason == "Repaired"
    assert message.startswith(f"{kind} {NAMES[kind]}: ")
    assert message.endswith(f"{told} put back (changed by kubectl-edit)")
    assert await process.carry_out() == []


async def test_what_the_spec_asks_for_is_not_told_as_repaired_nor_what_a_new_process_finds() -> None:
    api = Api()
    process = await started(api)
    process.ask_for(replicas=3, disruption={"maxUnavailable": 2})
    assert [reason for reason, _ in await process.carry_out()] == ["Scaled", "Scaled"]
    process.ask_for(replicas=3, disruption={"maxUnavailable": 1})
    assert [reason for reason, _ in await process.carry_out()] == ["Adjusted"]
    assert {reason for reason, _ in await process.carry_out()} == set()
    other = Process(api)
    other.ask_for(replicas=3, disruption={"maxUnavailable": 2})
    assert [reason for reason, _ in await other.carry_out()] == ["Adjusted"]


async def test_what_the_api_server_refused_before_is_not_told_as_made_again() -> None:
    api = Api()
    api.refusing = "Deployment"
    process = await started(api)
    api.refusing = ""
    assert {reason for reason, _ in await process.carry_out()} == {"NewRevision"}

"""The Kubernetes access layer against a real API server. How it bears a misbehaving one: tests/unit/kube."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest

from llmfleet.kube import errors, resources
from llmfleet.kube.client import Client
from llmfleet.kube.events import Recorder, Regarding
from llmfleet.kube.lease import Lease
from llmfleet.kube.ownership import applied_fields, digest, owned_fields
from llmfleet.kube.reflector import Reflector
from llmfleet.kube.resources import RESOURCES, Ref, Resource
from llmfleet.kube.session import Connection, Token, open_session
from tests.api.wire import Wire
from tests.cluster import Cluster
from tests.unit.kube import ownership_cases

pytestmark = pytest.mark.api

MANAGER = "llmfleet"

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")

Object = dict[str, Any]


@pytest.fixture(autouse=True)
def _config_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may make them and nobody minds: what these tests play with, and the operator cannot touch."""
    monkeypatch.setattr(resources, "RESOURCES", {**RESOURCES, "ConfigMap": CONFIG_MAPS})


@pytest.fixture
def connection(cluster: Cluster) -> Connection:
    return Connection.from_kubeconfig(cluster.kubeconfig)


@pytest.fixture
async def client(connection: Connection) -> AsyncIterator[Client]:
    async with open_session(connection) as session:
        yield Client(session, connection.server)


@pytest.fixture
async def wire(connection: Connection) -> AsyncIterator[Wire]:
    async with Wire(connection.server).strung() as strung:
        yield strung


@pytest.fixture
async def wired(connection: Connection, wire: Wire) -> AsyncIterator[Client]:
    """A client whose connections go through the wire."""
    through = dataclasses.replace(connection, server=wire.url)
    async with open_session(through) as session:
        yield Client(session, through.server)


async def until(condition: Callable[[], object], what: str, *, timeout_s: float = 20.0) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - what another process does has no event here
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"waited {timeout_s:g} s for {what}")


@contextlib.asynccontextmanager
async def running(coroutine: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(coroutine)
    try:
        yield task
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


def config_map(namespace: str, name: str = "x", **data: str) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": {"app": "test"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


# Client


async def test_apply_creates_changes_and_drops_what_is_not_applied_any_more(client: Client, namespace: str) -> None:
    ref = Ref.to("ConfigMap", "x", namespace)
    await client.apply(config_map(namespace, a="1", b="1"), manager=MANAGER)
    await client.apply(config_map(namespace, c="1"), manager="other")
    await client.apply(config_map(namespace, a="2"), manager=MANAGER)
    assert (await client.get(ref))["data"] == {"a": "2", "c": "1"}


async def test_another_managers_field_is_refused_or_taken(client: Client, namespace: str) -> None:
    await client.apply(config_map(namespace, a="1"), manager="other")
    with pytest.raises(errors.Conflict, match=r'conflict with "other": \.data\.a'):
        await client.apply(config_map(namespace, a="2"), manager=MANAGER, force=False)
    stored = await client.apply(config_map(namespace, a="2"), manager=MANAGER)
    assert stored["data"] == {"a": "2"}


async def test_writes_can_be_guarded(client: Client, namespace: str) -> None:
    ref = Ref.to("ConfigMap", "x", namespace)
    first = await client.create(config_map(namespace, a="1"), manager=MANAGER)
    uid = first["metadata"]["uid"]
    with pytest.raises(errors.AlreadyExists):
        await client.create(config_map(namespace, a="1"), manager=MANAGER)
    await client.replace({**first, "data": {"a": "2"}}, manager=MANAGER)
    with pytest.raises(errors.Conflict):
        await client.replace({**first, "data": {"a": "3"}}, manager=MANAGER)
    with pytest.raises(errors.Conflict):
        await client.delete(ref, uid=str(uuid4()))
    await client.delete(ref, uid=uid)
    with pytest.raises(errors.NotFound):
        await client.get(ref)
    with pytest.raises(errors.NotFound):
        await client.delete(ref)


async def test_a_bad_object_names_its_fields(client: Client, namespace: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "UPPER", "namespace": namespace},
        "spec": {"ports": [{"port": 0, "protocol": "TCP"}]},
    }
    with pytest.raises(errors.Invalid) as caught:
        await client.apply(service, manager=MANAGER)
    assert {"metadata.name", "spec.ports[0].port"} <= {cause.field for cause in caught.value.causes}
    with pytest.raises(errors.Invalid, match=r"\.spec\.replica: field not declared in schema"):
        await client.apply({**service, "spec": {"replica": 1}}, manager=MANAGER)


async def test_a_kind_that_is_not_installed_differs_from_an_object_that_is_not_there(
    client: Client, namespace: str
) -> None:
    with pytest.raises(errors.NotFound) as object_missing:
        await client.get(Ref.to("ConfigMap", "none", namespace))
    with pytest.raises(errors.NotFound) as kind_missing:
        await client.get(Ref(Resource("llmfleet.dev", "v1alpha1", "absents", "Absent"), namespace, "none"))
    assert (object_missing.value.reason, kind_missing.value.reason) == ("NotFound", "")


async def test_metadata_comes_without_content(client: Client, namespace: str) -> None:
    await client.create(config_map(namespace, a="1"), manager=MANAGER)
    got = await client.get_metadata(Ref.to("ConfigMap", "x", namespace))
    assert got["metadata"]["name"] == "x"
    assert "data" not in got
    maps = client.list(CONFIG_MAPS, namespace, label_selector="app=test", metadata_only=True)
    listed = [item async for item in maps]
    assert [item["metadata"]["name"] for item in listed] == ["x"]
    assert "data" not in listed[0]


async def test_lists_are_paged_and_selected(client: Client, namespace: str) -> None:
    names = [f"x{number}" for number in range(5)]
    for name in names:
        await client.create(config_map(namespace, name), manager=MANAGER)
    maps = CONFIG_MAPS
    pages = [page async for page in client.pages(maps, namespace, label_selector="app=test", limit=2)]
    assert [item["metadata"]["name"] for page in pages for item in page["items"]] == names
    assert [len(page["items"]) for page in pages] == [2, 2, 1]
    assert len({page["metadata"]["resourceVersion"] for page in pages}) == 1


async def test_a_service_account_gets_exactly_what_it_may(
    connection: Connection, cluster: Cluster, namespace: str
) -> None:
    token = cluster.kubectl("create", "token", "default", "--namespace", namespace).strip()
    cluster.kubectl("create", "role", "r", "--verb=get", "--resource=pods", "--namespace", namespace)
    cluster.kubectl(
        "create", "rolebinding", "r", "--role=r", f"--serviceaccount={namespace}:default", "--namespace", namespace
    )
    anonymous = _without_certificate(cluster)
    async with open_session(dataclasses.replace(anonymous, token=Token(token))) as session:
        account = Client(session, connection.server)

        async def allowed() -> bool:
            with contextlib.suppress(errors.NotFound):
                await account.get(Ref.to("Pod", "none", namespace))
            return True

        # RBAC reads its own caches: the binding counts a moment later.
        async with asyncio.timeout(10):
            while True:
                try:
                    await allowed()
                    break
                except errors.Forbidden:
                    await asyncio.sleep(0.05)
        with pytest.raises(errors.Forbidden, match="cannot get resource"):
            await account.get(Ref.to("Service", "none", namespace))
    async with open_session(dataclasses.replace(anonymous, token=Token("wrong"))) as session:
        with pytest.raises(errors.Unauthorized):
            await Client(session, connection.server).get(Ref.to("Pod", "none", namespace))


def _without_certificate(cluster: Cluster) -> Connection:
    """Make a connection that trusts the cluster's CA and shows no certificate."""
    path = cluster.kubeconfig.with_name(f"anonymous-{uuid4().hex[:6]}.json")
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c"}}],
                "clusters": [
                    {"name": "c", "cluster": {"server": cluster.server, "certificate-authority": str(cluster.ca)}}
                ],
            }
        )
    )
    try:
        return Connection.from_kubeconfig(path)
    finally:
        path.unlink()


# Reflector


async def test_the_copy_follows_through_cut_and_silent_connections(
    client: Client, wired: Client, wire: Wire, namespace: str
) -> None:
    await client.create(config_map(namespace, "stays", a="1"), manager=MANAGER)
    await client.create(config_map(namespace, "goes", a="1"), manager=MANAGER)
    changes: list[tuple[str, Any, Any]] = []
    reflector: Reflector[Any] = Reflector(
        wired,
        CONFIG_MAPS,
        namespaces=[namespace],
        label_selector="app=test",
        trim=lambda obj: obj.get("data"),
        on_change=lambda key, old, new: changes.append((key[1], old, new)),
        silence_s=2.0,
        backoff_s=(0.05, 0.5),
    )
    async with running(reflector.run()):
        await until(reflector.synced.is_set, "the first listing")
        assert reflector.store == {(namespace, "goes"): {"a": "1"}, (namespace, "stays"): {"a": "1"}}
        await client.apply(config_map(namespace, "stays", a="2"), manager=MANAGER)
        await until(lambda: changes[-1] == ("stays", {"a": "1"}, {"a": "2"}), "a change")

        wire.cut()
        await client.delete(Ref.to("ConfigMap", "goes", namespace))
        await until(lambda: changes[-1] == ("goes", {"a": "1"}, None), "a deletion during a cut")

        wire.freeze()
        await client.create(config_map(namespace, "comes", a="1"), manager=MANAGER)
        await until(lambda: isinstance(reflector.last_error, errors.Unreachable), "the silence to be noticed")
        assert (namespace, "comes") not in reflector.store
        wire.thaw()
        await until(lambda: (namespace, "comes") in reflector.store, "what was made during the silence")

        seen = len(changes)
        stays = Ref.to("ConfigMap", "stays", namespace)
        await client.patch_json(
            stays, [{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}], manager=MANAGER
        )
        await client.patch_json(
            stays, [{"op": "replace", "path": "/metadata/labels/app", "value": "left"}], manager=MANAGER
        )
        await until(lambda: len(changes) > seen, "leaving the selection to be a deletion")
        assert changes[seen:] == [("stays", {"a": "2"}, None)]


async def test_a_watch_ends_when_it_was_to_end(client: Client, namespace: str) -> None:
    (page,) = [page async for page in client.pages(CONFIG_MAPS, namespace)]
    version = page["metadata"]["resourceVersion"]
    async with asyncio.timeout(20):
        events = client.watch(CONFIG_MAPS, namespace, resource_version=version, timeout_s=1)
        kinds = [event.get("type", "CONNECTED") async for event in events]
    assert kinds[0] == "CONNECTED"


# Lease


def lease(client: Client, namespace: str, identity: str) -> Lease:
    return Lease(client, "leader", namespace, identity, duration_s=4, renew_deadline_s=2.5, retry_s=0.2)


async def test_a_standby_takes_over_at_once_from_one_who_gives_up(client: Client, namespace: str) -> None:
    first, second = lease(client, namespace, "first"), lease(client, namespace, "second")
    await first.acquire()
    acquiring = asyncio.create_task(second.acquire())
    await asyncio.sleep(1)
    assert first.holds()
    assert not second.holds()
    given_up = time.monotonic()
    await first.release()
    await until(second.holds, "the takeover")
    assert time.monotonic() - given_up < 2
    await acquiring
    spec = (await client.get(Ref.to("Lease", "leader", namespace)))["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("second", 1)
    await second.release()


async def test_one_who_is_cut_off_stops_before_another_starts(
    client: Client, wired: Client, wire: Wire, namespace: str
) -> None:
    cut_off, standby = lease(wired, namespace, "cut-off"), lease(client, namespace, "standby")
    await cut_off.acquire()
    acquiring = asyncio.create_task(standby.acquire())
    await asyncio.sleep(0.5)
    wire.freeze()
    frozen = time.monotonic()
    lost_at = 0.0
    while not standby.holds():
        assert time.monotonic() - frozen < 20, "nobody took over"
        if not lost_at and cut_off.lost.is_set():
            lost_at = time.monotonic()
        await asyncio.sleep(0.01)
        assert not (cut_off.holds() and standby.holds()), "two leaders"
    assert 0 < lost_at - frozen < 4
    assert time.monotonic() - frozen < 4 + 2
    await acquiring
    await standby.release()
    wire.thaw()
    await cut_off.release()


# Events


async def test_events_show_up_under_their_object(client: Client, cluster: Cluster, namespace: str) -> None:
    uid = (await client.create(config_map(namespace), manager=MANAGER))["metadata"]["uid"]
    about = Regarding("v1", "ConfigMap", namespace, "x", uid)
    recorder = Recorder(client, instance="test-0")
    now = dt.datetime.now(dt.UTC)
    async with running(recorder.run()):
        recorder.event(about, "Warning", "Stalled", "engine fails: no GPU", now=now)
        recorder.event(about, "Warning", "Stalled", "engine fails: no GPU", now=now)
        await recorder.drain(10)
        recorder.event(about, "Warning", "Stalled", "engine fails: no GPU", now=now + dt.timedelta(minutes=3))
        await recorder.drain(10)
    assert recorder.dropped == 0
    (event,) = [item async for item in client.list(RESOURCES["Event"], namespace) if item["reason"] == "Stalled"]
    assert event["count"] == 3
    described = await asyncio.to_thread(cluster.kubectl, "describe", "configmap", "x", "--namespace", namespace)
    assert "engine fails: no GPU" in described


# Ownership


async def test_digests_differ_exactly_when_an_owned_field_drifted(client: Client, namespace: str) -> None:
    owner = (await client.create(config_map(namespace, "owner"), manager=MANAGER))["metadata"]
    wrong = []
    for obj, case, drifted, change in ownership_cases.CASES:
        # An owner that does not exist would have the garbage collector take the object away.
        reference = {**obj["metadata"]["ownerReferences"][0], "apiVersion": "v1", "kind": "ConfigMap"}
        reference |= {"name": owner["name"], "uid": owner["uid"]}
        name = f"{obj['metadata']['name']}-{uuid4().hex[:6]}"
        metadata = {**obj["metadata"], "namespace": namespace, "name": name, "ownerReferences": [reference]}
        applied = {**obj, "metadata": metadata}
        live = await ownership_cases.run(client, applied, change)
        if (digest(owned_fields(live)) != digest(applied_fields(applied))) is not drifted:
            wrong.append(f"{obj['kind']}: {case}")
    assert not wrong

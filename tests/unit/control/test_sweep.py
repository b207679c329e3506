"""When the LLMDeployments are compared with what there is, and what is made of the difference."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import pytest

from llmfleet.control import sweep as module
from llmfleet.control.cache import Cache, Key
from llmfleet.control.sweep import Sweep
from llmfleet.kube.client import Client
from llmfleet.kube.errors import Forbidden, NotFound
from llmfleet.kube.resources import Ref
from tests.unit.kube.fake_api import until


def model(name: str, version: int, namespace: str = "a") -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": metadata | {"generation": 1}, "spec": {"model": {"source": "hf://org/model"}}}


class Api:
    """Lists models of namespaces, of which some refuse."""

    def __init__(self, *models: dict[str, Any], refusing: tuple[str, ...] = ()) -> None:
        self.models = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in models}
        self.refusing = refusing
        self.listed = 0
        self.got: list[str] = []

    async def list(self, _: object, namespace: str | None, **__: object) -> AsyncIterator[dict[str, Any]]:
        self.listed += 1
        if namespace in self.refusing:
            raise Forbidden("llmdeployments is forbidden", status=403)
        for (where, _name), one in tuple(self.models.items()):
            if namespace in (None, where):
                yield one

    async def get(self, ref: Ref) -> dict[str, Any]:
        self.got.append(ref.name)
        if (found := self.models.get((str(ref.namespace), ref.name))) is None:
            raise NotFound("gone", status=404)
        return found


def known(*models: dict[str, Any], changed: Callable[[Key], None] = lambda _: None) -> Cache:
    cache = Cache(cast("Client", None), None, changed, lambda _: None)
    for one in models:
        cache.put(one)
    return cache


def sweep(api: Api, cache: Cache, *namespaces: str) -> Sweep:
    return Sweep(cast("Client", api), cache, namespaces)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ON_ITS_WAY_S", 0.01)
    monkeypatch.setattr(module, "_AGAIN_S", 0.01)
    monkeypatch.setattr(module, "_EMPTY_S", (0.01, 0.02))


@pytest.mark.parametrize("annotated", [True, False])
async def test_an_annotation_that_was_never_told_is_found(annotated: bool) -> None:  # noqa: FBT001
    api, cache = Api(model("chat", 5 + annotated)), known(model("chat", 5))
    api.models["a", "chat"]["metadata"]["annotations"] = {"llmfleet.dev/pause": "wait"}
    made = sweep(api, cache)
    await made.compare()
    snapshot = cache.snapshot(("a", "chat"))
    assert snapshot is not None
    assert snapshot.orders.pause == ("wait" if annotated else "")
    assert (made.healed, made.distrust.is_set(), api.got) == (annotated, annotated, ["chat"] * annotated)


async def test_what_is_told_meanwhile_is_not_asked_for() -> None:
    """A whole fleet whose statuses were just written, so that their echoes are on their way."""
    names = [f"m{number}" for number in range(500)]
    api, cache = Api(*(model(name, 9) for name in names)), known(*(model(name, 5) for name in names))
    made = sweep(api, cache)
    comparing = asyncio.create_task(made.compare())
    await until(lambda: api.listed, "the listing")
    for name in names[1:]:
        cache.put(model(name, 9))
    del api.models["a", names[0]]
    cache.drop(("a", names[0]), f"uid-{names[0]}", 10)
    await comparing
    assert (made.healed, made.distrust.is_set(), api.got) == (0, False, [])


async def test_when_much_was_missed_it_is_left_to_whoever_begins_anew() -> None:
    names = [f"m{number}" for number in range(500)]
    made = sweep(api := Api(*(model(name, 9) for name in names)), known(*(model(name, 5) for name in names)))
    await made.compare()
    assert made.distrust.is_set()
    assert 0 < len(api.got) <= 20


async def test_a_namespace_that_refuses_loses_nothing_and_keeps_nobody_from_the_others() -> None:
    api = Api(model("new", 7, "b"), refusing=("a",))
    cache = known(model("serves", 5, "a"), model("gone", 5, "b"))
    sweeping = sweep(api, cache, "a", "b")
    await sweeping.compare()
    assert cache.uids() == {("a", "serves"): "uid-serves", ("b", "new"): "uid-new"}
    assert sweeping.refused == {"a"}, "who looks after rights is told"


async def listings(api: Api, cache: Cache, during_s: float, synced: asyncio.Event) -> int:
    running = asyncio.create_task(sweep(api, cache).run(synced))
    await asyncio.sleep(during_s)  # what is counted is what happens in this time
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return api.listed


@pytest.mark.parametrize(
    ("models", "expected"), [((), range(2, 100)), ((model("chat", 5),), range(1))], ids=["nothing", "a fleet"]
)
async def test_a_start_costs_no_listing_more_than_its_own(
    models: tuple[Mapping[str, Any], ...], expected: range
) -> None:
    """Everything is told while the first wait is under way, as after a start."""
    api, cache, synced = Api(), known(), asyncio.Event()
    counting = asyncio.create_task(listings(api, cache, 0.3, synced))
    await asyncio.sleep(0.1)
    assert api.listed == 0, "what is not listed yet cannot be compared"
    synced.set()
    await asyncio.sleep(0)
    for one in models:
        cache.put(one)
    assert await counting in expected

"""From the cluster to the routing."""

import base64
import hashlib
from typing import Any

from llmfleet.gateway import world
from llmfleet.gateway.routing import WHOLE


def route(name: str = "chat", *, made: str = "2026-11-21T10:00:00Z", **spec: Any) -> world.Route:
    full = {"model": name, "gateways": ["default/door"], "arms": [{"revision": "one", "weight": 100}], **spec}
    return world.route({"metadata": {"namespace": "default", "name": name, "creationTimestamp": made}, "spec": full})


def pod(name: str, revision: str = "one", *, ready: bool = True, leaving: bool = False) -> world.Pod:
    metadata: dict[str, Any] = {
        "namespace": "default",
        "name": name,
        "uid": name,
        "labels": {"llmfleet.dev/name": "chat", "llmfleet.dev/revision": revision},
    }
    if leaving:
        metadata["deletionTimestamp"] = "2026-11-21T10:00:00Z"
    status = {
        "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [{"name": "engine", "started": True}],
    }
    return world.pod({"metadata": metadata, "status": status})


def test_ready_engines_serve_and_those_on_their_way_out_finish() -> None:
    pods = [pod("a"), pod("b", ready=False), pod("c", ready=False, leaving=True), pod("d", "two")]
    found = world.routing("default/door", 1, [route()], pods, None).models["chat"]
    assert [(engine.uid, engine.leaving) for engine in found.stable.engines] == [("a", False), ("c", True)]
    assert found.canary.engines == ()
    assert found.share == 0


def test_the_canary_gets_its_share_and_each_pod_its_part_of_what_an_engine_takes() -> None:
    arms = [{"revision": "one", "weight": 90, "atOnce": 10}, {"revision": "two", "weight": 10, "atOnce": 10}]
    found = world.routing("default/door", 2, [route(arms=arms)], [pod("d", "two")], None).models["chat"]
    assert found.share == WHOLE // 10
    assert [engine.uid for engine in found.canary.engines] == ["d"]
    assert found.stable.at_once == 6


def test_of_two_routes_for_one_model_the_older_has_it() -> None:
    older, newer = route("b", model="m", made="2026-11-20T10:00:00Z"), route("a", model="m")
    found = world.routing("default/door", 1, [newer, older], [], None)
    assert found.models["m"].route == ("default", "b")


def test_routes_of_other_gateways_and_unreadable_ones_are_left_out() -> None:
    odd = world.route({"metadata": {"namespace": "default", "name": "odd"}, "spec": {"arms": 3}})
    found = world.routing("default/door", 1, [route(gateways=["default/other"]), odd], [], None)
    assert found.models == {}


def test_keys_are_known_by_their_hash_only() -> None:
    def secret(**values: str) -> dict[str, Any]:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        return {"metadata": {"name": "acme", "annotations": {"llmfleet.dev/models": "chat, other"}}, "data": data}

    digest = hashlib.sha256(b"sk-1").hexdigest()
    found = world.tenant(secret(plain="sk-1\n", hashed=f"sha256:{digest.upper()}", empty=""))
    assert found.keys == {digest}
    assert found.models == {"chat", "other"}
    assert "sk-1" not in repr(found)

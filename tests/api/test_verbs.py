"""What a person tells a running object: restart, pause, scale, delete; in every phase that it can be in."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.kubelet import PlayedNodes
from tests.cluster import Cluster
from tests.models import Models
from tests.operator_process import OperatorProcess
from tests.wait import eventually

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

CHILDREN = "deployments,replicasets,services,poddisruptionbudgets,controllerrevisions"
WHOLE_NODE = {"engine": {"tensorParallelSize": 8}}
"""One engine takes all GPUs of a played node."""


@pytest.fixture
def models(crds: Cluster, namespace: str) -> Models:
    return Models(crds, namespace)


def annotate(models: Models, *annotations: str) -> None:
    models.kubectl("annotate", "llm/chat", "--overwrite", *(f"llmfleet.dev/{text}" for text in annotations))


def engines(models: Models) -> dict[str, bool]:
    """Engines that are not on their way out by uid, and whether each is ready."""
    there = [pod for pod in models.items("pods") if "deletionTimestamp" not in pod["metadata"]]
    return {pod["metadata"]["uid"]: _ready(pod) for pod in there}


def _ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))


def restarted(models: Models, request: str, before: dict[str, bool], *, least: int) -> Callable[[], bool]:
    """Say whether a restart is over; on the way there are never fewer ready engines than ``least``."""

    def over() -> bool:
        now = engines(models)
        assert sum(now.values()) >= least, f"too few ready engines: {now}"
        status = models.status()
        answered = status.get("restart", {}).get("request") == request and status["state"] == "Serving"
        return answered and len(now) == len(before) and not now.keys() & before.keys()

    return over


def test_a_restart_replaces_every_engine_and_nothing_else(models: Models, operator: OperatorProcess) -> None:
    models.apply(replicas=2)
    revision, before = models.wait_ready()["stable"]["revision"], engines(models)
    annotate(models, "restart=first")
    models.wait(restarted(models, "first", before, least=2), "both engines are new")
    after = engines(models)
    assert models.status()["stable"]["revision"] == revision
    models.wait(lambda: len(models.items("replicasets")) == 1, "the old ReplicaSet is gone")
    assert len(models.items("controllerrevisions")) == 1
    # The value stays, as in Git, and the operator is restarted: nothing more happens.
    operator.stop()
    operator.start()
    models.apply(name="other")
    models.wait_ready("other")
    assert engines(models).keys() >= after.keys()


def test_an_object_made_with_the_annotation_does_not_restart_what_starts(models: Models) -> None:
    models.kubectl(
        "apply",
        "-f",
        "-",
        stdin="""
apiVersion: llmfleet.dev/v1alpha1
kind: LLMDeployment
metadata: {name: chat, annotations: {llmfleet.dev/restart: from-git}}
spec: {model: {source: "hf://org/model"}, engine: {image: "play/ok:1"}}
""",
    )
    status = models.wait_ready()
    assert status["restart"]["request"] == "from-git"
    assert len(models.items("replicasets")) == 1
    template = models.items("deployments")[0]["spec"]["template"]
    assert "annotations" not in template["metadata"]


def test_during_a_switch_only_the_engines_that_serve_restart(models: Models) -> None:
    models.apply()
    old, before = models.wait_ready()["stable"]["revision"], engines(models)
    models.apply(image="play/never:1")
    models.wait(lambda: len(engines(models)) == 2, "both revisions run")
    starting = engines(models).keys() - before.keys()
    annotate(models, "restart=now")
    models.wait(lambda: not engines(models).keys() & before.keys(), "the engine that serves is another")
    assert starting <= engines(models).keys()
    assert models.selected() == old
    assert models.status()["state"] == "Updating: Starting"


def test_on_a_full_cluster_each_engine_makes_room_for_its_successor(models: Models, nodes: PlayedNodes) -> None:
    del nodes  # two of them, with 8 GPUs each
    models.apply(replicas=2, **WHOLE_NODE)
    models.wait_ready()
    before = engines(models)
    annotate(models, "restart=now")
    models.wait(restarted(models, "now", before, least=1), "both engines are new")
    models.wait(lambda: _surge(models) == 1, "the next restart begins with a successor again")


def _surge(models: Models) -> int:
    return int(models.items("deployments")[0]["spec"]["strategy"]["rollingUpdate"]["maxSurge"])


def test_the_last_engine_waits_for_room_and_says_what_can_be_done(models: Models) -> None:
    models.apply(podTemplate={"nodeSelector": {"kubernetes.io/hostname": "p1"}}, **WHOLE_NODE)
    models.wait_ready()
    before = engines(models)
    annotate(models, "restart=now")
    models.wait(lambda: models.status()["state"] == "Restarting: Unschedulable", "it says that there is no room")
    models.wait(lambda: "scale to 0 and back" in models.status()["summary"], "it says what to do")
    assert engines(models).keys() >= before.keys()
    assert models.answer("Available")["status"] == "True"
    models.kubectl("scale", "llm/chat", "--replicas=0")
    models.wait(lambda: models.status()["state"] == "ScaledToZero", "it is at zero")
    models.kubectl("scale", "llm/chat", "--replicas=1")
    models.wait(restarted(models, "now", before, least=0), "the engine is another")


def test_a_paused_object_is_left_alone_until_the_pause_ends(models: Models) -> None:
    models.apply()
    revision = models.wait_ready()["stable"]["revision"]
    annotate(models, "pause=incident 4711")
    models.wait(lambda: models.answer("Paused").get("status") == "True", "it is paused")
    assert '"incident 4711"' in models.status()["summary"]
    models.kubectl("scale", f"deployment/chat-{revision}", "--replicas=2")
    models.apply(image="play/ok:2", replicas=3)
    annotate(models, "restart=later")
    generation = models.get()["metadata"]["generation"]
    models.wait(lambda: models.status()["observedGeneration"] == generation, "the change was seen")
    models.wait(lambda: models.status()["stable"]["ready"] == 2, "the drift was seen")
    assert models.revisions() == {revision}
    assert models.get("deployments", f"chat-{revision}")["spec"]["replicas"] == 2
    assert models.answer("Available")["status"] == "True"
    assert models.answer("Ready")["reason"] == "Paused"
    assert models.status()["state"] == "Paused"
    annotate(models, "pause-")
    assert models.wait_ready()["ready"] == "3/3"
    assert models.selected() != revision
    assert models.answer("Paused") == {}


def test_an_object_made_under_a_pause_gets_its_children_when_it_ends(models: Models) -> None:
    models.kubectl(
        "apply",
        "-f",
        "-",
        stdin="""
apiVersion: llmfleet.dev/v1alpha1
kind: LLMDeployment
metadata: {name: chat, annotations: {llmfleet.dev/pause: "true"}}
spec: {model: {source: "hf://org/model"}, engine: {image: "play/ok:1"}}
""",
    )
    models.wait(lambda: models.status().get("state") == "Paused", "it is paused")
    assert not models.items(CHILDREN)
    annotate(models, "pause=false")
    models.wait_ready()


def test_scaling_during_a_switch_scales_both_revisions(models: Models) -> None:
    models.apply()
    old = models.wait_ready()["stable"]["revision"]
    models.apply(image="play/never:1")
    models.wait(lambda: len(models.revisions()) == 2, "both revisions run")
    models.kubectl("scale", "llm/chat", "--replicas=2")
    models.wait(lambda: _replicas(models) == {2}, "both have two engines")
    models.wait(lambda: models.status()["stable"]["ready"] == 2, "two serve")
    assert models.selected() == old


def _replicas(models: Models) -> set[int]:
    return {item["spec"]["replicas"] for item in models.items("deployments")}


def test_scaling_to_zero_and_back_during_a_switch_ends_with_the_new_revision(models: Models) -> None:
    models.apply(rollout={"retainStable": "1h"})
    old = models.wait_ready()["stable"]["revision"]
    models.apply(image="play/ok:2", rollout={"retainStable": "1h"})
    models.kubectl("scale", "llm/chat", "--replicas=0")
    models.wait(lambda: models.status()["state"] == "ScaledToZero", "it is at zero")
    models.wait(lambda: not engines(models), "no engine is left, the former revision's neither")
    models.kubectl("scale", "llm/chat", "--replicas=2")
    status = models.wait_ready()
    assert (status["ready"], status["replicas"]) == ("2/2", 2)
    assert status["stable"]["revision"] != old


def test_a_revision_kept_as_the_way_back_is_scaled_down_with_the_rest(models: Models) -> None:
    models.apply(replicas=3, rollout={"retainStable": "1h"})
    old = models.wait_ready()["stable"]["revision"]
    models.apply(image="play/ok:2", replicas=3, rollout={"retainStable": "1h"})
    models.wait_ready()
    models.kubectl("scale", "llm/chat", "--replicas=1")
    models.wait(lambda: models.get("deployments", f"chat-{old}")["spec"]["replicas"] == 1, "it is scaled down too")


# --- deletion --------------------------------------------------------------------------------------------------------

PHASES = {
    "starting": "Starting",
    "switching": "Updating: Starting",
    "failing": "EngineFailed",
    "stalled": "StartupDeadlineExceeded",
    "restarting": "Restarting: Unschedulable",
    "paused": "Paused",
}


def come_to(models: Models, *phases: str) -> None:
    """Make a model for each phase, named after it, and bring it there."""
    # First the one that needs a whole node: the others find room on the other one.
    models.apply("restarting", podTemplate={"nodeSelector": {"kubernetes.io/hostname": "p2"}}, **WHOLE_NODE)
    models.wait_ready("restarting")
    models.apply("starting", image="play/never:1")
    models.apply("failing", image="play/crash:1")
    models.apply("stalled", image="play/never:1", startup={"deadline": "1s"})
    models.apply("switching")
    models.apply("paused")
    for name in ("switching", "paused"):
        models.wait_ready(name)
    models.apply("switching", image="play/never:1")
    models.kubectl("annotate", "llm/restarting", "llmfleet.dev/restart=now")
    models.kubectl("annotate", "llm/paused", "llmfleet.dev/pause=true")
    for name in phases:
        models.wait(lambda name=name: models.status(name).get("state") == PHASES[name], f"{name}: {PHASES[name]}")


@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_deleting_in_any_phase_takes_everything_and_nothing_is_written_after(
    models: Models, operator: OperatorProcess, cascade: str
) -> None:
    come_to(models, *PHASES)
    models.kubectl("delete", "llm", *PHASES, f"--cascade={cascade}")
    told = len(operator.lines())
    eventually(lambda: not _left(models), within_s=60, what="nothing is left", last=lambda: _left(models))
    models.apply("other")
    models.wait_ready("other")
    gone = {f"{models.namespace}/{name}" for name in PHASES}
    assert [line for line in operator.lines()[told:] if line.get("key") in gone] == []
    assert {item["metadata"]["labels"]["llmfleet.dev/name"] for item in models.items(f"{CHILDREN},pods")} == {"other"}


def _left(models: Models) -> list[str]:
    return [f"{item['kind']} {item['metadata']['name']}" for item in models.items(f"{CHILDREN},pods")]


def test_deleting_while_the_children_are_made_leaves_no_orphan(models: Models) -> None:
    for kind in ("llm", "controllerrevisions", "services", "deployments", "poddisruptionbudgets"):
        models.apply(kind)
        models.wait(lambda kind=kind: kind == "llm" or _named(models, kind, kind), f"{kind} are made")
        models.kubectl("delete", "llm", kind)
    models.apply("other")
    models.wait_ready("other")
    models.wait(lambda: len(models.items(CHILDREN)) == len(_named(models, CHILDREN, "other")), "no orphan is left")


def _named(models: Models, kinds: str, name: str) -> list[dict[str, Any]]:
    return [item for item in models.items(kinds) if item["metadata"]["labels"]["llmfleet.dev/name"] == name]

"""Real pods, real traffic: users are served while specs, operators and engines come and go."""

import json
from typing import Any

import httpx
import openai
import pytest

from tests.chart import SYSTEM
from tests.cluster import Cluster
from tests.load import Load
from tests.models import Models
from tests.wait import eventually

pytestmark = pytest.mark.nodes

SMALL = {"cpu": "50m"}


def apply(models: Models, *, args: tuple[str, ...] = (), **spec: Any) -> None:
    engine = {"profile": "sim", "args": list(args), **spec.pop("engine", {})}
    spec = {"resources": SMALL, "drain": {"timeout": "30s"}, "rollout": {"retainStable": "5s"}, **spec}
    models.apply(image="", **spec, engine={key: value for key, value in engine.items() if value})


def test_a_simulated_model_answers_the_openai_client(models: Models) -> None:
    apply(models)
    models.wait_ready()
    with openai.OpenAI(base_url=f"{models.expose()}/v1", api_key="none", max_retries=0) as chat:
        whole = chat.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "Hello"}], max_tokens=5
        )
        parts = list(
            chat.completions.create(
                model="chat", prompt="Hello", max_tokens=5, stream=True, extra_body={"ignore_eos": True}
            )
        )
    assert whole.choices[0].message.content
    assert len(parts) >= 5


def test_no_request_fails_while_the_spec_changes_and_goes_back(models: Models) -> None:
    apply(models, rollout={"retainStable": "1h"})
    first = models.wait_ready()["stable"]["revision"]
    with Load(models.expose(), "chat") as load:
        apply(models, engine={"maxNumSeqs": 7}, rollout={"retainStable": "1h"})
        second = models.wait_ready()["stable"]["revision"]
        load.wait_for_more()
        apply(models, rollout={"retainStable": "1h"})
        models.wait(lambda: models.selected() == first, "going back switches at once", within_s=10)
        load.wait_for_more()
        apply(models, rollout={"retainStable": "1s"})
        models.wait(lambda: models.revisions() == {first}, "the other revision is removed")
        models.wait(lambda: len(models.items("pods")) == 1, "its engine has drained", within_s=90)
        load.wait_for_more()
    assert second != first
    assert load.counts.failures == []


def test_no_request_fails_while_the_operator_restarts(cluster: Cluster, models: Models) -> None:
    apply(models)
    models.wait_ready()
    with Load(models.expose(), "chat") as load:
        load.wait_for_more()
        cluster.kubectl("-n", SYSTEM, "delete", "pod", "--all", "--wait=true", "--timeout=60s")
        models.kubectl("scale", "llm/chat", "--replicas=2")
        models.wait(lambda: models.status().get("ready") == "2/2", "the new operator acts", within_s=60)
        load.wait_for_more()
    assert load.counts.failures == []


def test_no_request_fails_while_an_engine_is_deleted_beside_another(models: Models) -> None:
    apply(models, replicas=2)
    models.wait_ready()
    with Load(models.expose(), "chat") as load:
        load.wait_for_more()
        victim = models.items("pods")[0]["metadata"]["name"]
        models.kubectl("delete", "pod", victim, "--wait=true", "--timeout=90s")
        models.wait_ready()
        load.wait_for_more()
    assert load.counts.failures == []


def test_a_stream_survives_the_deletion_of_its_engine(models: Models) -> None:
    tokens = 120
    apply(models, args=("--inter-token-latency=100ms",))
    models.wait_ready()
    url = f"{models.expose()}/v1/completions"
    body = {"model": "chat", "prompt": "Go on", "max_tokens": tokens, "stream": True, "ignore_eos": True}
    received, deleted = [], False
    with httpx.stream("POST", url, json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                received.extend(c["text"] for c in json.loads(line[6:])["choices"] if c["text"])
            if len(received) == 10 and not deleted:
                models.kubectl("delete", "pods", "-l", "llmfleet.dev/name=chat", "--wait=false")
                deleted = True
    assert len(received) == tokens


@pytest.mark.parametrize(
    ("spec", "state", "words"),
    [
        ({"engine": {"image": "ghcr.io/llmfleet/no-such-image:1"}}, "ImagePullFailed", "no-such-image"),
        ({"args": ("--no-such-option",)}, "EngineFailed", "it ended with exit code 0 (Completed)"),
        ({"resources": {"gpu": {"count": 1}}}, "Unschedulable", "Insufficient nvidia.com/gpu"),
        (
            {"engine": {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k"}}}]}},
            "ConfigMissing",
            'secret "absent" not found',
        ),
        (
            {
                "podTemplate": {
                    "volumes": [{"name": "extra", "secret": {"secretName": "absent"}}],
                    "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                }
            },
            "ConfigMissing",
            'volume "extra" : secret "absent" not found',
        ),
        ({"podTemplate": {"securityContext": {"runAsUser": 0, "runAsNonRoot": False}}}, "PodRefused", "restricted"),
    ],
    ids=["image", "crash", "GPU", "Secret", "volume", "PodSecurity"],
)
def test_the_sentence_names_the_cause_within_30_seconds(models: Models, spec: dict, state: str, words: str) -> None:
    apply(models, **spec)
    models.wait(lambda: models.status().get("state") == state, f"state {state}", within_s=30)
    models.wait(lambda: words in models.status()["summary"], f"the sentence says {words!r}", within_s=5)


def test_a_crashing_update_leaves_the_old_revision_serving(models: Models) -> None:
    apply(models)
    old = models.wait_ready()["stable"]["revision"]
    with Load(models.expose(), "chat") as load:
        apply(models, args=("--no-such-option",))
        models.wait(lambda: models.status().get("state") == "Updating: EngineFailed", "the crash is told")
        load.wait_for_more()
        apply(models)
        models.wait_ready()
    assert load.counts.failures == []
    assert models.status()["stable"]["revision"] == old


def test_deleting_the_model_leaves_nothing(models: Models) -> None:
    apply(models)
    models.wait_ready()
    models.kubectl("delete", "llm", "chat")
    everything = "deployments,replicasets,pods,services,endpointslices,poddisruptionbudgets,controllerrevisions"
    eventually(lambda: not models.items(everything), within_s=60, what="nothing is left")


def test_the_operator_answers_its_probes_and_counts(cluster: Cluster) -> None:
    url = cluster.expose(SYSTEM, "llmfleet-operator", 8080)
    assert httpx.get(f"{url}/livez").text == "leading\n"
    assert httpx.get(f"{url}/readyz").status_code == 200
    metrics = httpx.get(f"{url}/metrics").text
    assert "llmfleet_leading 1.0" in metrics
    assert 'llmfleet_reconciles_total{result="error"}' not in metrics

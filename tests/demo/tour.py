"""The end of the demo: what there is now, and what to try."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.demo.screen import command, heading, say
from tests.demo.site import CLUSTER, MODEL, OPERATOR, SAMPLES, SIMULATOR, SYSTEM, Site, patch


@dataclass(frozen=True, slots=True)
class Stop:
    """One thing to look at or to try: a sentence, and commands that work as they stand, in this order."""

    sentence: str
    commands: tuple[str, ...]


def show(site: Site, url: str, way_back: str) -> None:
    """Print what there is to look at and to try; the commands want a shell in the repository's folder.

    Args:
        site: the demo's cluster.
        url: of the model's Service on this machine.
        way_back: the command that takes the change back.
    """
    heading("What you have now")
    _print(look(site, url))
    heading("What to try")
    _print(experiments(way_back))


def look(site: Site, url: str) -> Iterator[Stop]:
    """Return what changes nothing; the first stop makes kubectl and helm talk to the cluster."""
    yield Stop("A cluster of one node. In your shell:", (_environment(site),))
    yield Stop(
        f"The operator in namespace {SYSTEM}, and llm/{MODEL} with what it consists of:",
        (
            "kubectl get llm",
            f"kubectl get deployments,pods,services,pdb,controllerrevisions -l llmfleet.dev/name={MODEL}",
            f"kubectl describe llm {MODEL}",
            "kubectl explain llm.spec.engine",
            f"kubectl logs -n {SYSTEM} deployment/{OPERATOR} --tail=20",
            f"helm list -n {SYSTEM}",
        ),
    )
    body = shlex.quote(json.dumps({"model": MODEL, "prompt": "Hello"}))
    ask = f"curl -s {url}/v1/completions -w '\\n' -H 'Content-Type: application/json' -d {body}"
    yield Stop("The model, at a port of this machine:", (ask,))


def experiments(way_back: str) -> Iterator[Stop]:
    """Return what changes something."""
    yield Stop(
        "Take the change back. The engines it replaced stay ready for ten minutes: the Service moves at once.",
        (way_back, _wait("condition=Ready"), _summary()),
    )
    yield Stop(
        "Make a typo. The API server refuses it and names the field.",
        (f"sed s/maxModelLen/maxModelLength/ {SAMPLES}/llmdeployment.yaml | kubectl apply --server-side -f -",),
    )
    yield Stop(
        "Name an image that does not exist. What serves goes on serving, and the status says what is wrong.",
        (
            shlex.join(patch(image="ghcr.io/llmfleet/engine-cpu:typo")),
            _wait("jsonpath='{.status.state}'='Updating: ImagePullFailed'"),
            _summary(),
            shlex.join(patch(image=None)),
        ),
    )
    yield Stop(
        "Ask for a second engine, and wait for it.",
        (f"kubectl scale llm {MODEL} --replicas=2", _wait("condition=Ready")),
    )
    yield Stop(
        "Try clients against an engine that answers at once. Its image is not part of the demo: the first line builds "
        "it, some minutes the first time.",
        (
            f"{sys.executable} -m tests.cluster --name {CLUSTER} load-image simulator",
            f"kubectl apply --server-side -f {SIMULATOR}",
            f"kubectl wait llm {SIMULATOR.stem} --for=condition=Ready --timeout=5m",
        ),
    )
    yield Stop("When you have seen enough: everything is taken away.", ("make demo-down",))


def _print(stops: Iterator[Stop]) -> None:
    for stop in stops:
        say(stop.sentence)
        for line in stop.commands:
            command(line)


def _summary() -> str:
    return f"kubectl get llm {MODEL} -o jsonpath='{{.status.summary}}{{\"\\n\"}}'"


def _wait(condition: str) -> str:
    return f"kubectl wait llm {MODEL} --for={condition} --timeout=5m"


def _environment(site: Site) -> str:
    """Return one line that makes kubectl and helm talk to the cluster; old ones might not know what is used here."""
    folders = ":".join(str(site.cluster.bin(program).parent) for program in ("kubectl", "helm"))
    return f"export KUBECONFIG={site.cluster.kubeconfig} PATH={folders}:$PATH"

"""llmfleet as installed on a control plane of its own, its operator running here under the installed ServiceAccount.

A control plane of its own, because the operator of the other tests looks after all namespaces of theirs.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import Cluster, ClusterError
from tests.models import Models
from tests.operator_process import OperatorProcess
from tests.wait import eventually

SYSTEM = "llmfleet-system"
OPERATOR = "llmfleet-operator"
_USER = f"system:serviceaccount:{SYSTEM}:{OPERATOR}"

Right = tuple[str, str, str]
"""API group, resource with subresource, verb."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What was installed, and where."""

    cluster: Cluster
    folder: Path

    def operator(self, name: str = "operator") -> OperatorProcess:
        """Return the operator, not yet started: with the environment of its Deployment and the account's token."""
        container = self.get("deployment", OPERATOR)["spec"]["template"]["spec"]["containers"][0]
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        log = self.folder / f"{name}.log"
        return OperatorProcess(self.kubeconfig(), log, f"--lease-namespace={SYSTEM}", environment=environment)

    def get(self, kind: str, name: str, namespace: str = SYSTEM) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cluster.kubectl("-n", namespace, "get", kind, name, "-o", "json"))
        return found

    def models(self, namespace: str) -> Models:
        """Make a namespace and return the LLMDeployments in it, none yet."""
        self.cluster.kubectl("create", "namespace", namespace)
        return Models(self.cluster, namespace)

    def granted(self) -> set[Right]:
        """Return what the operator's roles allow."""
        rules = [
            *self.get("clusterrole", OPERATOR)["rules"],
            *self.get("role", f"{OPERATOR}-lease")["rules"],
        ]
        return {
            (group, resource, verb)
            for rule in rules
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    def used(self) -> set[Right]:
        """Return what the operator asked for, as the API server saw it."""
        found: set[Right] = set()
        for event in self.asked():
            about = event.get("objectRef") or {}
            if "resource" not in about:
                continue  # discovery, open to everybody
            resource = "/".join(about[part] for part in ("resource", "subresource") if part in about)
            right = (about.get("apiGroup", ""), resource)
            found.add((*right, event["verb"]))
            # Server-side apply of what is not there yet is a patch that the API server lets create only.
            if (event["verb"], event["responseStatus"]["code"]) == ("patch", 201):
                found.add((*right, "create"))
        return found

    def refused(self) -> list[str]:
        """Return the operator's requests that its roles did not allow."""
        return [
            f"{event['verb']} {event['requestURI']}" for event in self.asked() if event["responseStatus"]["code"] == 403
        ]

    def asked(self) -> list[dict[str, Any]]:
        """Return the operator's requests from the API server's audit log."""
        events = map(json.loads, self.cluster.audit_log.read_text().splitlines())
        return [event for event in events if event["user"]["username"] == _USER]

    def kubeconfig(self) -> Path:
        """Write a kubeconfig of the account, with a token that lives as long as the tests."""
        made = yaml.safe_load(self.cluster.kubeconfig.read_text())
        token = self.cluster.kubectl("-n", SYSTEM, "create", "token", OPERATOR, "--duration=1h").strip()
        made["users"][0]["user"] = {"token": token}
        path = self.folder / "kubeconfig.yaml"
        path.write_text(yaml.safe_dump(made))
        return path


def assert_nothing_refused(installation: Installation, operator: OperatorProcess) -> None:
    """Neither the API server nor the operator speaks of a missing right."""
    assert installation.refused() == []
    assert [line for line in operator.lines() if "forbidden" in line["message"]] == []


def install_kind(cluster: Cluster) -> None:
    """Install our kinds and wait until they are served."""
    cluster.kubectl("apply", "--server-side", "-f", "crds/")
    established(cluster)


def established(cluster: Cluster) -> None:
    """Wait until LLMDeployments can be made: they can when they can be listed."""

    def served() -> bool:
        try:
            cluster.kubectl("get", "--raw", "/apis/llmfleet.dev/v1alpha1/llmdeployments?limit=1")
        except ClusterError:
            return False
        return True

    eventually(served, within_s=30, what="the kind is established")

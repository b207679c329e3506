"""What the chart renders to: pods that any cluster takes, rights that are few, and what each example asks for."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.generate import base, chart
from tests.unit.chart.rendered import EXAMPLES, Render, example, render

RBAC_OF_EVERYTHING = {"*", "secrets", "configmaps", "nodes", "clusterroles", "roles", "serviceaccounts", "pods/exec"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_pods_are_restricted(name: str) -> None:
    """Pod security standard `restricted`, as in the Kubernetes documentation, and a read-only root besides."""
    pod, container = example(name).pod["spec"], example(name).container
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"} & set(pod)
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("hostPort" not in port for port in container["ports"])


@pytest.mark.parametrize("name", EXAMPLES)
def test_rights_are_few(name: str) -> None:
    rendered = example(name)
    for role in [*rendered.all("ClusterRole"), *rendered.all("Role")]:
        for rule in role["rules"]:
            assert not RBAC_OF_EVERYTHING & {*rule["resources"], *rule["apiGroups"], *rule["verbs"]}
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
    for rule in rendered.own_rules:
        if "leases" in rule["resources"] and rule["verbs"] != ["create"]:
            assert rule["resourceNames"] == [rendered.env["LLMFLEET_LEASE_NAME"]]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_object_has_its_labels_and_namespace(name: str) -> None:
    cluster_wide = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    for found in example(name).objects:
        if found["kind"] != "CustomResourceDefinition":
            assert found["metadata"]["labels"]["app.kubernetes.io/name"] == "llmfleet"
        assert ("namespace" in found["metadata"]) == (found["kind"] not in cluster_wide)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_operator_is_not_taken_for_an_engine(name: str) -> None:
    """The operator looks for its children by this label, and must not find itself."""
    for found in example(name).objects:
        assert found["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") != "llmfleet"


@pytest.mark.parametrize("name", EXAMPLES)
def test_selectors_never_change(name: str) -> None:
    """A Deployment's selector can never be changed, so no value may reach it."""
    selector = {
        "app.kubernetes.io/name": "llmfleet",
        "app.kubernetes.io/instance": "llmfleet",
        "app.kubernetes.io/component": "operator",
    }
    rendered = example(name)
    assert rendered.one("Deployment")["spec"]["selector"]["matchLabels"] == selector
    assert rendered.one("Service")["spec"]["selector"] == selector
    assert selector.items() <= rendered.pod["metadata"]["labels"].items()


@pytest.mark.parametrize("name", EXAMPLES)
def test_rendering_twice_gives_the_same(name: str) -> None:
    """Anything random or of today would show up as a difference for ever in Argo CD."""
    again = render(**yaml.safe_load(Path(__file__).parent.joinpath("values", f"{name}.yaml").read_text()))
    assert again == example(name)


def test_probes_lead_to_the_operators_own_server() -> None:
    container = example("minimal").container
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert {container[f"{kind}Probe"]["httpGet"]["port"] for kind in paths} == {"http"}
    assert example("minimal").one("Service")["spec"]["ports"][0]["targetPort"] == "http"


def test_minimal_is_one_operator_for_all_namespaces() -> None:
    rendered = example("minimal")
    assert rendered.one("Deployment")["spec"]["replicas"] == 1
    assert not rendered.all("PodDisruptionBudget")
    assert "topologySpreadConstraints" not in rendered.pod["spec"]
    assert rendered.container["image"] == "ghcr.io/llmfleet/operator:0.1.0"
    assert "LLMFLEET_NAMESPACES" not in rendered.env
    assert rendered.all("CustomResourceDefinition")
    (binding,) = rendered.all("ClusterRoleBinding")
    assert binding["subjects"][0] == {
        "kind": "ServiceAccount",
        "name": rendered.pod["spec"]["serviceAccountName"],
        "namespace": "llmfleet-system",
    }


def test_only_the_operator_has_a_token() -> None:
    rendered = example("minimal")
    assert rendered.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert rendered.pod["spec"]["automountServiceAccountToken"] is True


def test_two_operators_stand_on_different_hosts_and_survive_evictions() -> None:
    rendered = example("ha")
    assert rendered.one("Deployment")["spec"]["replicas"] == 2
    budget = rendered.one("PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    (spread,) = rendered.pod["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert rendered.pod["metadata"]["labels"]["cost-centre"] == "42"
    assert rendered.pod["metadata"]["annotations"]["prometheus.io/port"] == "8080"
    assert all(
        found["metadata"]["labels"]["team"] == "inference"
        for found in rendered.objects
        if found["kind"] != "CustomResourceDefinition"
    )


def test_own_spread_replaces_the_default() -> None:
    own = [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}]
    assert render(replicas=2, topologySpreadConstraints=own).pod["spec"]["topologySpreadConstraints"] == own


def test_a_single_namespace_needs_no_rights_on_the_cluster() -> None:
    rendered = example("single-namespace")
    assert not {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"} & {
        found["kind"] for found in rendered.objects
    }
    watched = [
        role["metadata"]["namespace"] for role in rendered.all("Role") if "lease" not in role["metadata"]["name"]
    ]
    bound = [role["metadata"]["namespace"] for role in rendered.all("RoleBinding")]
    assert watched == ["models", "models-staging"]
    assert sorted(bound) == ["llmfleet-system", "models", "models-staging"]
    assert rendered.env["LLMFLEET_NAMESPACES"] == '["models","models-staging"]'


def test_rules_are_the_same_for_the_cluster_and_for_namespaces() -> None:
    def watching(rendered: Render, kind: str) -> list[Any]:
        return next(role["rules"] for role in rendered.all(kind) if role["metadata"]["name"] == "llmfleet-operator")

    assert watching(example("minimal"), "ClusterRole") == watching(example("single-namespace"), "Role")


def test_restricted_takes_everything_from_its_own_registry() -> None:
    rendered = example("restricted")
    pod, container = rendered.pod["spec"], rendered.container
    assert container["image"].startswith("registry.example.com:5000/mirror/llmfleet-operator@sha256:0123")
    assert container["imagePullPolicy"] == "Always"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert rendered.env["LLMFLEET_ENGINE_IMAGE"] == "registry.example.com:5000/mirror/engine:0.1.0"
    assert pod["serviceAccountName"] == "prepared"
    assert pod["nodeSelector"] == {"pool": "system"}
    assert not {"ServiceAccount", "Role", "ClusterRole"} & {found["kind"] for found in rendered.objects}


def test_recreate_comes_without_the_numbers_of_a_rolling_update() -> None:
    assert render(strategy={"type": "Recreate"}).one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_people_get_rights_by_aggregation() -> None:
    view, edit = (
        next(role for role in example("minimal").all("ClusterRole") if role["metadata"]["name"] == f"llmfleet-{name}")
        for name in ("view", "edit")
    )
    assert {verb for rule in view["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    aggregate = "rbac.authorization.k8s.io/aggregate-to-"
    assert {f"{aggregate}{role}" for role in ("view", "edit", "admin")} <= set(view["metadata"]["labels"])
    assert f"{aggregate}view" not in edit["metadata"]["labels"]
    # What the operator alone may write.
    assert all("llmdeployments/status" not in rule["resources"] for rule in edit["rules"])


@pytest.mark.parametrize("keep", [True, False])
def test_definitions_are_those_of_crds(keep: bool) -> None:  # noqa: FBT001 - both of two
    (rendered,) = render(crds={"keep": keep}).all("CustomResourceDefinition")
    (stored,) = (yaml.safe_load(path.read_text()) for path in Path("crds").glob("*.yaml"))
    policy = rendered["metadata"]["annotations"].pop("helm.sh/resource-policy", None)
    assert policy == ("keep" if keep else None)
    assert rendered == stored


def test_two_releases_do_not_share_names() -> None:
    first, second = (
        {(found["kind"], found["metadata"]["name"]) for found in chart.objects(chart.render(release=release))}
        for release in ("llmfleet", "canary")
    )
    assert {kind for kind, _ in first & second} == {"CustomResourceDefinition"}
    assert ("Deployment", "canary-llmfleet-operator") in second


def test_notes_name_what_was_installed() -> None:
    notes = chart.notes({"watchNamespaces": ["models"], "crds": {"enabled": False}})
    assert "looks after LLMDeployments in models." in notes
    assert "kubectl -n llmfleet-system rollout status deployment/llmfleet-operator" in notes
    assert "kubectl apply --server-side -f crds/" in notes
    assert "helm uninstall" in chart.notes({"crds": {"keep": False}})


def test_manifests_for_kubectl_are_the_default_render() -> None:
    for path, text in base.manifests().items():
        assert Path(path).read_text() == text
    stored = [found for name in ("rbac", "deployment", "service") for found in _stored(name)]
    without_crds = [found for found in example("minimal").objects if found["kind"] != "CustomResourceDefinition"]
    of_helm = ("helm.sh/chart", "app.kubernetes.io/managed-by")
    assert sorted(map(repr, stored)) == sorted(repr(_without(found, of_helm)) for found in without_crds)


def test_kustomization_takes_up_every_file() -> None:
    folder = Path("manifests/base")
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(kustomization["resources"]) == {path.name for path in folder.iterdir()} - {"kustomization.yaml"}


def _stored(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(Path(f"manifests/base/{name}.yaml").read_text()))


def _without(tree: Any, keys: tuple[str, ...]) -> Any:
    if isinstance(tree, dict):
        return {key: _without(value, keys) for key, value in tree.items() if key not in keys}
    return [_without(item, keys) for item in tree] if isinstance(tree, list) else tree

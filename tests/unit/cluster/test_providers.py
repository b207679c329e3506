"""Who provides a cluster, and what is asked of kubectl and kind on the way; programs are played and recorded."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import ClusterError, UnsupportedError, kind, lent, open_cluster
from tests.cluster.__main__ import main
from tests.cluster.context import ContextCluster
from tests.cluster.control_plane import NODE_GRACE_S, NODE_REPORTS_S
from tests.cluster.kind import KindCluster, rendered
from tests.cluster.local import LocalCluster
from tests.cluster.oci import Descriptor
from tests.cluster.places import state_dir

NODE = {
    "metadata": {"name": "worker"},
    "spec": {},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "images": [{"names": ["ghcr.io/llmfleet/operator:0.1.0"], "sizeBytes": 1}],
    },
}
PLANE = NODE | {
    "metadata": {"name": "plane"},
    "spec": {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]},
}
LABELLED = {"metadata": {"name": "kube-system", "labels": {"llmfleet.dev/tests": "allowed"}}}
VIEW = {
    "clusters": [{"cluster": {"server": "https://elsewhere:6443", "certificate-authority-data": "Y2E="}}],
    "users": [{"user": {"token": "secret"}}],
}


class Programs:
    """Answers commands by what stands in them, and keeps their arguments."""

    def __init__(self) -> None:
        self.ran: list[list[str]] = []
        self.answers: dict[str, Any] = {
            "config view": VIEW,
            "get namespace kube-system": LABELLED,
            "get nodes": {"items": [NODE, PLANE]},
            "get crd": None,
        }

    def __call__(self, command: list[str], environment: dict[str, str], text: str | None = None) -> str:
        del environment, text
        self.ran.append([Path(command[0]).name, *command[1:]])
        line = " ".join(command)
        found = next((answer for words, answer in self.answers.items() if words in line), None)
        return json.dumps(found) if found else ""

    def lines(self, word: str) -> list[str]:
        return [" ".join(line) for line in self.ran if word in line]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    played = Programs()
    for name in ("cluster", "context", "kind"):
        monkeypatch.setattr(f"tests.cluster.{name}.output", played)
    for name in ("cluster", "context", "kind", "lent"):
        monkeypatch.setattr(f"tests.cluster.{name}.binary", lambda program: Path("/bin") / program)
    monkeypatch.setattr(kind.shutil, "which", lambda name: f"/usr/bin/{name}")
    return played


@pytest.mark.parametrize(
    ("provider", "kind_of"),
    [("", LocalCluster), ("local", LocalCluster), ("kind", KindCluster), ("context:prod", ContextCluster)],
)
def test_the_provider_is_chosen_by_name(provider: str, kind_of: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMFLEET_PROVIDER", raising=False)
    assert type(open_cluster("some", provider)) is kind_of
    monkeypatch.setenv("LLMFLEET_PROVIDER", provider)
    assert type(open_cluster("some")) is kind_of


@pytest.mark.parametrize("provider", ["docker", "context", "context:", "Local"])
def test_another_provider_is_refused_with_those_there_are(provider: str) -> None:
    with pytest.raises(ClusterError, match="no provider") as caught:
        open_cluster("some", provider)
    assert "local, kind or context:NAME" in caught.value.report()


def test_a_cluster_that_is_up_stays_its_providers(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    open_cluster("mine", "context:prod").up()
    assert type(open_cluster("mine")) is ContextCluster
    with pytest.raises(ClusterError, match="is up from provider context:prod"):
        open_cluster("mine", "kind")
    monkeypatch.setenv("LLMFLEET_PROVIDER", "kind")
    assert main(["--name", "mine", "down"]) == 0, "what is up can be taken down whatever the environment says"
    assert programs.lines("delete")


# --- context:NAME


def test_a_cluster_without_the_label_is_refused_and_nothing_in_it_is_touched(programs: Programs) -> None:
    programs.answers["get namespace kube-system"] = {"metadata": {"name": "kube-system"}}
    with pytest.raises(ClusterError, match="context prod is not labelled for tests") as caught:
        open_cluster("some", "context:prod").up()
    report = caught.value.report()
    assert "kubectl --context prod label namespace kube-system llmfleet.dev/tests=allowed" in report
    assert "--unlabelled" in report
    assert all("--context=prod" in line for line in programs.ran)
    assert not [line for line in programs.ran if {"delete", "apply", "patch", "create"} & set(line)]
    assert not state_dir("some").exists()


@pytest.mark.parametrize("value", ["no", "true", ""])
def test_another_value_of_the_label_is_no_permission(programs: Programs, value: str) -> None:
    programs.answers["get namespace kube-system"] = {"metadata": {"labels": {"llmfleet.dev/tests": value}}}
    with pytest.raises(ClusterError, match="not labelled"):
        open_cluster("some", "context:prod").up()


def test_it_is_taken_without_the_label_only_when_told_so(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.answers["get namespace kube-system"] = {"metadata": {"name": "kube-system"}}
    assert main(["--name", "one", "--provider", "context:prod", "up"]) == 1
    assert main(["--name", "one", "--provider", "context:prod", "up", "--unlabelled"]) == 0
    monkeypatch.setenv("LLMFLEET_UNLABELLED", "1")
    open_cluster("two", "context:other").up()


def test_a_cluster_in_which_somebody_uses_llmfleet_is_refused(programs: Programs) -> None:
    programs.answers["get crd"] = "customresourcedefinition.apiextensions.k8s.io/llmdeployments.llmfleet.dev"
    with pytest.raises(ClusterError, match="llmfleet is installed"):
        open_cluster("some", "context:prod").up()
    assert not programs.lines("delete")


def test_a_cluster_with_too_few_nodes_or_any_where_none_are_wanted_cannot_be_used(programs: Programs) -> None:
    cluster = open_cluster("some", "context:prod")
    with pytest.raises(UnsupportedError, match="2 nodes: of those that take pods it has 1"):
        cluster.up(nodes=2)
    with pytest.raises(UnsupportedError, match=r"play nodes: it has real ones \(worker\)"):
        cluster.up(nodes=0)
    programs.answers["get nodes"] = {"items": [PLANE]}
    assert cluster.up(nodes=0).shape.nodes == 0


def test_one_cluster_is_not_used_under_two_names_at_once(programs: Programs) -> None:
    first, second = open_cluster("first", "context:prod"), open_cluster("second", "context:prod")
    first.up()
    first.up()
    with pytest.raises(UnsupportedError, match="in use as cluster first"):
        second.up()
    first.down()
    second.up()
    assert programs.lines("config")


def test_down_removes_what_tests_installed_and_asks_only_the_kubeconfig_of_that_context(programs: Programs) -> None:
    cluster = open_cluster("some", "context:prod").up()
    assert json.loads(cluster.kubeconfig.read_text()) == VIEW
    assert cluster.kubeconfig.stat().st_mode & 0o777 == 0o600
    assert cluster.environment()["KUBECONFIG"] == str(cluster.kubeconfig)
    programs.ran.clear()
    cluster.down()
    removed = " ".join(programs.lines("delete"))
    assert "crds" in removed
    assert "namespace llmfleet-tests llmfleet-system" in removed
    assert "clusterroles,clusterrolebindings -l app.kubernetes.io/name=llmfleet" in removed
    assert not state_dir("some").exists()
    programs.ran.clear()
    cluster.down()
    assert programs.ran == [], "nothing is up"


def test_an_image_that_a_node_lacks_is_named(programs: Programs) -> None:
    programs.answers["get nodes"] = {"items": [NODE]}
    cluster = open_cluster("some", "context:prod").up(wanted=("operator",))
    with pytest.raises(UnsupportedError, match="node worker does not have the image ghcr") as caught:
        cluster.load_image("simulator")
    assert "give it to every node under that name" in caught.value.report()


@pytest.mark.usefixtures("programs")
def test_the_api_server_is_reached_as_the_kubeconfig_says() -> None:
    cluster = open_cluster("some", "context:prod").up()
    assert cluster.server == "https://elsewhere:6443"
    assert cluster.ca.read_text() == "ca"
    with pytest.raises(UnsupportedError, match="its kubeconfig has no client-key-data"):
        _ = cluster.key


@pytest.mark.parametrize("provider", ["kind", "context:prod"])
def test_faults_inside_a_borrowed_cluster_are_refused_by_name(provider: str) -> None:
    cluster = open_cluster("some", provider)
    faults = (cluster.stop, cluster.restart, cluster.pause, cluster.resume, cluster.log)
    for fault in faults:
        with pytest.raises(UnsupportedError, match=f"provider {provider} cannot .* etcd"):
            fault("etcd")
    with pytest.raises(UnsupportedError, match="cut off node n2"):
        cluster.cut_off("n2")
    with pytest.raises(UnsupportedError, match="be given another node"):
        cluster.add_node()
    with pytest.raises(UnsupportedError, match="audit log"):
        _ = cluster.audit_log


def test_the_pod_before_a_service_may_run_in_a_restricted_namespace() -> None:
    pod = lent.bridge_pod("bridge-x", "n1", "10.96.0.7", 8000)
    spec = pod["spec"]
    assert spec["containers"][0]["command"][-3:] == [":8000", "10.96.0.7", "8000"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"]
    assert len(spec["containers"][0]["command"][2]) < 100_000, "the kernel takes arguments of 128 KiB"


# --- kind


def test_kind_is_asked_for_the_cluster_its_images_and_its_end(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind.images, "ensure", lambda name: Descriptor(f"sha256:{name}", 1))
    streamed: list[list[str]] = []
    monkeypatch.setattr(kind.oci, "stream", lambda _image, names, _known, _target: streamed.append(names))
    cluster = open_cluster("some", "kind").up(nodes=2, gpus=8, wanted=("operator",))
    state = state_dir("some")
    create, load = programs.lines("kind")
    assert create == (
        f"kind create cluster --config={state}/kind.yaml --wait=180s --kubeconfig={state}/kubeconfig.yaml "
        "--name=llmfleet-some"
    )
    assert load.startswith("kind load image-archive ")
    assert load.endswith(".tar --name=llmfleet-some")
    assert streamed == [["ghcr.io/llmfleet/operator:0.1.0"]]
    (patch,) = programs.lines("patch")
    assert patch.startswith("kubectl patch node worker --subresource=status --type=json")
    assert '"/status/capacity/nvidia.com~1gpu", "value": "8"' in patch
    cluster.down()
    assert (
        programs.lines("kind")[-1] == f"kind delete cluster --kubeconfig={state}/kubeconfig.yaml --name=llmfleet-some"
    )
    assert not state.exists()


def test_without_docker_kind_says_what_it_needs(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind.shutil, "which", lambda _name: None)
    with pytest.raises(ClusterError, match="kind needs one of docker, podman, nerdctl"):
        open_cluster("some", "kind").up()
    assert programs.ran == []


def test_kinds_cluster_is_alike_to_a_local_one() -> None:
    config = rendered(3)
    plane, *workers = config["nodes"]
    assert plane == {"role": "control-plane"}
    zones = [worker["labels"]["topology.kubernetes.io/zone"] for worker in workers]
    assert zones == ["zone-1", "zone-2", "zone-3"]
    assert {worker["role"] for worker in workers} == {"worker"}
    kubeadm = config["kubeadmConfigPatchesJSON6902"][0]["patch"]
    assert f"{{name: node-monitor-grace-period, value: {NODE_GRACE_S}s}}" in kubeadm
    (kubelet,) = config["kubeadmConfigPatches"]
    assert f"nodeStatusUpdateFrequency: {NODE_REPORTS_S}s" in kubelet
    flags = (Path(kind.__file__).parent / "control_plane.py").read_text()
    assert "NodeRestriction,OwnerReferencesPermissionEnforcement" in flags
    assert "NodeRestriction,OwnerReferencesPermissionEnforcement" in kubeadm

"""The cluster tool itself: what it offers works, and whatever happens to it, the host ends as it was."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, ClusterError, LocalCluster, buildah, packages
from tests.cluster.host import CGROUPS
from tests.cluster.places import MACHINE_STATE, REPOSITORY, cache_dir, cache_state, checkout, state_dir
from tests.cluster.process import wait_for
from tests.wait import eventually

pytestmark = [
    pytest.mark.nodes,
    pytest.mark.skipif(
        os.environ.get("LLMFLEET_PROVIDER", "local") not in {"", "local"}, reason="this is about provider local"
    ),
]

NAME = f"tool-{checkout()}"
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsUser: 65532, runAsGroup: 65532, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: web
          image: localhost/llmfleet/busybox:1
          command: [sh, -c, "echo serving; mkdir /tmp/w; id -u > /tmp/w/index.html; exec httpd -f -p 8000 -h /tmp/w"]
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
          resources: {limits: {nvidia.com/gpu: 1, memory: 64Mi}}
          readinessProbe: {httpGet: {port: 8000, path: /}, periodSeconds: 1}
          volumeMounts: [{name: tmp, mountPath: /tmp}]
      volumes: [{name: tmp, emptyDir: {medium: Memory}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8000}]}
"""
# These count or time something, all by themselves.
VOLATILE = re.compile(r"nf_conntrack_count|inet_peer|/random/|/ns_last_pid|/pty/nr|/stat_refresh|/sched_")


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def sysctls() -> set[str]:
    found = set()
    for folder in ("kernel", "net", "vm"):
        for path in Path("/proc/sys", folder).rglob("*"):
            if path.is_file() and not VOLATILE.search(str(path)):
                with contextlib.suppress(OSError):  # some can only be written
                    found.add(f"{path} = {path.read_text(errors='replace')}")
    return found


def processes() -> set[str]:
    """Processes that this tool's cluster started or that run in its pods."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            command = (path / "cmdline").read_text().replace("\0", " ")
            # An ended process that its parent has not asked about yet has no command.
            if command and (str(state_dir(NAME)) in command or f"llmf-{NAME}-" in (path / "cgroup").read_text()):
                found.add(f"{path.name} {command}")
    return found


def foreign(path: str) -> bool:
    """Tell whether a path belongs to another cluster, of whichever user, or to an image build: they come and go."""
    if path.startswith((f"{state_dir(NAME)}/", f"/run/netns/llmf-{NAME}-")) or f"/llmf-{NAME}-" in path:
        return False
    record = MACHINE_STATE / "host.json"
    clusters = json.loads(record.read_text())["clusters"] if record.exists() else []
    others = tuple(f"{folder}/" for folder in clusters if folder != str(state_dir(NAME)))
    return path.startswith((*others, f"{cache_dir()}/")) or "/llmf-" in path


def abandoned(socket_path: Path) -> bool:
    """Tell whether nobody listens on a unix socket any more; those of pods that run elsewhere on the machine answer."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(socket_path))
        except ConnectionRefusedError:
            return True
        except FileNotFoundError:
            return False
        return False


def leavings() -> set[str]:
    """Files outside the state folder that nodes leave: CNI's results, the kubelet's log links, the shims' sockets."""
    found = {str(path) for path in (Path("/run/netns"), Path("/var/lib/kubelet"), Path("/etc/cni")) if path.exists()}
    for path in Path("/var/log/containers").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # a pod of another cluster ended
            found |= {str(path)} if not foreign(str(path.readlink())) else set()
    for path in Path("/var/lib/cni/results").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            found |= {str(path)} if str(state_dir(NAME)) in path.read_text() else set()
    return found | {str(path) for path in Path("/run/containerd/s").glob("*") if abandoned(path)}


def snapshot() -> dict[str, set[str]]:
    mounts = {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()}
    return {
        "links": {link["ifname"] for link in json.loads(run("ip", "-j", "link"))},
        "routes": set(run("ip", "route", "show", "table", "all").splitlines()),
        "rules": set(run("ip", "rule").splitlines()),
        "firewall": set(run("nft", "list", "ruleset").splitlines()),
        "namespaces": {str(path) for path in Path("/run/netns").glob("*") if not foreign(str(path))},
        "sysctls": sysctls(),
        "mounts": {mount for mount in mounts if not foreign(mount)},
        "cgroups": {str(path) for path in CGROUPS.glob("*/*") if path.is_dir() and not foreign(str(path))},
        "leavings": leavings(),
        "processes": processes(),
        "state": {str(path) for path in state_dir(NAME).glob("*")},
    }


@pytest.fixture
def host() -> Iterator[None]:
    """Nothing on the host is different after the test, though another cluster may be up and at work."""
    LocalCluster(NAME).down()
    before = snapshot()
    yield

    def changed() -> dict[str, set[str]]:
        after = snapshot()
        return {kind: before[kind] ^ after[kind] for kind in before if before[kind] != after[kind]}

    # What a pod of another cluster was just about to leave is gone the next time.
    eventually(lambda: not changed(), within_s=5, what="the host is as it was", last=changed, every_s=0.5)


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - a port of this machine's loopback
        return str(answer.read().decode())


def answers(url: str) -> bool:
    try:
        return bool(fetch(url))
    except OSError:
        return False


@pytest.mark.usefixtures("host")
def test_pods_services_dns_logs_exec_faults_and_a_clean_end() -> None:
    cluster = LocalCluster(NAME).up(nodes=2, gpus=1)
    try:
        cluster.kubectl("apply", "-f", "-", input=WEB)
        cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        nodes = cluster.kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")
        assert sorted(nodes.split()) == ["n1", "n2"], "each node has one GPU"

        url = cluster.expose("default", "web", "http")
        wait_for(lambda: answers(url), "the Service to answer", timeout_s=10)
        assert fetch(url).strip() == "65532"
        assert cluster.expose("default", "web", 80) == url, "asking twice opens one port"
        inside = ("exec", "deployment/web", "--", "busybox")
        assert cluster.kubectl(*inside, "wget", "-qO-", "http://web.default.svc.cluster.local/").strip() == "65532"
        assert "serving" in cluster.kubectl("logs", "deployment/web")

        cluster.restart("kubelet-n1")
        assert gpus(cluster, "n1") == "1"
        cluster.pause("kube-apiserver")
        with pytest.raises(ClusterError, match=r"imeout|deadline"):
            cluster.kubectl("get", "--raw", "/version", "--request-timeout=1s")
        cluster.resume("kube-apiserver")
        cluster.kubectl("get", "--raw", "/version", "--request-timeout=10s")
    finally:
        cluster.down()


def gpus(cluster: Cluster, node: str) -> str:
    return cluster.kubectl("get", "node", node, "-o", r"jsonpath={.status.allocatable.nvidia\.com/gpu}")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("moment", ["etcd", "kube-apiserver", "containerd-n1", "kube-proxy-n1"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_a_run_cut_off_half_way_is_cleaned_up(moment: str, how: signal.Signals) -> None:
    command = [sys.executable, "-m", "tests.cluster", "--name", NAME]
    record = state_dir(NAME) / "run" / f"{moment}.birth"
    with subprocess.Popen([*command, "up"], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as up:
        wait_for(lambda: record.exists() or up.poll() is not None, f"{moment} to start", timeout_s=60)
        up.send_signal(how)
        _, said = up.communicate(timeout=60)
    assert up.returncode == (-how if how == signal.SIGKILL else 130), said
    subprocess.run([*command, "down"], cwd=REPOSITORY, check=True, env=os.environ)


def test_control_planes_of_different_names_stand_side_by_side() -> None:
    first, second = LocalCluster(f"{NAME}-a"), LocalCluster(f"{NAME}-b")
    try:
        first.up(nodes=0)
        second.up(nodes=0)
        first.kubectl("create", "namespace", "only-here")
        assert first.server != second.server
        assert "only-here" not in second.kubectl("get", "namespaces")
        with pytest.raises(ClusterError, match="no network for nodes"):
            second.add_node()
        with pytest.raises(ClusterError, match="no node 'n1'; there are: none"):
            second.cut_off("n1")
        first.down()
        second.kubectl("get", "--raw", "/readyz")
    finally:
        first.down()
        second.down()


def test_an_image_build_leaves_no_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMFLEET_CACHE", str(tmp_path / "cache"))
    shutil.copy(packages.IMAGE_PACKAGES["busybox-static"], tmp_path / "busybox")
    (tmp_path / "Containerfile").write_text('FROM scratch\nCOPY busybox /\nRUN ["/busybox", "touch", "/made"]\n')
    try:
        stored = buildah.ensure(buildah.Build("tiny", tmp_path / "Containerfile", tmp_path), "1")
        buildah.push(stored, tmp_path / "layout", "tiny")
        assert buildah.exists(stored)
    finally:
        shutil.rmtree(cache_state())
    assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(tmp_path) in line]


def test_a_wrong_name_of_a_component_is_refused_with_those_there_are() -> None:
    with pytest.raises(ClusterError, match="no component 'kubelet'; there are: none"):
        LocalCluster(f"{NAME}-c").restart("kubelet")

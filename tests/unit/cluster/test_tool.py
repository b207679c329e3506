"""The small pure parts: names and places, progress, errors, versions, ports, sources, certificates."""

import json
import re
from pathlib import Path

import pytest
from cryptography import x509

from tests.cluster import gotools, packages
from tests.cluster.__main__ import main
from tests.cluster.control_plane import ControlPlane, Ports
from tests.cluster.errors import ClusterError
from tests.cluster.places import TOOLS, cache_dir, state_dir
from tests.cluster.progress import Progress


@pytest.mark.parametrize("name", ["", "Dev", "a_b", "-a", "a-", "x" * 21, "a/b", "../a"])
def test_a_name_that_could_not_be_part_of_a_path_or_host_name_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="not usable"):
        state_dir(name)


def test_a_state_folder_too_deep_for_unix_sockets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMFLEET_STATE", f"/{'x' * 80}")
    with pytest.raises(ClusterError, match="too long") as caught:
        state_dir("dev")
    assert "LLMFLEET_STATE" in caught.value.report()


def test_an_error_shows_the_end_of_its_log_and_what_to_do(tmp_path: Path) -> None:
    log = tmp_path / "etcd.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    report = ClusterError("etcd ended", log=log, advice="run it again").report()
    assert report.startswith("FAILED: etcd ended")
    assert str(log) in report
    assert "line 99" in report
    assert "line 9\n" not in report
    assert report.endswith("What to do: run it again")


def test_a_step_is_announced_with_the_time_it_took_before(capsys: pytest.CaptureFixture[str]) -> None:
    cache_dir().mkdir(parents=True)
    (cache_dir() / "durations.json").write_text(json.dumps({"build": 75.0}))
    with Progress().step("build it", key="build", expected=5):
        pass
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "build it ... (expect about 1 min 15 s)"
    assert re.fullmatch(r"build it: done in 0\.\d s", said[1])
    assert json.loads((cache_dir() / "durations.json").read_text())["build"] < 1


def test_a_failed_step_is_said_and_not_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ClusterError), Progress().step("build it", key="build"):
        raise ClusterError("no")
    assert "build it: FAILED after" in capsys.readouterr().err
    assert not (cache_dir() / "durations.json").exists()


def test_the_version_that_binaries_claim_is_the_one_that_is_built() -> None:
    module = (TOOLS / "kubernetes" / "go.mod").read_text()
    assert f"k8s.io/kubernetes v{gotools.KUBERNETES_VERSION}" in module
    staging = set(re.findall(r"=> k8s\.io/\S+ v0\.(\d+\.\d+)", module))
    assert staging == {gotools.KUBERNETES_VERSION.removeprefix("1.")}


def test_every_program_has_a_module_of_its_own_with_sums() -> None:
    for tool in gotools.TOOLS_BY_NAME.values():
        assert (TOOLS / tool.family / "go.mod").is_file()
        assert (TOOLS / tool.family / "go.sum").is_file()


def test_ports_are_distinct_and_outside_the_range_for_outgoing_connections() -> None:
    ports = Ports.free()
    chosen = {ports.api, ports.etcd, ports.etcd_peer, ports.controller_manager, ports.scheduler}
    assert len(chosen) == 5
    assert all(20000 <= port < 30000 for port in chosen)


def test_a_named_debian_mirror_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMFLEET_DEBIAN_MIRROR", "http://mirror.example/debian")
    assert packages.release_sources("trixie").split("] ")[1] == "http://mirror.example/debian trixie main\n"


def test_certificates_name_who_they_are_for(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path, "some-namespace", Ports())
    plane.write_credentials()
    plane.write_node_credentials(1)
    node = x509.load_pem_x509_certificate((tmp_path / "pki" / "n1.crt").read_bytes())
    assert node.subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"
    server = x509.load_pem_x509_certificate((tmp_path / "pki" / "apiserver.crt").read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)
    assert "10.96.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    assert (tmp_path / "pki" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert "https://172.30.0.1:6443" in plane.kubeconfig("kube-scheduler").read_text()


def test_the_command_line_says_what_is_wrong_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--name", "nothing", "kubeconfig"]) == 1
    said = capsys.readouterr().err
    assert "cluster 'nothing' is not up" in said
    assert "python -m tests.cluster --name nothing up" in said

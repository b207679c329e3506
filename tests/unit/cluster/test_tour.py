"""The end of the demo: its commands find what they name."""

from pathlib import Path

from tests.cluster import LocalCluster
from tests.demo import tour
from tests.demo.site import CLUSTER, Site


class Built(LocalCluster):
    """A cluster whose programs are all built."""

    def bin(self, name: str) -> Path:
        return Path(f"/cache/bin/{name}/0123/{name}")


def test_the_shell_finds_kubectl_and_helm() -> None:
    first, *_ = tour.look(Site(Built(CLUSTER)), "http://127.0.0.1:1")
    [line] = first.commands
    assert "PATH=/cache/bin/kubectl/0123:/cache/bin/helm/0123:$PATH" in line


def test_the_image_of_the_simulator_is_loaded_before_its_sample_is_applied() -> None:
    commands = [command for stop in tour.experiments("true") for command in stop.commands]
    applied = next(at for at, command in enumerate(commands) if "simulator.yaml" in command)
    assert commands[applied - 1].endswith(f"tests.cluster --name {CLUSTER} load-image simulator")

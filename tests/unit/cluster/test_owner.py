"""Two state folders on one machine: a cluster of the same name in each, and neither touches the other."""

from pathlib import Path

import pytest

from tests.cluster import LocalCluster, host, network
from tests.cluster.places import state_root


def test_a_cluster_of_the_same_name_of_another_state_folder_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces = tmp_path / "netns"
    spaces.mkdir()
    monkeypatch.setattr(network, "_NETNS", spaces)
    theirs = (network.control_plane_netns("demo"), network.node_netns("demo", 1))
    for space in theirs:
        (spaces / space).touch()
    assert network.namespaces("demo") == sorted(theirs)
    their_cgroup = host.cgroup("demo", 1)

    monkeypatch.setenv("LLMFLEET_STATE", f"{state_root()}/ours")
    LocalCluster("demo").down()
    assert list(state_root().iterdir()) == [], "its lock is gone with it"
    assert {path.name for path in spaces.iterdir()} == set(theirs)
    assert network.namespaces("demo") == []
    assert not {network.control_plane_netns("demo"), network.node_netns("demo", 1)} & set(theirs)
    assert host.cgroup("demo", 1) != their_cgroup

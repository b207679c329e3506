"""A packer of one-layer container images: the same content always gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an image: content, or the target of a link, or a directory when both are None."""

    content: bytes | None = None
    link: str | None = None
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Recipe:
    """A one-layer image.

    Attributes:
        name: Full name with registry and tag.
        entries: Paths inside the image, without a leading slash.
        config: The OCI image configuration's `config` (Entrypoint, Cmd, Env, User).
    """

    name: str
    entries: dict[str, Entry]
    config: dict[str, object] = field(default_factory=dict)


def pack(recipe: Recipe, target: Path) -> None:
    """Write the image as a docker-archive."""
    layer = _tar({path: entry for path, entry in sorted(recipe.entries.items())})
    layer_digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": recipe.config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        },
        sort_keys=True,
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [recipe.name], "Layers": [f"{layer_digest}.tar"]}]
    outer = {
        config_name: Entry(config),
        f"{layer_digest}.tar": Entry(layer),
        "manifest.json": Entry(json.dumps(manifest).encode()),
    }
    target.write_bytes(_tar(outer))


def _tar(entries: dict[str, Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, entry in entries.items():
            info = tarfile.TarInfo(path)
            info.mode = entry.mode
            if entry.content is not None:
                info.size = len(entry.content)
            elif entry.link is not None:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
            else:
                info.type = tarfile.DIRTYPE
            tar.addfile(info, io.BytesIO(entry.content) if entry.content is not None else None)
    return buffer.getvalue()

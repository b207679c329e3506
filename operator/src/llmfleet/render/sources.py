"""Model sources: which volume a source needs and what the engine is told instead of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_MOUNT_ROOT = "/models"


@dataclass(frozen=True, slots=True)
class Mounts:
    """Volumes that hold models, and where the engine finds them.

    Attributes:
        volumes: of the pod.
        volume_mounts: of the engine's container, read-only.
    """

    volumes: tuple[dict[str, Any], ...]
    volume_mounts: tuple[dict[str, Any], ...]

    @staticmethod
    def of(sources: Iterable[str]) -> "Mounts":
        """Return the volumes that a set of sources needs, one per claim or directory, in a stable order."""
        volumes, mounts = [], []
        for number, (volume, path) in enumerate(sorted({_volume(s) for s in sources if not s.startswith("hf://")})):
            scheme, _, rest = volume.partition("://")
            source = (
                {"persistentVolumeClaim": {"claimName": rest}}
                if scheme == "pvc"
                else {"hostPath": {"path": rest, "type": "Directory"}}
            )
            volumes.append({"name": f"model-{number}", **source})
            mounts.append({"name": f"model-{number}", "mountPath": path, "readOnly": True})
        return Mounts(tuple(volumes), tuple(mounts))


def location(source: str) -> str:
    """Return what the engine is told: a directory inside the container, or ``hf://org/repo[@revision]`` as it is."""
    scheme, _, rest = source.partition("://")
    if scheme == "hf":
        return source
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        return f"{_MOUNT_ROOT}/{claim}/{path}".rstrip("/")
    return f"{_MOUNT_ROOT}/host{rest}".rstrip("/")


def uses_host_path(source: str) -> bool:
    """Say whether a source is a directory of the node."""
    return source.startswith("hostpath://")


def _volume(source: str) -> tuple[str, str]:
    """Return what identifies the volume of a source, and its mount path."""
    scheme, _, rest = source.partition("://")
    if scheme == "pvc":
        claim = rest.partition("/")[0]
        return f"pvc://{claim}", f"{_MOUNT_ROOT}/{claim}"
    return source, location(source)

"""Where the cluster tool keeps its files: nothing is written into the checkout or into system folders."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from tests.cluster.errors import ClusterError

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = Path(__file__).resolve().parent / "tools"
MACHINE_STATE = Path("/run/llmfleet")
"""What all clusters of one machine share until the next boot."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")
_LONGEST_STATE_PATH = 70
"""A unix socket's path is limited to 107 bytes, and the deepest one lies 36 characters below this."""


def cache_dir() -> Path:
    """Return the folder of everything that is built or fetched once; safe to delete while no cluster runs."""
    return Path(os.environ.get("LLMFLEET_CACHE") or "~/.cache/llmfleet").expanduser().absolute()


def cache_state() -> Path:
    """Return the folder for sockets and mounts of programs that work on the cache: a short path, one for each cache."""
    return MACHINE_STATE / hashlib.sha256(str(cache_dir()).encode()).hexdigest()[:8]


def state_root() -> Path:
    """Return the folder that holds one state folder for each cluster."""
    return Path(os.environ.get("LLMFLEET_STATE") or "~/.local/state/llmfleet").expanduser().absolute()


def checkout() -> str:
    """Return six characters that stand for this checkout: tests of two checkouts run side by side."""
    return hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:6]


def mark(name: str) -> str:
    """Return what the network namespaces and cgroups of a cluster are called, before `-cp` or `-n1`.

    They are the machine's, and clusters of two state folders may have one name: each is known by both.
    """
    return f"llmf-{name}-{hashlib.sha256(str(state_root()).encode()).hexdigest()[:6]}"


def state_dir(name: str) -> Path:
    """Return the state folder of the cluster of that name.

    Raises:
        ClusterError: The name cannot be used in host names and paths, or the path is too long for unix sockets.
    """
    if not _NAME.fullmatch(name):
        raise ClusterError(f"cluster name {name!r} is not usable", advice="use up to 20 of a-z, 0-9 and inner dashes")
    path = state_root() / name
    if len(str(path)) > _LONGEST_STATE_PATH:
        raise ClusterError(
            f"{path} is too long a path for the unix sockets below it",
            advice="set LLMFLEET_STATE to a shorter folder",
        )
    return path

"""What the container's control group tells about memory: whether the kernel killed for it, and the limit.

Where only a child is killed the container lives on, and neither Kubernetes nor the engine's output says why.
"""

from pathlib import Path

GIB = 1024**3
_ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60  # version 1 writes a number near 2**63 for no limit


def kills(root: Path = _ROOT) -> int:
    """Returns how many processes of this container the kernel has killed for memory; 0 where nothing tells."""
    for path in (root / "memory.events", root / "memory/memory.oom_control"):  # version 2, version 1
        for line in _read(path).splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.isdecimal():
                return int(value)
    return 0


def limit_gib(root: Path = _ROOT) -> float | None:
    """Returns the container's memory limit, None where there is none."""
    for path in (root / "memory.max", root / "memory/memory.limit_in_bytes"):
        value = _read(path).strip()
        if value.isdecimal() and int(value) < _UNLIMITED:
            return int(value) / GIB
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""

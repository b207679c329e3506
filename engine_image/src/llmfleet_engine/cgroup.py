"""What the container's control group tells: how many cores it may use, how much memory, and whether that ran out.

Versions 1 and 2 of control groups; where nothing tells, there is no limit.
"""

import os
from pathlib import Path

GIB = 1024**3
ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60  # version 1 writes a number near 2**63 for no limit


def cores(root: Path = ROOT) -> int:
    """Returns how many cores this container may keep busy, at least 1."""
    quota, _, period = _read(root / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(root / "cpu/cpu.cfs_quota_us"), _read(root / "cpu/cpu.cfs_period_us")
    allowed = len(os.sched_getaffinity(0))
    if quota.isdecimal() and period.isdecimal() and int(period):
        allowed = min(allowed, int(quota) // int(period))
    return max(1, allowed)


def kills(root: Path = ROOT) -> int:
    """Returns how many processes of this container the kernel has killed for memory.

    Where only a child is killed the container lives on, and neither Kubernetes nor the engine's output says why.
    """
    for path in (root / "memory.events", root / "memory/memory.oom_control"):
        for line in _read(path).splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.isdecimal():
                return int(value)
    return 0


def memory_limit_gib(root: Path = ROOT) -> float | None:
    """Returns the container's memory limit, None where there is none."""
    for path in (root / "memory.max", root / "memory/memory.limit_in_bytes"):
        value = _read(path)
        if value.isdecimal() and int(value) < _UNLIMITED:
            return int(value) / GIB
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""

"""What nodes change on the machine outside their own folders, and how it is put back.

Everything here works from what is found on the machine, not from what a run remembers: it must also clean up after a
run that was killed, and after one whose containerd can no longer be asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster import network
from tests.cluster.cache import locked
from tests.cluster.files import write_whole
from tests.cluster.places import MACHINE_STATE, mark, state_root
from tests.cluster.process import boot_id, kill_all, wait_for

CGROUPS = Path("/sys/fs/cgroup")

# The kubelet writes these, and they hold for the whole machine.
_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_NEEDED_CONTROLLERS = {"cpu", "cpuset", "hugetlb", "memory", "pids"}
_RECORD = MACHINE_STATE / "host.json"
_CONTAINER_LOG_LINKS = Path("/var/log/containers")
_CNI_RESULTS = Path("/var/lib/cni/results")
_SHIM_SOCKETS = Path("/run/containerd/s")
_NETNS = Path("/run/netns")
# Folders that a node creates on a machine without Kubernetes; removed again when nothing else uses them.
_FOLDERS = (
    _CONTAINER_LOG_LINKS,
    _CNI_RESULTS,
    _CNI_RESULTS.parent,
    _SHIM_SOCKETS,
    _SHIM_SOCKETS.parent,
    _NETNS,
)


@dataclass(slots=True)
class _Borrowed:
    """How the machine was before its first cluster with nodes, and which clusters have nodes now.

    Attributes:
        boot: Since which boot this holds: on some machines /run outlives one.
        sysctls: Values by their path below /proc/sys.
        folders: Those of _FOLDERS that did not exist.
        netns_mounted: Whether there was the mount on /run/netns that `ip netns add` makes once.
        controllers: Cgroup controllers that had to be enabled at the root, on version 2.
        clusters: Their state folders.
    """

    boot: str
    sysctls: dict[str, str]
    folders: list[str]
    netns_mounted: bool
    controllers: list[str]
    clusters: list[str]


def borrow(name: str) -> None:
    """Note the machine's settings before the first cluster with nodes changes them."""
    with locked(MACHINE_STATE / "host.lock", "another cluster to start or stop"):
        borrowed = _load() or _Borrowed(
            boot=boot_id(),
            sysctls={key: value for key in _SYSCTLS if (value := _sysctl(key)) is not None},
            folders=[str(folder) for folder in _FOLDERS if not folder.exists()],
            netns_mounted=_is_mounted(_NETNS),
            controllers=sorted(_controllers("cgroup.controllers") - _controllers("cgroup.subtree_control")),
            clusters=[],
        )
        _switch(borrowed.controllers, "+")
        borrowed.clusters = sorted({*borrowed.clusters, f"{state_root()}/{name}"})
        _save(borrowed)


def give_back(name: str) -> bool:
    """Restore the machine's settings when no cluster with nodes is left, and tell whether that was so."""
    with locked(MACHINE_STATE / "host.lock", "another cluster to start or stop"):
        borrowed = _load()
        if borrowed is None:
            return False
        own = f"{state_root()}/{name}"
        borrowed.clusters = [path for path in borrowed.clusters if path != own and Path(path).is_dir()]
        if borrowed.clusters:
            _save(borrowed)
            return False
        for key, value in borrowed.sysctls.items():
            if _sysctl(key) != value:
                (Path("/proc/sys") / key).write_text(value)
        _switch(borrowed.controllers, "-")
        if not borrowed.netns_mounted and _is_mounted(_NETNS) and not any(_NETNS.iterdir()):
            subprocess.run(["umount", str(_NETNS)], check=True)
        for folder in borrowed.folders:
            with contextlib.suppress(OSError):  # somebody else's files are in it, or it never came to be
                Path(folder).rmdir()
        _RECORD.unlink()
        return True


def has_nodes() -> bool:
    """Tell whether any cluster of this machine has nodes."""
    borrowed = _load()
    return borrowed is not None and bool(borrowed.clusters)


def cgroup(name: str, node: int) -> str:
    """Return the cgroup below which a node keeps its pods, the same in every hierarchy."""
    return f"{mark(name)}-n{node}"


def create_cgroup(cgroup_name: str) -> None:
    """Create a cgroup in every hierarchy of the machine: the kubelet wants its root to exist."""
    for hierarchy in _hierarchies():
        target = hierarchy / cgroup_name
        target.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # Version 1 starts a child cpuset empty, and nothing may run in it then.
            if (target / setting).exists() and not (target / setting).read_text().strip():
                (target / setting).write_text((hierarchy / setting).read_text())


def sweep(name: str, state: Path) -> None:
    """Remove every trace of the cluster's nodes: processes, mounts, cgroups, namespaces, links to their files."""
    roots = [root for node in _nodes(name) for root in _cgroup_roots(cgroup(name, node))]
    spaces = network.namespaces(name)
    _kill_until_empty(roots, spaces)
    _remove_shim_sockets(state)
    _unmount(state)
    for root in roots:
        for folder, _, _ in os.walk(root, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                Path(folder).rmdir()
    for space in spaces:
        network.delete(space)
    for link in _CONTAINER_LOG_LINKS.glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{state}/"):
            link.unlink()
    for result in _CNI_RESULTS.glob("*"):
        # Each remembers the pod's namespace, whose path is ours.
        if f"{state}/" in result.read_text(errors="replace"):
            result.unlink()


def remove_state(state: Path) -> None:
    """Delete the cluster's state folder; nothing may be mounted below it any more."""
    if state.exists():
        # rmtree of an image's files takes seconds in Python.
        subprocess.run(["rm", "-rf", "--one-file-system", str(state)], check=True)


def _kill_until_empty(roots: list[Path], spaces: list[str]) -> None:
    def left() -> set[int]:
        pids = {pid for root in roots for pid in _pids_below(root)} | {
            pid for space in spaces for pid in network.processes(space)
        }
        kill_all(pids)
        return pids

    wait_for(lambda: not left(), "the nodes' processes to end after SIGKILL", timeout_s=20, state=lambda: str(left()))


def _pids_below(root: Path) -> set[int]:
    pids: set[int] = set()
    for listing in root.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):
            pids.update(int(pid) for pid in listing.read_text().split())
    return pids


def _nodes(name: str) -> list[int]:
    prefix = f"{mark(name)}-n"
    found = {path.name.removeprefix(prefix) for root in _hierarchies() for path in root.glob(f"{prefix}*")}
    return sorted(int(number) for number in found if number.isdigit())


def _cgroup_roots(cgroup_name: str) -> list[Path]:
    return [path for hierarchy in _hierarchies() if (path := hierarchy / cgroup_name).is_dir()]


def _hierarchies() -> list[Path]:
    """Return the root of every cgroup hierarchy: one on version 2, one for each controller on version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return sorted({path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()})


def _controllers(listing: str) -> set[str]:
    """Return the controllers in one of the root's files; none on version 1, which has no such files."""
    path = CGROUPS / listing
    return set(path.read_text().split()) & _NEEDED_CONTROLLERS if path.exists() else set()


def _switch(controllers: list[str], sign: str) -> None:
    for controller in controllers:
        with contextlib.suppress(OSError):  # the kubelet will name it if it needs it; others may use it by now
            (CGROUPS / "cgroup.subtree_control").write_text(f"{sign}{controller}")


def _remove_shim_sockets(state: Path) -> None:
    # containerd puts these into a folder of its own choosing; each bundle remembers its socket.
    for bundle in state.glob("n*/ctd/state/io.containerd.runtime.v2.task/k8s.io/*/address"):
        Path(bundle.read_text().strip().removeprefix("unix://")).unlink(missing_ok=True)


def _unmount(state: Path) -> None:
    for mount in sorted((mount for mount in _mounts() if mount.startswith(f"{state}/")), reverse=True):
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)


def _is_mounted(folder: Path) -> bool:
    return str(folder) in _mounts()


def _mounts() -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    # Blanks in paths are written as octal numbers.
    return [line.split()[1].encode().decode("unicode_escape") for line in lines]


def _sysctl(key: str) -> str | None:
    try:
        return (Path("/proc/sys") / key).read_text().strip()
    except FileNotFoundError:
        return None


def _load() -> _Borrowed | None:
    try:
        borrowed = _Borrowed(**json.loads(_RECORD.read_text()))
    except (FileNotFoundError, ValueError):  # after a crash of the machine it may be empty, and holds no more
        return None
    return borrowed if borrowed.boot == boot_id() else None


def _save(borrowed: _Borrowed) -> None:
    write_whole(_RECORD, json.dumps(asdict(borrowed), indent=1))

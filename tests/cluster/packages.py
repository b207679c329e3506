"""Debian packages: those the machine needs, and newer ones unpacked beside the system without touching it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.cluster.cache import cached, key_of, locked
from tests.cluster.errors import ClusterError
from tests.cluster.places import MACHINE_STATE
from tests.cluster.progress import PROGRESS

NODE_PACKAGES = {
    "conntrack": "/usr/sbin/conntrack",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "ethtool": "/sbin/ethtool",
    "iproute2": "/sbin/ip",
    "iptables": "/usr/sbin/iptables",
    "nftables": "/usr/sbin/nft",
    "runc": "/usr/sbin/runc",
    "socat": "/usr/bin/socat",
}
"""What a node needs, each package with a file that proves its presence."""

IMAGE_PACKAGES = {
    "buildah": "/usr/bin/buildah",
    "busybox-static": "/bin/busybox",
    "mmdebstrap": "/usr/bin/mmdebstrap",
    "skopeo": "/usr/bin/skopeo",
}
"""What building images needs."""

_BESIDE_SUITE = "trixie"
_BESIDE = ("etcd-server", "containerd")
_HAPROXY_SUITE = "bookworm"
_HAPROXY = ("haproxy", "liblua5.3-0", "libopentracing1", "libopentracing-c-wrapper0")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def install(packages: dict[str, str]) -> None:
    """Install those of the packages whose file is missing.

    Raises:
        ClusterError: Packages are missing and the tool may not or could not install them.
    """
    missing = sorted(name for name, proof in packages.items() if not Path(proof).exists())
    if not missing:
        return
    command = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0:
        raise ClusterError(f"Debian packages are missing: {', '.join(missing)}", advice=f"run as root: {command}")
    with (
        locked(MACHINE_STATE / "apt.lock", "another installation"),
        PROGRESS.step(f"install Debian packages {' '.join(missing)}", key="apt-install", expected=30),
    ):
        _apt(["apt-get", "update", "-q"])
        _apt(["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing])


def beside() -> Path:
    """Return the folder with etcd and containerd of a newer Debian release, unpacked: `usr/bin` has the programs.

    The running release may carry an etcd without the endpoints that the API server needs, or an old containerd.
    """
    return _unpacked(_BESIDE_SUITE, _BESIDE)


def haproxy() -> tuple[Path, dict[str, str]]:
    """Return HAProxy 2.6, the oldest that gateways run on, and the environment in which it finds its libraries."""
    root = _unpacked(_HAPROXY_SUITE, _HAPROXY)
    libraries = next((root / "usr" / "lib").glob("*-linux-gnu"))
    return root / "usr" / "sbin" / "haproxy", {"LD_LIBRARY_PATH": str(libraries)}


def _unpacked(suite: str, packages: tuple[str, ...]) -> Path:
    def unpack(target: Path) -> None:
        _unpack(target, suite, packages)

    return cached("debs", key_of(suite, *packages, _architecture()), unpack) / "root"


def debian_mirror() -> str:
    """Return the address from which this machine gets Debian packages.

    Raises:
        ClusterError: The machine runs another distribution and no mirror is named in LLMFLEET_DEBIAN_MIRROR.
    """
    named = os.environ.get("LLMFLEET_DEBIAN_MIRROR")
    if named:
        return named
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(RELEASE)|$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    for line in listed.splitlines():
        origin, label, _, address = line.split("|", 3)
        if (origin, label) == ("Debian", "Debian"):
            return address
    raise ClusterError(
        "no Debian mirror is configured on this machine",
        advice="on Debian run apt-get update; elsewhere install debian-archive-keyring and set LLMFLEET_DEBIAN_MIRROR",
    )


def release_sources(suite: str) -> str:
    """Return sources.list lines for a Debian release at this machine's mirror."""
    return f"deb [signed-by={_KEYRING}] {debian_mirror()} {suite} main\n"


def _unpack(target: Path, suite: str, packages: tuple[str, ...]) -> None:
    with PROGRESS.step(f"fetch {packages[0]} of Debian {suite}", key="debs", expected=5):
        work = target / "apt"
        for folder in ("lists/partial", "cache/archives/partial", "parts"):
            (work / folder).mkdir(parents=True)
        (work / "sources.list").write_text(release_sources(suite))
        private = [
            f"Dir::Etc::sourcelist={work}/sources.list",
            f"Dir::Etc::sourceparts={work}/parts",
            f"Dir::State::lists={work}/lists",
            f"Dir::Cache={work}/cache",
            "APT::Sandbox::User=",
            "Debug::NoLocking=1",
        ]
        options = [part for setting in private for part in ("-o", setting)]
        _apt(["apt-get", *options, "update", "-q"])
        _apt(["apt-get", *options, "download", "-q", *packages], cwd=work)
        for package in sorted(work.glob("*.deb")):
            _apt(["dpkg-deb", "-x", str(package), str(target / "root")])
        subprocess.run(["rm", "-rf", str(work)], check=True)


def _apt(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode != 0:
        raise ClusterError(
            f"`{' '.join(command)}` failed:\n{done.stderr.strip()[-2000:]}",
            advice="check that this machine reaches its Debian mirror",
        )


def _architecture() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()

"""Images built by buildah from Containerfiles, in a storage of the tool's own inside the cache."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import packages
from tests.cluster.cache import locked
from tests.cluster.errors import ClusterError
from tests.cluster.files import write_whole
from tests.cluster.places import cache_dir, cache_state
from tests.cluster.progress import PROGRESS

_CERTIFICATES = "/etc/ssl/certs"
_KEPT_BUILDS = 2
_MANY_STEPS = 40
"""From so many stored steps of builds on, all are dropped: they only make the next build quicker."""


@dataclass(frozen=True, slots=True)
class Build:
    """How an image is built.

    Attributes:
        name: Short name, also the name of its log.
        containerfile: The Containerfile.
        context: The folder that COPY reads.
        arguments: Values of its ARGs.
        contexts: Further folders, by the name that `COPY --from=NAME` uses.
        target: The stage to build; empty for the last.
        seconds: What a first build takes on 2 cores.
    """

    name: str
    containerfile: Path
    context: Path
    arguments: dict[str, str] = field(default_factory=dict)
    contexts: dict[str, Path] = field(default_factory=dict)
    target: str = ""
    seconds: float = 30.0


def ensure(build: Build, key: str) -> str:
    """Build the image unless the storage has one of the same key, and return the name under which it is stored.

    Args:
        build: How to build it.
        key: Stands for everything that goes into the image.
    """
    stored = f"localhost/llmfleet/built/{build.name}:{key}"
    packages.install(packages.IMAGE_PACKAGES)
    if exists(stored):
        return stored
    with locked(cache_dir() / "containers" / f"{build.name}.lock", f"another build of image {build.name}"):
        if not exists(stored):
            title = f"build image {build.name}"
            with _tidy(), PROGRESS.step(title, key=f"image-{build.name}", expected=build.seconds):
                _build(build, stored)
            _forget_old(build.name)
    return stored


def exists(reference: str) -> bool:
    """Tell whether the storage has an image of that name."""
    return (
        _run("buildah", "inspect", "--type", "image", "--format", "{{.FromImageID}}", reference, check=False).returncode
        == 0
    )


def push(stored: str, layout: Path, tag: str) -> None:
    """Write a stored image into an OCI layout; layers that the layout has already are not written again.

    This is skopeo's part because buildah would compress every layer, for minutes.
    """
    layout.mkdir(parents=True, exist_ok=True)
    source, target = f"containers-storage:{stored}", f"oci:{layout}:{tag}"
    policy = ("--policy", str(_policy()))
    _run("skopeo", *policy, "copy", "-q", "--dest-oci-accept-uncompressed-layers", source, target)


@contextlib.contextmanager
def _tidy() -> Iterator[None]:
    """Mark that a build is under way; the first of them removes what builds that were killed have left behind."""
    with (cache_dir() / "containers" / "builds.lock").open("w") as handle:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _run("buildah", "rm", "--all", check=False)
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def _build(build: Build, stored: str) -> None:
    arguments = [part for name, value in build.arguments.items() for part in ("--build-arg", f"{name}={value}")]
    contexts = [part for name, path in build.contexts.items() for part in ("--build-context", f"{name}={path}")]
    log = cache_dir() / "logs" / f"image-{build.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(
            [
                *("nice", "-n", "10", "buildah", "build", "--layers", "--isolation", "chroot"),
                *("--signature-policy", str(_policy())),
                # Where TLS passes a private authority, RUN steps need the certificates of this machine.
                *(("-v", f"{_CERTIFICATES}:{_CERTIFICATES}:ro") if Path(_CERTIFICATES).is_dir() else ()),
                *(("--target", build.target) if build.target else ()),
                *arguments,
                *contexts,
                *("-t", stored, "-f", str(build.containerfile), str(build.context)),
            ],
            env=_environment(),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    if done.returncode != 0:
        raise ClusterError(f"the build of image {build.name} failed", log=log, advice="the log says which step failed")


def _forget_old(name: str) -> None:
    """Remove all but the newest builds of an image; layers that others share stay."""
    columns = "{{.CreatedAtRaw}}|{{.Name}}:{{.Tag}}"
    listed = _run("buildah", "images", "--format", columns, "--filter", f"reference=localhost/llmfleet/built/{name}")
    for line in sorted(listed.stdout.splitlines())[:-_KEPT_BUILDS]:
        _run("buildah", "rmi", line.split("|", 1)[1], check=False)
    steps = _run("buildah", "images", "-q", "--filter", "dangling=true").stdout.split()
    if len(steps) > _MANY_STEPS:
        _run("buildah", "rmi", "--prune", check=False)


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-1000:]}")
    return done


def _environment() -> dict[str, str]:
    return os.environ | {"CONTAINERS_STORAGE_CONF": str(_storage()), "BUILDAH_ISOLATION": "chroot"}


def _storage() -> Path:
    root = cache_dir() / "containers"
    # Without the last line every command mounts the storage onto itself and leaves that mount on the machine.
    text = f"""\
[storage]
driver = "overlay"
graphroot = "{root}/storage"
runroot = "{cache_state()}/containers"
[storage.options.overlay]
skip_mount_home = "true"
"""
    return _written(root / "storage.conf", text)


def _policy() -> Path:
    return _written(cache_dir() / "containers" / "policy.json", '{"default": [{"type": "insecureAcceptAnything"}]}\n')


def _written(path: Path, text: str) -> Path:
    if not path.exists() or path.read_text() != text:
        write_whole(path, text)
    return path

"""The base image for builds on this machine: a small Debian with Python, made from packages, no registry asked."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from tests.cluster import buildah, packages
from tests.cluster.cache import key_of
from tests.cluster.errors import ClusterError
from tests.cluster.places import cache_dir
from tests.cluster.progress import PROGRESS

_SUITE = "bookworm"
_INCLUDE = ("ca-certificates", "libgomp1", "libnuma1", "libstdc++6", "python3", "python3-venv")
_LEFT_OUT = ("doc", "info", "locale", "man")
_RECIPE = "FROM scratch\nADD base.tar /\nENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"


def key() -> str:
    """Return what stands for the base image's content in the keys of images built on it."""
    return key_of(_SUITE, _RECIPE, *_INCLUDE, *_LEFT_OUT)


def ensure() -> str:
    """Return the stored name of the base image, made first if there is none."""
    packages.install(packages.IMAGE_PACKAGES)
    stored = f"localhost/llmfleet/built/base:{key()}"
    if buildah.exists(stored):
        return stored
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="base-", dir=cache_dir()) as folder:
        context = Path(folder)
        with PROGRESS.step(f"make a Debian {_SUITE} base image from packages", key="base", expected=32):
            _bootstrap(context / "base.tar")
        (context / "Containerfile").write_text(_RECIPE)
        build = buildah.Build("base", context / "Containerfile", context, seconds=10)
        return buildah.ensure(build, key())


def _bootstrap(target: Path) -> None:
    sources = target.with_name("sources.list")
    sources.write_text(packages.release_sources(_SUITE))
    log = cache_dir() / "logs" / "base.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(
            [
                *("nice", "-n", "10", "mmdebstrap", "--mode=root", "--variant=minbase"),
                *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in _LEFT_OUT),
                f"--include={','.join(_INCLUDE)}",
                *(_SUITE, str(target), str(sources)),
            ],
            env=os.environ | {"SOURCE_DATE_EPOCH": "0"},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    if done.returncode != 0:
        raise ClusterError("mmdebstrap failed", log=log, advice="check that this machine reaches its Debian mirror")

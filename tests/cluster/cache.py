"""The build cache: every entry is made once, under a key of its inputs, and appears whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster.places import cache_dir
from tests.cluster.progress import PROGRESS

_KEPT_GENERATIONS = 2
"""Older entries of the same kind are deleted: an engine image alone takes gigabytes."""


def key_of(*parts: str | bytes | Path) -> str:
    """Return a short key of the given inputs; of a path, its content counts, not its name or age."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()[:16]


def tree_key(root: Path, patterns: tuple[str, ...]) -> str:
    """Return a key of the names, modes and contents of the files below a folder that match any of the patterns."""
    files = sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})
    parts: list[str | bytes | Path] = []
    for path in files:
        if "__pycache__" not in path.parts:
            parts += [str(path.relative_to(root)), oct(path.stat().st_mode & 0o111), path]
    return key_of(*parts)


def cached(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the cache entry of that kind and key, a folder, made by `make` if it is not there yet.

    `make` fills a temporary folder, which is renamed when it returns: a killed build leaves nothing that looks ready.
    """
    shelf = cache_dir() / kind
    entry = shelf / key
    if entry.is_dir():
        os.utime(entry)
        return entry
    with locked(shelf / ".lock", f"another build of {kind}"):
        if entry.is_dir():
            return entry
        for leftover in shelf.glob(".tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        scratch = shelf / f".tmp-{key}"
        scratch.mkdir()
        make(scratch)
        scratch.rename(entry)
        _prune(shelf)
    return entry


@contextlib.contextmanager
def locked(path: Path, waiting_for: str) -> Iterator[None]:
    """Hold an exclusive lock file while the body runs; the kernel frees it when the process ends, however it ends.

    The body may delete the file: who waited for it takes the next one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with PROGRESS.step(f"wait for {waiting_for} to end"):
                    fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(path, handle.fileno()):
                yield
                return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _prune(shelf: Path) -> None:
    entries = sorted((path for path in shelf.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for entry in entries[:-_KEPT_GENERATIONS]:
        shutil.rmtree(entry, ignore_errors=True)

"""Puts what the image has prepared into the engine's cache, a volume that is empty in every new pod.

The CPU flavour prepares vLLM's descriptions of common model architectures. vLLM would make each in a process of its
own that imports all of torch, which takes a third of a small model's start; it takes none of them whose hash of the
model's code does not fit.
"""

import logging
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "LLMFLEET_CACHE_SEED"

log = logging.getLogger(__name__)


def plant(environment: Mapping[str, str]) -> None:
    """Copies the seed into VLLM_CACHE_ROOT, where the environment names both; what is there already stays.

    A start without it only takes longer, so what goes wrong is logged and nothing else.
    """
    seed, cache = environment.get(VARIABLE), environment.get("VLLM_CACHE_ROOT")
    if not (seed and cache):
        return
    try:
        for file in (path for path in sorted(Path(seed).rglob("*")) if path.is_file()):
            place(file, Path(cache) / file.relative_to(seed))
    except OSError as error:
        log.warning("vLLM's cache %s was not prepared, this start takes longer: %s", cache, error)


def place(file: Path, target: Path) -> None:
    """Copies a file to where none is yet. Engines that share the cache never see, nor overwrite, half a file.

    Raises:
        OSError: it cannot be written.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{uuid.uuid4().hex}")
    try:
        shutil.copyfile(file, beside)
        beside.rename(target)
    finally:
        beside.unlink(missing_ok=True)

"""Puts what the image has prepared into the engine's cache, a volume that is empty in every new pod.

The CPU flavour prepares vLLM's descriptions of common model architectures. vLLM would make each in a process of its
own that imports all of torch, which takes a third of a small model's start; it takes none of them whose hash of the
model's code does not fit.
"""

import shutil
from collections.abc import Mapping

VARIABLE = "LLMFLEET_CACHE_SEED"


def plant(environment: Mapping[str, str]) -> None:
    """Copies the seed into VLLM_CACHE_ROOT, where the environment names both.

    Raises:
        OSError: the cache cannot be written.
    """
    seed, cache = environment.get(VARIABLE), environment.get("VLLM_CACHE_ROOT")
    if seed and cache:
        shutil.copytree(seed, cache, dirs_exist_ok=True, copy_function=shutil.copyfile)

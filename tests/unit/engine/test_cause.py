from pathlib import Path

import pytest

from llmfleet_engine.cause import MOST, find

OUTPUTS = Path(__file__).parent / "outputs"


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("unknown_option", "engine option: unrecognized arguments: --no-such-flag"),
        ("invalid_choice", "engine option: argument --dtype: invalid choice: 'float9'"),
        ("missing_config", "ValueError: Invalid repository ID or local directory specified: '/models/noconf'."),
        ("too_long", "ValueError: User-specified max_model_len (1000000) is greater than the derived max_model_len"),
        ("wrong_quantization", "ValueError: Cannot find the config file for awq"),
        ("truncated_weights", "SafetensorError: Error while deserializing header: incomplete metadata"),
        ("unknown_architecture", "ValueError: The checkpoint you are trying to load has model type `nosuch`"),
        (
            "too_little_memory",
            "ValueError: Available memory on node 0 (11.62/13.84 GiB) on kv cache allocation is less",
        ),
        ("missing_adapter", "ValueError: Loading lora a failed: No adapter found"),
        ("missing_library", "libnuma.so.1: cannot open shared object file"),
        ("killed_core", "engine core exited unexpectedly"),
        ("port_taken", "OSError: [Errno 98] Address already in use"),
    ],
)
def test_real_failures_of_vllm_are_told_by_their_cause(output: str, cause: str) -> None:
    found = find((OUTPUTS / f"{output}.txt").read_text().splitlines())
    assert found is not None
    assert found.startswith(cause)
    assert "\n" not in found
    assert len(found) <= MOST


def worker(text: str, level: str = "ERROR") -> str:
    return f"(Worker_TP0 pid=23) {level} 11-21 11:27:24 [multiproc_executor.py:1063] {text}"


def core(text: str) -> str:
    return f"(EngineCore pid=22) ERROR 11-21 11:27:25 [core.py:1510] {text}"


OUT_OF_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB "
    "of which 1.20 GiB is free."
)
ECHO = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"


def test_the_gpu_that_is_too_small() -> None:
    lines = [core("EngineCore failed to start."), core("Traceback (most recent call last):"), core(OUT_OF_MEMORY)]
    assert find([*lines, "Traceback (most recent call last):", ECHO]) == OUT_OF_MEMORY.removeprefix("torch.")


def test_an_error_that_was_survived_is_not_the_cause() -> None:
    survived = ["Traceback (most recent call last):", "ValueError: this request was answered with 400"]
    died = [core("EngineCore encountered a fatal error."), core("Traceback (most recent call last):")]
    assert find([*survived, *died, core("RuntimeError: NCCL error: remote process exited")]) == (
        "RuntimeError: NCCL error: remote process exited"
    )


def test_of_a_chain_the_last_link_is_told() -> None:
    lines = [
        "Traceback (most recent call last):",
        "requests.exceptions.ConnectionError: name resolution failed",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        "OSError: We couldn't connect to the hub to load the files",
    ]
    assert find(lines) == "OSError: We couldn't connect to the hub to load the files"


def test_chains_of_mixed_processes_stay_apart() -> None:
    lines = [
        worker("KeyError: 'lm_head'"),
        core("ValueError: something of the core's own"),
        worker("The above exception was the direct cause of the following exception:"),
        worker("ValueError: weights do not fit the model"),
        core("EngineCore failed to start."),
    ]
    assert find(lines) == "ValueError: weights do not fit the model"


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ([], None),
        (["INFO 11-21 11:22:40 [a.py:1] well", "INFO:     Shutting down"], None),
        (["Fatal Python error: Bus error", "", "Thread 0x1:"], "Fatal Python error: Bus error"),
        ([core("Worker proc VllmWorker-0 died unexpectedly, ...")], "Worker proc VllmWorker-0 died unexpectedly"),
        (["Engine core proc EngineCore died unexpectedly"], "Engine core proc EngineCore died unexpectedly"),
        ([core("no room left"), core("  indented")], "no room left"),
        ([core("EngineCore failed to start.")], "EngineCore failed to start."),
    ],
)
def test_what_is_told_where_no_exception_says_it(lines: list[str], cause: str | None) -> None:
    assert find(lines) == cause


def test_a_cause_is_short() -> None:
    found = find(["ValueError: " + "x" * 5000])
    assert found is not None
    assert len(found) == MOST
    assert found.endswith("…")

from pathlib import Path

import pytest

from llmfleet_engine.options import Adapter, Source, UsageError, parse

EVERYTHING = """
--model hf://org/repo@v1.2 --served-model-name big --quantization int8 --dtype bfloat16 --max-model-len 8192
--draft-model hf://org/small --draft-tokens 5 --adapter legal=/adapters/legal --adapter tax=hf://org/tax
--gpus 8 --tensor-parallel-size 4 --pipeline-parallel-size 2 --max-num-seqs 256 --gpu-memory-utilization 0.9
--prefix-caching true --chunked-prefill false --drain-timeout 7.5 --propagation 0 --port 9000 --probe-port 9001
-- --swap-space 4 --verbose
"""
LEAST = ["--model", "/models/tiny", "--served-model-name", "tiny", "--gpus", "0"]


def test_the_least_that_is_needed_leaves_the_rest_to_the_engine() -> None:
    options = parse(LEAST)
    assert options.model == Source("/models/tiny", on_hub=False)
    assert options.max_model_len is None
    assert options.adapters == ()
    assert options.raw == ()
    assert (options.drain_timeout_s, options.propagation_s) == (300.0, 10.0)
    assert (options.port, options.probe_port) == (8000, 8001)
    assert options.termination_log == Path("/dev/termination-log")


def test_everything_at_once() -> None:
    options = parse(EVERYTHING.split())
    assert options.model == Source("org/repo", on_hub=True, revision="v1.2")
    assert options.gpu_memory_utilization == 0.9
    assert (options.prefix_caching, options.chunked_prefill) == (True, False)
    assert options.draft_model == Source("org/small", on_hub=True)
    assert options.adapters == (
        Adapter("legal", Source("/adapters/legal", on_hub=False)),
        Adapter("tax", Source("org/tax", on_hub=True)),
    )
    assert options.drain_timeout_s == 7.5
    assert options.raw == ("--swap-space", "4", "--verbose")
    assert len(options.sources()) == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (LEAST[2:], "--model"),
        (["--model", "models/tiny", *LEAST[2:]], "absolute directory"),
        (["--model", "s3://bucket/tiny", *LEAST[2:]], "hf://org/repo"),
        (["--model", "hf://repo", *LEAST[2:]], "hf://org/repo"),
        (["--model", "hf://org/repo@", *LEAST[2:]], "hf://org/repo"),
        ([*LEAST, "--gpus", "-1"], "--gpus"),
        ([*LEAST, "--gpus", "two"], "whole number"),
        ([*LEAST, "--max-model-len", "0"], "--max-model-len"),
        ([*LEAST, "--gpu-memory-utilization", "90"], "share"),
        ([*LEAST, "--gpu-memory-utilization", "0"], "share"),
        ([*LEAST, "--quantization", "int4"], "int4"),
        ([*LEAST, "--prefix-caching", "yes"], "true"),
        ([*LEAST, "--drain-timeout", "5m"], "seconds"),
        ([*LEAST, "--drain-timeout", "inf"], "seconds"),
        ([*LEAST, "--adapter", "legal"], "NAME=SOURCE"),
        ([*LEAST, "--adapter", "legal=hf://org/legal@v1"], "newest revision"),
        ([*LEAST, "--adapter", "tiny=/adapters/a"], "given twice"),
        ([*LEAST, "--draft-model", "/models/draft"], "--draft-tokens"),
        ([*LEAST, "--gpus", "2", "--tensor-parallel-size", "4"], "times --pipeline-parallel-size = 4"),
        ([*LEAST, "--port", "8001"], "--probe-port"),
        ([*LEAST, "--max-model"], "unrecognized"),
        ([*LEAST, "surplus"], "unrecognized"),
    ],
)
def test_a_wrong_line_is_refused_in_one_line_that_names_it(arguments: list[str], told: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(arguments)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "raw",
    [
        ["--max-model-len", "8"],
        ["--max_model_len=8"],
        ["-tp", "2"],
        ["--no-enable-prefix-caching"],
        ["--lora-modules", "a=/a"],
        ["--shutdown-timeout", "60"],
        ["--port", "80"],
        ["--uds", "/run/socket"],
        ["--swap-space", "4", "--dtype=auto"],
        ["--max-model-l=8"],
        ["--max_model_l", "8"],
        ["--quant", "awq"],
        ["--spec.num_speculative_tokens=3"],
        ["--speculative-config.model=/m"],
        ["--rev=main"],
        ["--ssl-k=/key"],
        ["--ssl-cert=/crt"],
        ["--dt=auto"],
        ["-qawq"],
        ["-q4"],
        ["-dp=2"],
        ["--config", "engine.yaml"],
    ],
)
def test_an_engine_option_that_the_launcher_sets_is_refused_however_it_is_spelt(raw: list[str]) -> None:
    with pytest.raises(UsageError, match="after -- is refused"):
        parse([*LEAST, "--", *raw])


def test_an_abbreviation_is_refused_with_the_name_it_stands_for() -> None:
    with pytest.raises(UsageError, match=r"^--max-model-l after -- is refused: it is short for --max-model-len: "):
        parse([*LEAST, "--", "--max-model-l=8"])


@pytest.mark.parametrize("raw", [["--model-loader-extra-config={}"], ["--stop", "-1"], ["-O3"], ["--seed=1.5"]])
def test_an_engine_option_of_its_own_goes_through(raw: list[str]) -> None:
    assert parse([*LEAST, "--", *raw]).raw == tuple(raw)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (["--api-key=sk-1"], ["--api-key=***"]),
        (["--api_key", "sk-1", "sk-2", "--seed", "7"], ["--api_key", "***", "***", "--seed", "7"]),
        (["--api-k=sk-1"], ["--api-k=***"]),
        (["--hf-token", "hf_1"], ["--hf-token", "***"]),
        (["--hf_t=hf_1"], ["--hf_t=***"]),
        (["--tokenizer=/t", "--tokenizer-mode", "slow"], ["--tokenizer=/t", "--tokenizer-mode", "slow"]),
    ],
)
def test_secrets_are_not_shown(raw: list[str], shown: list[str]) -> None:
    assert parse([*LEAST, "--", *raw]).raw_shown() == tuple(shown)


def test_raw_options_are_found_in_every_spelling() -> None:
    options = parse([*LEAST, "--", "--api_key=secret", "--load-format", "dummy", "--quiet"])
    assert options.raw_flag("--api-key")
    assert options.raw_value("--api-key") == "secret"
    assert options.raw_value("--load-format") == "dummy"
    assert options.raw_value("--quiet") is None
    assert options.raw_value("--missing") is None

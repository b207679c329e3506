import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmfleet_engine.checks import CheckError, check_gpus, check_sources, run
from llmfleet_engine.gpu import Gpu, GpuError
from llmfleet_engine.options import Options, parse


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Returns a directory with everything a model needs, as far as names go."""
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text('{"model_type": "llama"}')
    (directory / "model.safetensors").write_bytes(b"weights" * 10)
    (directory / "tokenizer.json").write_text("{}")
    return directory


def options(model: Path | str, *more: str, gpus: int = 0) -> Options:
    return parse(["--model", str(model), "--served-model-name", "m", "--gpus", str(gpus), *more])


def test_a_whole_model_passes(model: Path, tmp_path: Path) -> None:
    assert run(options(model), {"HOME": str(tmp_path / "home")}) == ()


def no_config(model: Path) -> None:
    (model / "config.json").unlink()


def broken_config(model: Path) -> None:
    (model / "config.json").write_text('{"model_type": ')


def listed_config(model: Path) -> None:
    (model / "config.json").write_text("[]")


def no_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def empty_weights(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"")


def pointer(model: Path) -> None:
    (model / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def missing_shard(model: Path) -> None:
    shards = {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def broken_index(model: Path) -> None:
    (model / "model.safetensors.index.json").write_text("{}")


def no_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


def gone(model: Path) -> None:
    shutil.rmtree(model)


def a_file(model: Path) -> None:
    shutil.rmtree(model)
    model.write_text("")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (no_config, "config.json does not exist"),
        (broken_config, "config.json is not valid JSON"),
        (listed_config, "no JSON object"),
        (no_weights, "no weights"),
        (empty_weights, "model.safetensors is empty"),
        (pointer, "git-lfs pointer"),
        (missing_shard, "first model-00002-of-00002.safetensors"),
        (broken_index, "no weight_map"),
        (no_tokenizer, "no tokenizer"),
        (gone, "does not exist"),
        (a_file, "is a file"),
    ],
)
def test_a_model_that_cannot_work_is_told_before_it_is_loaded(
    model: Path, harm: Callable[[Path], None], told: str
) -> None:
    harm(model)
    with pytest.raises(CheckError) as failed:
        check_sources(options(model))
    message = str(failed.value)
    assert told in message
    assert message.startswith("--model: ")
    assert str(model) in message
    assert "\n" not in message


def test_a_missing_directory_shows_what_is_there_instead(model: Path) -> None:
    with pytest.raises(CheckError, match="holds: model"):
        check_sources(options(model.parent / "modle"))


@pytest.mark.parametrize(
    ("harm", "raw"),
    [
        (no_config, ["--config-format", "mistral"]),
        (no_weights, ["--load-format", "dummy"]),
        (no_tokenizer, ["--tokenizer=/models/other"]),
        (no_tokenizer, ["--skip-tokenizer-init"]),
    ],
)
def test_a_raw_option_that_looks_elsewhere_switches_its_check_off(
    model: Path, harm: Callable[[Path], None], raw: list[str]
) -> None:
    harm(model)
    check_sources(options(model, "--", *raw))


def test_the_draft_model_and_adapters_are_looked_at_too(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckError, match=r"--draft-model: directory .* does not exist"):
        check_sources(options(model, "--draft-model", str(tmp_path / "draft"), "--draft-tokens", "4"))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    with pytest.raises(CheckError, match=r"--adapter a: .*adapter_config\.json does not exist"):
        check_sources(options(model, "--adapter", f"a={adapter}"))
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckError, match=r"--adapter a: no weights"):
        check_sources(options(model, "--adapter", f"a={adapter}"))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    check_sources(options(model, "--adapter", f"a={adapter}"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_what_another_user_may_not_read_names_the_user_and_the_remedy(model: Path) -> None:
    for directory in (model, *model.parents[:3]):
        directory.chmod(0o755)
    (model / "config.json").chmod(0o600)
    script = f"""
import os
from llmfleet_engine.checks import CheckError, check_sources
from llmfleet_engine.options import parse
os.setuid(65532)
try:
    check_sources(parse(["--model", {str(model)!r}, "--served-model-name", "m", "--gpus", "0"]))
except CheckError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "permission denied for uid 65532: set fsGroup" in done.stdout


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"HF_TOKEN": ""}, "HF_TOKEN is empty"),
        ({"HF_TOKEN": "hf_abc\n"}, "line break"),
        ({"HF_TOKEN_PATH": "/nowhere/token"}, "HF_TOKEN_PATH /nowhere/token cannot be read"),
        ({"HF_HOME": "/proc/cache"}, "HF_HOME: the engine cannot write to /proc/cache"),
    ],
)
def test_what_the_hub_needs_is_looked_at(environment: dict[str, str], told: str) -> None:
    with pytest.raises(CheckError) as failed:
        run(options("hf://org/repo"), environment)
    assert told in str(failed.value)
    assert "hf_abc" not in str(failed.value)


def test_a_good_token_passes(tmp_path: Path) -> None:
    run(options("hf://org/repo"), {"HF_TOKEN": "hf_abc", "HF_HOME": str(tmp_path / "cache")})


def test_the_hub_does_not_matter_to_a_local_model(model: Path) -> None:
    run(options(model), {"HF_TOKEN": "", "HF_HOME": "/proc/cache"})


def test_a_cache_that_cannot_be_written_names_its_variable(model: Path) -> None:
    with pytest.raises(CheckError, match="VLLM_CACHE_ROOT: the engine cannot write to /proc/vllm"):
        run(options(model), {"VLLM_CACHE_ROOT": "/proc/vllm"})


def test_gpus_are_counted(model: Path) -> None:
    two = (Gpu(0, "NVIDIA L4", 23_034), Gpu(1, "NVIDIA L4", 23_034))
    assert check_gpus(options(model, gpus=2), {}, lambda: two) == two
    with pytest.raises(CheckError, match="asks for 3 GPUs and 2 are there: NVIDIA L4"):
        check_gpus(options(model, gpus=3), {}, lambda: two)


def test_a_node_without_a_driver_is_told(model: Path) -> None:
    def find() -> tuple[Gpu, ...]:
        raise GpuError("NVML is not in this container")

    with pytest.raises(CheckError, match="--gpus asks for 1 GPUs: NVML is not in this container"):
        check_gpus(options(model, gpus=1), {}, find)


def test_without_gpus_nobody_asks_for_them(model: Path) -> None:
    def find() -> tuple[Gpu, ...]:
        raise AssertionError("NVML was asked")

    assert check_gpus(options(model), {}, find) == ()


NVIDIA_ONE = (Gpu(0, "NVIDIA A100-SXM4-80GB", 81_920),)


def nothing() -> tuple[Gpu, ...]:
    raise GpuError("NVML is not in this container")


def test_gpus_of_another_vendor_are_left_to_the_engine(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert check_gpus(options(model, "--gpu-resource=amd.com/gpu", gpus=8), {}, nothing) == ()
    assert "amd.com/gpu: not looked for" in caplog.text


@pytest.mark.parametrize(
    ("resource", "environment"),
    [
        ("nvidia.com/mig-1g.10gb", {}),
        ("nvidia.com/gpu.shared", {}),
        ("nvidia.com/gpu", {"NVIDIA_VISIBLE_DEVICES": "MIG-11111111-2222,MIG-33333333-4444"}),
        ("nvidia.com/gpu", {"CUDA_VISIBLE_DEVICES": "MIG-11111111-2222, MIG-33333333-4444"}),
    ],
)
def test_slices_of_a_gpu_are_not_counted_as_cards(
    model: Path, resource: str, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    given = options(model, f"--gpu-resource={resource}", gpus=2)
    with caplog.at_level(logging.INFO):
        assert check_gpus(given, environment, lambda: NVIDIA_ONE) == NVIDIA_ONE
    assert f"{resource}: not counted" in caplog.text
    with pytest.raises(CheckError, match="NVML is not in this container"):
        check_gpus(given, environment, nothing)


def test_whole_gpus_named_by_uuid_are_counted(model: Path) -> None:
    with pytest.raises(CheckError, match="asks for 2 GPUs and 1 are there"):
        check_gpus(options(model, gpus=2), {"NVIDIA_VISIBLE_DEVICES": "GPU-11111111-2222"}, lambda: NVIDIA_ONE)

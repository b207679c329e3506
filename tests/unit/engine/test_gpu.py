from collections.abc import Callable
from types import SimpleNamespace

import pynvml
import pytest

from llmfleet_engine import checks, gpu_check
from llmfleet_engine.gpu import Gpu, GpuError, Reading, inventory, readings, shortage, visible

FOUND = tuple(Gpu(index, "NVIDIA H100 80GB HBM3", 81_559) for index in range(4))


@pytest.mark.parametrize(
    ("chosen", "count"),
    [(None, 4), ("0,2", 2), ("2", 1), ("", 0), ("-1", 0), ("0,-1,1", 1), ("7", 0), ("GPU-aa, GPU-bb", 2)],
)
def test_cuda_visible_devices_hides_gpus(chosen: str | None, count: int) -> None:
    environment = {} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen}
    assert len(visible(FOUND, environment)) == count


def test_enough_gpus_are_no_shortage() -> None:
    assert shortage(4, FOUND, {}) is None
    assert shortage(2, FOUND, {}) is None


def test_a_shortage_says_what_is_there_and_where_to_look() -> None:
    told = shortage(5, FOUND, {})
    assert told is not None
    assert "asks for 5 GPUs and 4 are there: NVIDIA H100 80GB HBM3" in told
    assert "nvidia.com/gpu" in told


def test_a_shortage_by_a_variable_names_the_variable() -> None:
    told = shortage(4, FOUND, {"CUDA_VISIBLE_DEVICES": "0"})
    assert told is not None
    assert "CUDA_VISIBLE_DEVICES=0 hides 3" in told


def test_no_gpu_at_all_is_told_as_none() -> None:
    assert "0 are there: none" in str(shortage(1, (), {}))


class Library:
    """NVML with two GPUs, by the few functions that are asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = 0
        memory = SimpleNamespace(total=80 * 1024**3, used=20 * 1024**3)
        answers: dict[str, Callable[..., object]] = {
            "nvmlInit": self.start,
            "nvmlShutdown": self.stop,
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetName": lambda _: "NVIDIA L4",
            "nvmlDeviceGetMemoryInfo": lambda _: memory,
            "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=35, memory=1),
            "nvmlDeviceGetPowerUsage": lambda _: 71_500,
            "nvmlDeviceGetTemperature": lambda *_: 41,
        }
        for name, answer in answers.items():
            monkeypatch.setattr(pynvml, name, answer)

    def start(self) -> None:
        self.open += 1

    def stop(self) -> None:
        self.open -= 1


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    return Library(monkeypatch)


def fail(error: type[pynvml.NVMLError]) -> Callable[..., object]:
    def failing(*_: object) -> object:
        raise error

    return failing


def test_gpus_are_listed_and_read(library: Library) -> None:
    assert inventory() == (Gpu(0, "NVIDIA L4", 81_920), Gpu(1, "NVIDIA L4", 81_920))
    assert readings()[1] == Reading(1, 20_480, 81_920, 0.35, 71.5, 41)
    assert library.open == 0


def test_a_gpu_that_does_not_tell_its_power_is_read_all_the_same(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    del library
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", fail(pynvml.NVMLError_NotSupported))
    assert readings()[0].power_w is None


def test_a_node_without_a_driver_is_told_with_what_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", fail(pynvml.NVMLError_LibraryNotFound))
    with pytest.raises(checks.CheckError, match=r"libnvidia-ml\.so\.1.*nvidia\.com/gpu.*runtimeClassName"):
        checks.check_gpus(gpu_check.asked_for(1), {})


def test_a_gpu_that_fails_is_told_and_the_library_closed(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", fail(pynvml.NVMLError_GpuIsLost))
    with pytest.raises(GpuError, match="Xid"):
        inventory()
    assert library.open == 0


def test_the_gpu_check_passes_where_gpus_are(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    del library
    assert gpu_check.main() == 0
    told = capsys.readouterr().out
    assert "--gpus 2: the check passes" in told
    assert "--gpus 3: refused as it must be: --gpus asks for 3 GPUs and 2 are there: NVIDIA L4" in told
    assert "reading of GPU 1: 20480/81920 MiB, busy 35%, 72 W, 41 C" in told


def test_the_gpu_check_says_so_where_none_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", fail(pynvml.NVMLError_LibraryNotFound))
    assert gpu_check.main() == 2
    told = capsys.readouterr().out
    assert "this machine has no NVIDIA GPU, or no driver for it" in told
    assert "nvidia-smi -L" in told
    assert "pod" not in told
    assert "container" not in told

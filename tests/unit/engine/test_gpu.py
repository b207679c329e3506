import pytest

from llmfleet_engine.gpu import Gpu, shortage, visible

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

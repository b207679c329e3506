"""What NVIDIA's management library (NVML) tells about the GPUs of this container.

NVML and never CUDA: a CUDA context in the launcher would take GPU memory from the engine for as long as it lives.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pynvml

MIB = 1024 * 1024


class GpuError(Exception):
    """NVML cannot be asked; the text is one line for a person."""


class NoLibraryError(GpuError):
    """NVML is not here. Why that is so, and what to do about it, is another matter in a pod than on a machine."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    index: int
    name: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What one GPU is doing."""

    index: int
    memory_used_mib: int
    memory_total_mib: int
    utilization: float  # share of the last sample period in which a kernel ran, 0-1
    power_w: float | None  # None where the GPU does not tell
    temperature_c: int


@contextmanager
def _nvml() -> Iterator[None]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound as error:
        raise NoLibraryError("NVML (libnvidia-ml.so.1) is not here") from error
    except pynvml.NVMLError as error:
        raise GpuError(f"NVML does not start ({error}): look at the machine's NVIDIA driver") from error
    try:
        yield
    except pynvml.NVMLError as error:
        raise GpuError(
            f"NVML fails ({error}): look at the machine's NVIDIA driver, `dmesg` shows Xid errors"
        ) from error
    finally:
        pynvml.nvmlShutdown()


def inventory() -> tuple[Gpu, ...]:
    """Returns the GPUs of this container.

    Raises:
        GpuError: NVML cannot be asked.
    """
    with _nvml():
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            found.append(Gpu(index, str(pynvml.nvmlDeviceGetName(handle)), int(memory.total) // MIB))
        return tuple(found)


def readings() -> tuple[Reading, ...]:
    """Reads memory, utilisation, power and temperature of every GPU; some milliseconds each.

    Raises:
        GpuError: NVML cannot be asked.
    """
    with _nvml():
        return tuple(_reading(index) for index in range(pynvml.nvmlDeviceGetCount()))


def _reading(index: int) -> Reading:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    try:
        power_w = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
    except pynvml.NVMLError_NotSupported:
        power_w = None
    return Reading(
        index=index,
        memory_used_mib=int(memory.used) // MIB,
        memory_total_mib=int(memory.total) // MIB,
        utilization=pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
        power_w=power_w,
        temperature_c=pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
    )


def visible(gpus: tuple[Gpu, ...], environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Leaves out the GPUs that CUDA_VISIBLE_DEVICES hides from the engine; NVML does not know that variable."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return gpus
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    if "-1" in names:  # CUDA stops reading there
        names = names[: names.index("-1")]
    if all(name.isdecimal() for name in names):
        return tuple(gpu for gpu in gpus if str(gpu.index) in names)
    return gpus[: len(names)]  # names by UUID: how many is all that matters here


def sliced(environment: Mapping[str, str]) -> bool:
    """Tells whether the container was given slices of GPUs (MIG), which share the resource name of whole ones."""
    names = ",".join(environment.get(name, "") for name in ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"))
    return any(name.strip().startswith("MIG-") for name in names.split(","))


def shortage(asked: int, found: tuple[Gpu, ...], environment: Mapping[str, str]) -> str | None:
    """Says in one line what is wrong where fewer GPUs are there than asked for; None where all is well."""
    usable = visible(found, environment)
    if len(usable) >= asked:
        return None
    hidden = ""
    if len(usable) < len(found):
        hidden = f" (CUDA_VISIBLE_DEVICES={environment['CUDA_VISIBLE_DEVICES']} hides {len(found) - len(usable)})"
    names = ", ".join(sorted({gpu.name for gpu in usable})) or "none"
    return (
        f"--gpus asks for {asked} GPUs and {len(usable)} are there{hidden}: {names}; look at the nvidia.com/gpu limit "
        "of the pod and at `nvidia-smi -L` on the node"
    )

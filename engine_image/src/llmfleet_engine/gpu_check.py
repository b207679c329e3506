"""`python -m llmfleet_engine.gpu_check`: shows on a machine with an NVIDIA GPU that the launcher's GPU check works.

No cluster and no engine: it asks for the GPUs that are there (the check must pass), for one more (it must fail with
its message), and takes a reading. Needs Python 3.11 or newer and nvidia-ml-py.
"""

import os
import sys

from llmfleet_engine import checks, gpu
from llmfleet_engine.options import Options, parse


def asked_for(gpus: int) -> Options:
    """Returns the options of a launcher that is given `gpus` GPUs."""
    return parse(["--model", "/models/none", "--served-model-name", "none", "--gpus", str(gpus)])


def say(line: str) -> None:
    """Prints a line."""
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Runs the check; returns 0 where everything went as it must, 1 where not, 2 on a machine without a GPU."""
    try:
        found = gpu.inventory()
    except gpu.NoLibraryError as error:
        say(
            f"gpu-check cannot run: {error}, so this machine has no NVIDIA GPU, or no driver for it; where there is a "
            "GPU, install NVIDIA's driver until `nvidia-smi -L` lists it"
        )
        return 2
    except gpu.GpuError as error:
        say(f"gpu-check cannot run: {error}")
        return 2
    if not found:
        say("gpu-check cannot run: NVML answers and knows no GPU; does `nvidia-smi -L` list one?")
        return 2
    for one in found:
        say(f"found GPU {one.index}: {one.name}, {one.memory_mib} MiB")
    count = len(gpu.visible(found, os.environ))
    good = passes(count) and fails(count + 1)
    for reading in gpu.readings():
        power = "power not told" if reading.power_w is None else f"{reading.power_w:.0f} W"
        say(
            f"reading of GPU {reading.index}: {reading.memory_used_mib}/{reading.memory_total_mib} MiB, busy "
            f"{reading.utilization:.0%}, {power}, {reading.temperature_c} C"
        )
    say("gpu-check: all as it must be" if good else "gpu-check: FAILED")
    return 0 if good else 1


def passes(count: int) -> bool:
    """Asks for the GPUs that are there."""
    try:
        checks.check_gpus(asked_for(count), os.environ)
    except checks.CheckError as error:
        say(f"--gpus {count}: refused, and should not be: {error}")
        return False
    say(f"--gpus {count}: the check passes")
    return True


def fails(count: int) -> bool:
    """Asks for more GPUs than are there."""
    try:
        checks.check_gpus(asked_for(count), os.environ)
    except checks.CheckError as error:
        say(f"--gpus {count}: refused as it must be: {error}")
        return True
    say(f"--gpus {count}: the check passes, and should not")
    return False


if __name__ == "__main__":
    sys.exit(main())

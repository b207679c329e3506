"""The Python environment with real vLLM for CPUs, from the committed lock, outside the checkout.

LLMFLEET_ENGINE_PYTHON names an interpreter that has one already; otherwise one is made in the cache (some gigabytes,
a minute or two) and kept until the list of packages changes.
"""

import os
import subprocess
from pathlib import Path

from tests.cluster.cache import cached, key_of
from tests.cluster.places import REPOSITORY
from tests.cluster.progress import PROGRESS

VARIABLE = "LLMFLEET_ENGINE_PYTHON"
_LIST = ("--quiet", "--frozen", "--no-dev", "--package", "llmfleet-engine", "--extra", "cpu", "--no-emit-workspace")


def python() -> Path:
    """Return the interpreter, its environment made first if need be."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    uv = os.environ.get("UV", "uv")  # uv tells what it runs where it is
    requirements = subprocess.run(
        [uv, "export", *_LIST, "--no-header", "--no-annotate"], cwd=REPOSITORY, capture_output=True, check=True
    ).stdout

    def make(target: Path) -> None:
        listed = target / "requirements.txt"
        listed.write_bytes(requirements)
        with PROGRESS.step("install vLLM for CPUs", key="engine-venv", expected=90):
            subprocess.run([uv, "venv", "--quiet", "--python", "3.11", str(target / "venv")], check=True)
            install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", str(listed)]
            subprocess.run(install, env=os.environ | {"VIRTUAL_ENV": str(target / "venv")}, check=True)

    return cached("engine-venv", key_of(requirements), make) / "venv" / "bin" / "python"

"""The repository's own shape: what would break it in ways that nobody connects with their cause."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_operator_is_no_package() -> None:
    # As a package it would shadow the standard library's `operator` for every process started in this folder.
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_the_standard_library_can_be_imported_from_here() -> None:
    command = [sys.executable, "-c", "import operator, collections; print(operator.__file__)"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).is_relative_to(ROOT)


def test_make_help_lists_every_target_in_one_line() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE))
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert all(len(line) == 2 for line in lines), f"a target without a description:\n{done.stdout}"
    assert {line[0] for line in lines} == targets
    assert len(lines) == len(targets), "a target is listed twice"
    assert all(len(line) <= 120 for line in done.stdout.splitlines())


def test_every_target_is_phony() -> None:
    # A file or folder of that name would otherwise switch the target off: there is a folder `operator`, one day `test`.
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].replace("\\", " ").split()) == set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE))

import os
from pathlib import Path

import pytest

from llmfleet_engine.cgroup import cores, kills, memory_limit_gib


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    for folder in ("cpu", "memory"):
        (tmp_path / folder).mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "memory/memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
    return tmp_path


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 1\noom_group_kill 0\n")
    (tmp_path / "memory.max").write_text(f"{4 * 1024**3}\n")
    return tmp_path


def test_version_1(version_1: Path) -> None:
    assert (cores(version_1), kills(version_1), memory_limit_gib(version_1)) == (1, 2, None)


def test_version_2(version_2: Path) -> None:
    assert (cores(version_2), kills(version_2), memory_limit_gib(version_2)) == (1, 1, 4.0)


def test_without_limits(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert cores(tmp_path) == len(os.sched_getaffinity(0))
    assert (kills(tmp_path), memory_limit_gib(tmp_path)) == (0, None)

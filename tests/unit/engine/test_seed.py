import logging
import shutil
from pathlib import Path

import pytest

from llmfleet_engine.seed import plant


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A seed of one file, and a cache that is not there yet."""
    seed = tmp_path / "seed"
    (seed / "modelinfos").mkdir(parents=True)
    (seed / "modelinfos/llama.json").write_text("{}")
    (seed / "modelinfos/llama.json").chmod(0o444)
    return {"LLMFLEET_CACHE_SEED": str(seed), "VLLM_CACHE_ROOT": str(tmp_path / "cache")}


def test_the_seed_comes_into_the_cache_and_leaves_the_rest(environment: dict[str, str], tmp_path: Path) -> None:
    infos = tmp_path / "cache/modelinfos"
    infos.mkdir(parents=True)
    (infos / "own.json").write_text("[]")
    for _ in range(2):  # a container that starts again finds its cache as it was
        plant(environment)
    assert {path.name: path.read_text() for path in infos.iterdir()} == {"llama.json": "{}", "own.json": "[]"}


def test_a_file_that_another_engine_wrote_is_not_touched(environment: dict[str, str], tmp_path: Path) -> None:
    theirs = tmp_path / "cache/modelinfos/llama.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("of another engine that shares this claim")
    before = theirs.stat()
    plant(environment)
    assert theirs.read_text() == "of another engine that shares this claim"
    assert (theirs.stat().st_ino, theirs.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_cache_without_room_costs_time_and_not_the_start(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: Path, target: Path) -> None:
        target.write_text("half")
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    with caplog.at_level(logging.WARNING):
        plant(environment)
    assert "No space left on device" in caplog.text
    assert list((tmp_path / "cache/modelinfos").iterdir()) == []


def test_an_image_without_a_seed_is_left_alone(tmp_path: Path) -> None:
    plant({"VLLM_CACHE_ROOT": str(tmp_path / "cache")})
    plant({"LLMFLEET_CACHE_SEED": str(tmp_path / "seed")})
    assert list(tmp_path.iterdir()) == []

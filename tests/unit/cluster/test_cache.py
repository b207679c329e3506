import fcntl
import os
import threading
from pathlib import Path

import pytest

from tests.cluster.cache import cached, key_of, locked, tree_key
from tests.cluster.places import cache_dir
from tests.wait import eventually


def test_an_entry_is_made_once_for_its_key() -> None:
    made = []

    def make(target: Path) -> None:
        made.append(target)
        (target / "file").write_text("content")

    first, second = cached("kind", "k1", make), cached("kind", "k1", make)
    assert first == second
    assert (second / "file").read_text() == "content"
    assert len(made) == 1


def test_a_failed_build_leaves_nothing_that_looks_ready() -> None:
    def fail(target: Path) -> None:
        (target / "half").write_text("")
        raise RuntimeError("stopped half-way")

    with pytest.raises(RuntimeError):
        cached("kind", "k1", fail)
    entry = cached("kind", "k1", lambda target: (target / "whole").touch())
    assert [path.name for path in entry.iterdir()] == ["whole"]
    assert sorted(path.name for path in entry.parent.iterdir()) == [".lock", "k1"]


def test_two_builds_at_a_time_make_one_entry() -> None:
    made = []
    begun = threading.Event()

    def make(target: Path) -> None:
        begun.set()
        made.append(target)

    threads = [threading.Thread(target=cached, args=("kind", "k1", make)) for _ in range(4)]
    with locked(cache_dir() / "kind" / ".lock", "the test"):
        for thread in threads:
            thread.start()
        assert not begun.is_set()
    for thread in threads:
        thread.join(timeout=10)
    assert len(made) == 1


def test_who_waited_for_a_lock_that_was_deleted_keeps_others_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "lock"
    held, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with locked(lock, "the test"):
            held.set()
            leave.wait(10)

    waiter = threading.Thread(target=wait)
    with locked(lock, "nobody"):
        waiter.start()
        eventually(lambda: "wait for the test" in capsys.readouterr().err, within_s=10, what="it waits for the lock")
        lock.unlink()
    assert held.wait(10)
    with lock.open() as handle, pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    leave.set()
    waiter.join(timeout=10)


def test_only_the_last_two_generations_are_kept() -> None:
    for age, key in ((30, "old"), (20, "middle")):
        entry = cached("kind", key, lambda _: None)
        stamp = entry.stat().st_mtime - age
        os.utime(entry, (stamp, stamp))
    newest = cached("kind", "new", lambda _: None)
    assert sorted(path.name for path in newest.parent.iterdir() if path.is_dir()) == ["middle", "new"]


def test_keys_tell_parts_apart_and_follow_contents(tmp_path: Path) -> None:
    assert key_of("ab", "c") != key_of("a", "bc")
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "code.py"
    source.write_text("one")
    before = tree_key(tmp_path, ("src/**/*",))
    os.utime(source, (1, 1))
    assert tree_key(tmp_path, ("src/**/*",)) == before, "age does not count"
    (tmp_path / "src" / "__pycache__").mkdir()
    (tmp_path / "src" / "__pycache__" / "code.pyc").write_text("")
    assert tree_key(tmp_path, ("src/**/*",)) == before, "bytecode does not count"
    source.chmod(0o755)
    changed = tree_key(tmp_path, ("src/**/*",))
    assert changed != before, "becoming executable counts"
    source.write_text("two")
    assert tree_key(tmp_path, ("src/**/*",)) != changed

"""Progress for people: what is being done, for how long already, and how long it took last time."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator

from tests.cluster.files import write_whole
from tests.cluster.places import cache_dir

_HEARTBEAT_S = 30.0
_REFRESH_S = 0.5
_WIDTH = 80
"""For terminals that do not tell theirs."""
_WORTH_ANNOUNCING_S = 3.0
"""A step expected to be shorter is only reported when it is done."""


class Step:
    """A step under way.

    Attributes:
        detail: How far it is, in a few words; its body may set it at any time, and the live line shows it.
    """

    def __init__(self, title: str, expected: float) -> None:
        self.detail = ""
        self.title = title
        self.expected = expected
        self.started = time.monotonic()
        self.last_line = self.started
        self.announced = False

    def __str__(self) -> str:
        expectation = f" of about {duration(self.expected)}" if self.expected >= 1 else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.title} ({duration(time.monotonic() - self.started)}{expectation}){detail}"


class Progress:
    """Prints steps to standard error: a live line on a terminal, otherwise plain lines and a heartbeat.

    Steps may run side by side in threads. How long each took is remembered under its key and is the expectation of
    the next run.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[Step] = []
        self._ticker: threading.Thread | None = None
        self._live = sys.stderr.isatty()

    @contextlib.contextmanager
    def step(self, title: str, *, key: str = "", expected: float = 0.0) -> Iterator[Step]:
        """Show a step while the body runs.

        Args:
            title: What is done, as a phrase that starts with a verb.
            key: Under which name the duration is remembered; empty for steps that are not worth it.
            expected: Seconds to expect where no duration is remembered yet.
        """
        step = Step(title, _remembered(key, expected) if key else expected)
        with self._lock:
            self._active.append(step)
            if step.expected >= _WORTH_ANNOUNCING_S:
                self._announce(step)
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
                self._ticker.start()
        outcome = "FAILED after"
        try:
            yield step
            outcome = "done in"
        except KeyboardInterrupt:
            outcome = "interrupted after"
            raise
        finally:
            took = time.monotonic() - step.started
            with self._lock:
                self._active.remove(step)
                self._print(f"{step.title}: {outcome} {duration(took)}")
            if key and outcome == "done in":
                _remember(key, took)

    def say(self, line: str) -> None:
        """Print one line above the live line."""
        with self._lock:
            self._print(line)

    def _announce(self, step: Step) -> None:
        step.announced = True
        if not self._live:
            expectation = f" (expect about {duration(step.expected)})" if step.expected >= 1 else ""
            self._print(f"{step.title} ...{expectation}")

    def _print(self, line: str) -> None:
        clear = "\r\033[K" if self._live else ""
        print(f"{clear}{line}", file=sys.stderr, flush=True)

    def _tick(self) -> None:
        while True:
            time.sleep(_REFRESH_S)
            with self._lock:
                if not self._active:
                    self._ticker = None
                    return
                if self._live:
                    line = " | ".join(str(step) for step in self._active)
                    width = (os.get_terminal_size(sys.stderr.fileno()).columns or _WIDTH) - 1
                    print(f"\r\033[K{line[:width]}", end="", file=sys.stderr, flush=True)
                    continue
                now = time.monotonic()
                for step in self._active:
                    if not step.announced and now - step.started > _WORTH_ANNOUNCING_S:
                        self._announce(step)
                    if now - step.last_line >= _HEARTBEAT_S:
                        step.last_line = now
                        self._print(f"{step} ... still at it")


PROGRESS = Progress()
"""The one voice of the tool: steps of several threads must not write over each other."""


def duration(seconds: float) -> str:
    """Return a time span as people say it: 4.1 s, 35 s, 2 min 05 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _load_durations() -> dict[str, float]:
    try:
        return dict(json.loads((cache_dir() / "durations.json").read_text()))
    except (OSError, ValueError):
        return {}


def _remembered(key: str, fallback: float) -> float:
    return _load_durations().get(key, fallback)


def _remember(key: str, seconds: float) -> None:
    durations = _load_durations() | {key: round(seconds, 1)}
    write_whole(cache_dir() / "durations.json", json.dumps(durations, indent=1, sort_keys=True))

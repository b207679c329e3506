"""The errors of the cluster tool: what went wrong, where it is written down, and what to do about it."""

from __future__ import annotations

from pathlib import Path

_TAIL_LINES = 15


class ClusterError(Exception):
    """A step failed.

    Attributes:
        log: The log file that tells most about it, when there is one.
        advice: What the person in front of it can do, in one sentence.
    """

    def __init__(self, message: str, *, log: Path | None = None, advice: str = "") -> None:
        super().__init__(message)
        self.log = log
        self.advice = advice

    def report(self) -> str:
        """Return the message, the end of the log and the advice, ready to print."""
        parts = [f"FAILED: {self}"]
        if self.log is not None and self.log.is_file():
            lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
            parts += [f"--- end of {self.log}", *(line[:400] for line in lines), "---"]
        if self.advice:
            parts.append(f"What to do: {self.advice}")
        return "\n".join(parts)


class UnsupportedError(ClusterError):
    """This kind of cluster does not offer what was asked of it. Tests that need it are skipped with this message."""

"""Finds in vLLM's output why it died. Pure.

vLLM is several processes. The one that fails prints its traceback first; then each process above it fails with an
exception that only says "see above", and the very last lines are warnings about leaked semaphores. What a person needs
is the first exception of the last failure that is not such an echo.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MOST = 600  # characters; Kubernetes keeps 4096 bytes, a sentence in a status should be shorter

# "(Worker_TP0 pid=23) ERROR 11-21 11:26:25 [multiproc_executor.py:953] " and older spellings of it
_PREFIX = re.compile(
    r"^(?:\((?P<process>[^)]*pid=\d+)\) ?)?"
    r"(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d \[?[\w.]+:\d+\] ?)?"
)
_RAISED = re.compile(
    r"^(?P<type>(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit|Abort)): (?P<text>.+)"
)
_PYDANTIC = re.compile(r"^\d+ validation errors? for \w+$")
_PYDANTIC_END = re.compile(r" ?\[type=\w+, input_.*")
_USAGE = re.compile(r"^(?:\S+\.py|vllm\b.*): error: (?P<text>.+)")
_LIBRARY = re.compile(
    r"[\w./+-]+\.so[.\d]*: (?:cannot open shared object file|file too short|undefined symbol)[^'\")]*"
)
_CHAINED = ("The above exception was the direct cause", "During handling of the above exception")
_FATAL = re.compile(r"^(?:Fatal Python error: .+|Segmentation fault.*|Bus error.*|terminate called .+|Aborted.*)")
_VANISHED = re.compile(r"(?:[Ee]ngine core|[Ww]orker proc)(?: proc)?(?: \S+)? (?:exited|died) unexpectedly")
_CORE_FAILED = re.compile(rf"EngineCore (?:failed to start|encountered a fatal error)|{_VANISHED.pattern}")

_ECHOES = re.compile(
    r"Engine core initialization failed|initialization failed due to an exception in a background process"
    r"|EngineCore encountered an issue|Worker failed with error|Executor failed|EngineDeadError|EngineCore failed"
    r"|KeyboardInterrupt|CancelledError|BrokenPipeError|Server shutting down|leaked"
)
# What follows from an extension that could not be loaded; the reason stands in a warning before.
_UNLOADED = re.compile(r"_OpNamespace|has no attribute|No module named 'vllm\._C|cannot import name")


@dataclass(frozen=True, slots=True)
class _Line:
    process: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class _Failure:
    process: str
    at: int  # index of its line
    text: str


def find(output: Sequence[str]) -> str | None:
    """Returns the cause in one line of at most MOST characters, or None where the output tells none.

    Args:
        output: the last lines the engine printed, oldest first, without line ends.
    """
    lines = [_read(line) for line in output]
    found = _usage(lines) or _exception(lines) or _fatal(lines) or _vanished(lines) or _logged(lines)
    if found is None:
        return None
    found = re.sub(r"\s+", " ", found).strip()
    return found if len(found) <= MOST else found[: MOST - 1] + "…"


def _read(line: str) -> _Line:
    match = _PREFIX.match(line)
    if match is None:
        return _Line("", "", line)
    return _Line(match["process"] or "", match["level"] or "", line[match.end() :].rstrip())


def _usage(lines: Sequence[_Line]) -> str | None:
    """Returns what argparse says about a wrong option; it is then the last thing printed."""
    for line in reversed(lines[-5:]):
        if match := _USAGE.match(line.text):
            return f"engine option: {match['text']}"
    return None


def _exception(lines: Sequence[_Line]) -> str | None:
    failures = [failure for failure in _failures(lines) if not _ECHOES.search(failure.text)]
    if not failures:
        return None
    core = next((at for at in range(len(lines) - 1, -1, -1) if _CORE_FAILED.search(lines[at].text)), None)
    chosen = failures[-1]
    if core is not None:
        after = [failure for failure in failures if failure.at > core]
        chosen = after[0] if after else failures[-1]
    if _UNLOADED.search(chosen.text):
        unloaded = [match[0] for line in lines[: chosen.at] if (match := _LIBRARY.search(line.text))]
        if unloaded:
            return unloaded[-1]
    return chosen.text


def _failures(lines: Sequence[_Line]) -> list[_Failure]:
    """Returns the exceptions printed, oldest first; of a chain of causes the last, which knows most."""
    found: list[_Failure] = []
    chained: set[str] = set()  # processes; the lines of several may be mixed
    for at, line in enumerate(lines):
        if line.text.startswith(_CHAINED):
            chained.add(line.process)
        elif match := _RAISED.match(line.text):
            if line.process in chained:
                chained.discard(line.process)
                before = next((failure for failure in reversed(found) if failure.process == line.process), None)
                found = [failure for failure in found if failure is not before]
            found.append(_Failure(line.process, at, _told(match["type"], match["text"], lines[at + 1 :])))
    return found


def _told(kind: str, text: str, following: Sequence[_Line]) -> str:
    """Returns an exception as `Type: text`; what pydantic wraps comes out as if it had not."""
    if not _PYDANTIC.match(text):
        return f"{kind.rpartition('.')[2]}: {text}"
    told = []
    for line in following:
        if line.text.lstrip().startswith("For further information"):
            break
        told.append(_PYDANTIC_END.sub("", line.text))
    joined = " ".join(told).strip()
    return f"ValueError: {joined.removeprefix('Value error, ')}"


def _fatal(lines: Sequence[_Line]) -> str | None:
    return next((line.text for line in lines if _FATAL.match(line.text)), None)


def _vanished(lines: Sequence[_Line]) -> str | None:
    """Returns which process ended without a word, as one that is killed does."""
    return next((match[0] for line in lines if (match := _VANISHED.search(line.text))), None)


def _logged(lines: Sequence[_Line]) -> str | None:
    """Returns the last error logged, the best there is where no exception was printed."""
    errors = [line.text for line in lines if line.level in {"ERROR", "CRITICAL"} and line.text[:1].strip()]
    told = [text for text in errors if not _ECHOES.search(text) and not text.startswith("Traceback")]
    return next(reversed(told or errors), None)

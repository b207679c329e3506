"""`python -m llmfleet_engine`, the entry point of the engine images: SIGTERM first, everything else after it.

The launcher is process 1, for which the kernel drops a signal that nobody handles, and its imports take most of a
second. The images start it with SIGTERM blocked (`env --block-signal`): one that comes before this file is read waits.
"""

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Runs the launcher; returns the exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    # Here and not later: the engine would inherit what is blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    from llmfleet_engine import commandline  # noqa: PLC0415 - it loads for most of a second

    return commandline.run(sys.argv[1:])


def _end(_number: int, _frame: FrameType | None) -> None:
    """Ends at once, until the launcher handles signals by itself: nothing was started that would need an end."""
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

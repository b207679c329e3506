import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from llmfleet_engine.engine import Engine, children
from llmfleet_engine.launcher import ended

# Like an engine: a first process, a worker in a group of its own, and a worker of that one.
FAMILY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, {reaction})
if os.fork() == 0:
    os.setsid()
    os.fork()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(1, b"worker\\n")
    time.sleep(600)
os.write(1, b"first\\n")
time.sleep(600)
"""


class Running:
    """An engine under test and the lines it printed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.engine = Engine(self.lines.append)

    def start(self, program: str) -> None:
        self.engine.start([sys.executable, "-u", "-c", program], dict(os.environ))

    async def printed(self, line: str, times: int = 1) -> None:
        async with asyncio.timeout(20):
            while self.lines.count(line) < times:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    made = Running()
    yield made
    await made.engine.clear()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)


async def test_output_passes_through_byte_for_byte(running: Running, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    running.start("import sys; sys.stdout.write('a\\rb\\n\\nc'); sys.stderr.write('d')")
    assert await running.engine.exited == 0
    await running.engine.clear()
    assert capfdbinary.readouterr().out == b"a\rb\n\ncd"
    assert running.lines == ["a", "b", "cd"]
    assert running.engine.output is not None
    assert running.engine.output.lines() == ["a", "b", "cd"]
    assert running.engine.output.lines(0.0) == []


@pytest.mark.parametrize(("program", "code"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9)])
async def test_the_exit_code_is_known(running: Running, program: str, code: int) -> None:
    running.start(program)
    assert await running.engine.exited == code


async def test_stopping_leaves_nothing_behind(running: Running) -> None:
    running.start(FAMILY.format(reaction="lambda *_: sys.exit(0)"))
    await running.printed("worker", 2)
    began = asyncio.get_running_loop().time()
    await running.engine.stop(20)
    assert running.engine.exited.result() == 0
    assert children() == []
    assert asyncio.get_running_loop().time() - began < 10


async def test_what_does_not_listen_is_killed(running: Running) -> None:
    running.start(FAMILY.format(reaction="signal.SIG_IGN"))
    await running.printed("worker", 2)
    await running.engine.stop(0.2)
    assert running.engine.exited.result() == -signal.SIGKILL
    assert children() == []


async def test_orphans_are_reaped_while_the_engine_runs(running: Running) -> None:
    running.start(
        "import os, time\n"
        "if os.fork() == 0:\n    if os.fork() == 0:\n        time.sleep(0.2)\n    os._exit(0)\n"
        "os.wait(); print('up', flush=True); time.sleep(600)"
    )
    await running.printed("up")
    async with asyncio.timeout(20):
        while len(children()) != 1:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


async def test_a_program_that_is_not_there_is_an_error(running: Running) -> None:
    with pytest.raises(FileNotFoundError):
        running.engine.start(["/nowhere/python"], {})


def test_the_end_is_told_where_the_output_tells_no_cause() -> None:
    assert ended(-9, []) == "the engine was killed by SIGKILL"
    assert ended(3, ["first", "  last "]) == "the engine ended with exit code 3; it last said: last"

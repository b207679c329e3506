"""The launcher with real vLLM on this machine's CPU, outside any container."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest

from tests.cluster.places import REPOSITORY
from tests.e2e import engine_environment
from tests.e2e.launched import NAME, Launched, events, launched
from tests.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PROPAGATION_S = 5.0
STREAM_S = 25.0  # about as long as the stream lasts; its tokens are counted, not its seconds


@pytest.fixture(scope="module")
def python() -> Path:
    return engine_environment.python()


@pytest.fixture(scope="module")
def model(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("models") / "tiny"
    make_model(python, target)
    return target


def make_model(python: Path, target: Path) -> str:
    return subprocess.run(
        [python, "-m", "llmfleet_engine.tiny_model", target],
        env={"PYTHONPATH": str(REPOSITORY / "engine_image" / "src")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def completion(api: str, tokens: int) -> httpx.Response:
    body = {"model": NAME, "prompt": "Hello", "max_tokens": tokens, "ignore_eos": True}
    with httpx.Client(timeout=120) as client:  # a connection of its own each time, as a new client has
        return client.post(f"{api}/v1/completions", json=body)


def stream(api: str, tokens: int) -> tuple[int, str]:
    """Stream exactly `tokens` tokens; return how many came and why it ended."""
    body = {"model": NAME, "prompt": "Hello", "max_tokens": tokens, "ignore_eos": True, "return_token_ids": True}
    came, reason = 0, ""
    with httpx.stream("POST", f"{api}/v1/completions", json=body | {"stream": True}, timeout=120) as answer:
        for event in events(answer.iter_lines()):
            [choice] = event["choices"]
            came += len(choice["token_ids"] or ())
            reason = choice["finish_reason"] or reason
    return came, reason


def running(api: str) -> float:
    metrics = httpx.get(f"{api}/metrics", timeout=30).text
    return sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if "num_requests_running{" in line)


@pytest.fixture
def engine(python: Path, model: Path, tmp_path: Path) -> Iterator[Launched]:
    options = ("--max-model-len", "32768", "--drain-timeout", "240", "--propagation", str(PROPAGATION_S))
    with launched(python, tmp_path, model, *options) as made:
        yield made


def test_an_engine_starts_serves_and_drains_without_losing_a_token(engine: Launched) -> None:
    eventually(lambda: engine.probe("/livez") == 200, within_s=30, what="the probes answer")
    assert engine.probe("/startupz") == 503
    assert engine.probe("/readyz") == 503
    phases = engine.until_ready()
    assert phases[-1] in {"WarmingUp", "Ready"}
    assert set(phases) <= {"Checking", "Starting", "LoadingWeights", "WarmingUp", "Ready"}
    assert "Starting" in phases
    assert engine.probe("/startupz") == 200
    assert engine.state()["phase"] == "Ready"

    client = openai.OpenAI(base_url=f"{engine.api}/v1", api_key="none", timeout=120)
    chat = client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "Hello"}], max_tokens=16)
    assert chat.choices[0].message.content
    assert chat.usage is not None
    assert chat.usage.completion_tokens <= 16
    began = time.monotonic()
    assert completion(engine.api, 200).status_code == 200
    tokens = int(STREAM_S * 200 / (time.monotonic() - began))

    with ThreadPoolExecutor(1) as pool:
        streamed = pool.submit(stream, engine.api, tokens)
        eventually(lambda: running(engine.api) > 0, within_s=30, what="the stream runs")
        stopped = engine.terminate()
        eventually(lambda: engine.probe("/readyz") == 503, within_s=2, what="not ready after SIGTERM")
        served = served_then_refused(engine.api, stopped)
        assert not streamed.done(), "the stream was too short to prove anything"
        assert engine.state()["phase"] == "Draining"
        assert engine.probe("/livez") == 200
        assert httpx.get(f"{engine.api}/health", timeout=30).status_code == 200
        assert httpx.get(f"{engine.api}/metrics", timeout=30).status_code == 200
        assert streamed.result() == (tokens, "length")
    assert served >= 1
    assert engine.end(within_s=30) == 0
    assert time.monotonic() - stopped < 240
    assert engine.left() == set()
    assert engine.termination_log.read_text() == ""


def served_then_refused(api: str, stopped: float) -> int:
    """Send requests until one is refused; return how many were served, all of them in the propagation window."""
    served = 0
    while True:
        sent = time.monotonic() - stopped
        answer = completion(api, 2)
        assert answer.headers["connection"] == "close"
        if answer.status_code != 200:
            break
        served += 1
        assert sent < PROPAGATION_S + 1, "served after the propagation window"
    assert time.monotonic() - stopped >= PROPAGATION_S, "refused before the end of the propagation window"
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["code"] == 503
    return served


def test_a_stop_while_it_loads_ends_at_once(engine: Launched) -> None:
    eventually(lambda: engine.state().get("phase") == "Starting", within_s=30, what="the engine's process starts")
    eventually(engine.descendants, within_s=10, what="the engine's process is there")
    stopped = engine.terminate()
    assert engine.end(within_s=15) == 0
    assert time.monotonic() - stopped < 10
    assert engine.left() == set()


@pytest.fixture(scope="module")
def embedder(python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """An engine for two tests, of which the second ends it: a start takes every core for most of a minute."""
    folder = tmp_path_factory.mktemp("embedder")
    with launched(python, folder, model, "--max-model-len", "512", "--", "--runner", "pooling") as made:
        made.until_ready()
        yield made


def test_an_embedding_model_becomes_ready_and_serves(embedder: Launched) -> None:
    assert "warmed up by /v1/embeddings" in embedder.output()
    with openai.OpenAI(base_url=f"{embedder.api}/v1", api_key="none", timeout=120) as client:
        answer = client.embeddings.create(model=NAME, input="Hello", encoding_format="float")
    assert len(answer.data[0].embedding) > 1


def test_an_engine_that_dies_ends_the_launcher_with_a_cause(embedder: Launched) -> None:
    processes = embedder.descendants()
    core = next(pid for pid in processes if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(core, signal.SIGKILL)
    assert embedder.end(within_s=60) == 3
    assert embedder.termination_log.read_text() == "engine core exited unexpectedly\n"
    assert embedder.left() == set()


def test_what_the_engine_refuses_is_told_in_its_words(python: Path, model: Path, tmp_path: Path) -> None:
    with launched(python, tmp_path, model, "--max-model-len", "1000000") as engine:
        assert engine.end(within_s=240) == 3
    assert "max_model_len (1000000) is greater than the derived max_model_len" in engine.termination_log.read_text()


def test_a_missing_model_is_told_at_once(python: Path, model: Path, tmp_path: Path) -> None:
    with launched(python, tmp_path, model.parent / "tinny") as engine:
        assert engine.end(within_s=30) == 1
    cause = engine.termination_log.read_text()
    assert f"--model: directory {model.parent}/tinny does not exist" in cause
    assert "holds: tiny" in cause


def test_a_wrong_option_is_told_at_once(python: Path, model: Path, tmp_path: Path) -> None:
    with launched(python, tmp_path, model, "--", "--dtype", "float16") as engine:
        assert engine.end(within_s=30) == 2
    assert "--dtype after -- is refused" in engine.output()


def test_the_tiny_model_is_made_once_and_always_the_same(python: Path, model: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert "made" in make_model(python, again)
    assert "already there" in make_model(python, again)
    for file in model.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name
    assert [path.name for path in tmp_path.iterdir()] == ["again"]

"""The main job, as the README tells it: an LLMDeployment served by the packaged vLLM."""

import json
import time
from typing import Any

import httpx
import openai
import pytest

from tests.load import Load
from tests.models import Models
from tests.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

START_S = 300
"""For vLLM on two cores that other work may share."""
STREAM_S = 80.0
"""About as long as the long stream lasts at the speed that the engine has just before it."""


def apply(models: Models, sample: dict, name: str = "tiny", **engine: Any) -> None:
    spec = json.loads(json.dumps(sample["spec"]))
    spec["engine"] |= engine
    spec |= {"rollout": {"retainStable": "1s"}, "drain": {"timeout": "5m"}}
    models.apply(name=name, image="", **spec)


@pytest.fixture(scope="module")
def url(tiny: Models, sample: dict) -> str:
    """The tiny model, Ready, behind its Service."""
    apply(tiny, sample)
    phases = _phases_until_ready(tiny)
    assert phases & {"loading weights", "starting the engine", "warming up"}, "the start was told in phases"
    return tiny.expose("tiny")


def _phases_until_ready(models: Models) -> set[str]:
    seen: set[str] = set()

    def ready() -> bool:
        summary = models.status("tiny").get("summary", "")
        seen.update(phase for phase in ("loading weights", "starting the engine", "warming up") if phase in summary)
        return models.answer("Ready", "tiny").get("status") == "True"

    eventually(ready, within_s=START_S, what="tiny is Ready", last=lambda: models.status("tiny").get("summary"))
    return seen


def test_real_vllm_answers_the_openai_client(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hello"}], max_tokens=5, extra_body={"ignore_eos": True}
        )
    assert answer.usage.completion_tokens == 5


def test_the_engine_runs_restricted(tiny: Models, url: str) -> None:
    del url
    (pod,) = tiny.engines()
    status = tiny.kubectl("exec", pod, "--", "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] == "65532"
    assert int(fields["CapEff"], 16) == 0
    assert fields["Seccomp"] == "2"


def test_no_request_fails_while_the_spec_changes(tiny: Models, sample: dict, url: str) -> None:
    before = tiny.status("tiny")["stable"]["revision"]
    with Load(url, "tiny", clients=2, pause_s=0.5, keep=True) as load:
        apply(tiny, sample, maxNumSeqs=64)
        eventually(
            lambda: tiny.selected("tiny") != before,
            within_s=START_S,
            what="the Service switches",
            last=lambda: tiny.status("tiny").get("summary"),
        )
        eventually(lambda: before not in tiny.revisions(), within_s=60, what="the old revision is removed")
        eventually(lambda: len(tiny.engines()) == 1, within_s=60, what="the old engine has drained")
        load.wait_for_more(answers=5)
    assert load.counts.failures == []


def test_a_60_s_stream_survives_the_deletion_of_its_pod_without_a_lost_token(tiny: Models, url: str) -> None:
    (pod,) = tiny.engines()
    tokens = int(STREAM_S * tokens_per_s(url))
    body = {"model": "tiny", "prompt": "Go on", "max_tokens": tokens, "ignore_eos": True, "return_token_ids": True}
    came, deleted, began = 0, False, time.monotonic()
    with httpx.stream("POST", f"{url}/v1/completions", json=body | {"stream": True}, timeout=120) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            (choice,) = json.loads(line.removeprefix("data: "))["choices"]
            came += len(choice["token_ids"] or ())
            if came > tokens // 20 and not deleted:
                tiny.kubectl("delete", "pod", pod, "--wait=false")
                deleted = True
    took_s = time.monotonic() - began
    assert deleted
    assert came == tokens
    assert took_s > 60, "the stream was too short to prove anything"


def tokens_per_s(url: str) -> float:
    """Measure how fast one request is answered."""
    tokens, began = 1000, time.monotonic()
    body = {"model": "tiny", "prompt": "Go on", "max_tokens": tokens, "ignore_eos": True}
    httpx.post(f"{url}/v1/completions", json=body, timeout=120).raise_for_status()
    return tokens / (time.monotonic() - began)


def test_a_missing_model_directory_is_named_within_30_seconds(tiny: Models, sample: dict) -> None:
    spec = sample["spec"] | {"model": {"source": "pvc://tiny-model/no-such-directory"}}
    tiny.apply(name="lost", image="", **spec)
    words = "/models/tiny-model/no-such-directory"
    tiny.wait(lambda: tiny.status("lost").get("state") == "EngineFailed", "the failure is told", within_s=30)
    assert words in tiny.status("lost")["summary"]
    tiny.kubectl("delete", "llm", "lost")

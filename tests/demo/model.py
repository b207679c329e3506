"""The model: its sample applied, its weights made, its LLMDeployment watched until it is Ready."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from tests.cluster import ClusterError
from tests.cluster.progress import PROGRESS, Step, duration
from tests.demo.screen import Style, command, say_at
from tests.demo.site import MODEL, NAMESPACE, SAMPLES, Site, polls

_WEIGHTS_S = 180.0
_READY_S = 900.0
_TROUBLE_S = 30.0
"""How long something may be wrong before the demo gives up: some troubles of a start pass by themselves."""


@dataclass
class Telling:
    """Prints the summary of an LLMDeployment whenever it changes.

    Attributes:
        step: shows the same in the live line.
        last: what has been told already.
    """

    step: Step
    last: str = ""

    def tell(self, elapsed_s: float, summary: str) -> None:
        """Print the summary, if it is news, with the time since the step began."""
        self.step.detail = summary
        if summary and summary != self.last:
            say_at(elapsed_s, summary, Style.QUOTE)
            self.last = summary


def apply(site: Site) -> None:
    """Apply the claim and the Job that makes the weights, wait for the Job, and apply the LLMDeployment."""
    for name in ("pvc.yaml", "job.yaml"):
        _apply(site, name)
    with PROGRESS.step("wait for the Job that makes a tiny model", expected=6) as step:
        _wait_for_weights(site, step)
    _apply(site, "llmdeployment.yaml")


def _apply(site: Site, name: str) -> None:
    arguments = ["apply", "--server-side", "-f", str(SAMPLES / name)]
    command(shlex.join(["kubectl", *arguments]))
    site.cluster.kubectl("-n", NAMESPACE, *arguments)


def _wait_for_weights(site: Site, step: Step) -> None:
    for _ in polls(_WEIGHTS_S):
        jobs = site.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs").get("items", [])
        job: dict[str, Any] = next((job for job in jobs if job["metadata"]["name"] == f"{MODEL}-model"), {})
        status = job.get("status", {})
        conditions = {
            one["type"]: one.get("message", "") for one in status.get("conditions", []) if one["status"] == "True"
        }
        if "Complete" in conditions:
            return
        if "Failed" in conditions:
            raise ClusterError(f"the Job that makes the model failed: {conditions['Failed']}\n{_weights_log(site)}")
        step.detail = f"{status.get('active', 0)} pod under way, {status.get('failed', 0)} failed"
    raise ClusterError(f"waited {_WEIGHTS_S:g} s for Job {MODEL}-model to complete\n{_weights_log(site)}")


def _weights_log(site: Site) -> str:
    try:
        return site.cluster.kubectl("-n", NAMESPACE, "logs", f"job/{MODEL}-model", "--tail=5")
    except ClusterError as error:
        return str(error)


def wait_until_ready(site: Site) -> None:
    """Show the summary as it changes until the LLMDeployment is Ready.

    Raises:
        ClusterError: It is not going to be, or took too long.
    """
    # Only a real start tells how long the next one may take.
    key = "" if ready(site.llm()) else "demo-ready"
    with PROGRESS.step(f"wait until llm/{MODEL} is Ready", key=key, expected=60 if key else 0) as step:
        telling, patience = Telling(step), Patience()
        for elapsed in polls(_READY_S):
            llm = site.llm()
            telling.tell(elapsed, summary(llm))
            if ready(llm):
                return
            patience.look(elapsed, llm)
    raise ClusterError(f"llm/{MODEL} was not Ready within {duration(_READY_S)}")


@dataclass
class Patience:
    """Gives up when something stays wrong."""

    _since_s: float | None = field(default=None, init=False)

    def look(self, elapsed_s: float, llm: dict[str, Any]) -> None:
        """Look at an LLMDeployment, again and again.

        Raises:
            ClusterError: It is Stalled, or its engines have been in trouble for too long.
        """
        stalled, engines = condition(llm, "Stalled"), condition(llm, "EnginesReady")
        if stalled.get("status") == "True":
            raise ClusterError(f"llm/{MODEL} is stalled ({stalled['reason']}): {stalled['message']}")
        if engines.get("status") != "False" or engines.get("reason") == "Starting":
            self._since_s = None
            return
        self._since_s = elapsed_s if self._since_s is None else self._since_s
        if elapsed_s - self._since_s > _TROUBLE_S:
            raise ClusterError(f"llm/{MODEL} does not get ready ({engines['reason']}): {engines['message']}")


def ready(llm: dict[str, Any]) -> bool:
    """Tell whether what the spec of this very generation asks for runs."""
    answered = llm.get("status", {}).get("observedGeneration") == llm.get("metadata", {}).get("generation")
    return bool(llm) and answered and condition(llm, "Ready").get("status") == "True"


def summary(llm: dict[str, Any]) -> str:
    """Return the status in one sentence, empty where there is none yet."""
    return str(llm.get("status", {}).get("summary", ""))


def condition(llm: dict[str, Any], kind: str) -> dict[str, str]:
    """Return a condition, empty where there is none."""
    conditions: list[dict[str, str]] = llm.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})

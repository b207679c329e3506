"""What a person needs to see when a step failed: status, Events, and the last words of those who should know."""

from __future__ import annotations

from tests.cluster import ClusterError
from tests.demo.model import summary
from tests.demo.screen import quote, say
from tests.demo.site import MODEL, NAMESPACE, OPERATOR, SYSTEM, Site

_EVENTS = 8
_LINES = 8


def explain(site: Site) -> None:
    """Print what the cluster says about the demo's objects, as far as it still answers."""
    try:
        told = summary(site.llm())
    except ClusterError:
        return
    if told:
        say(f"status of llm/{MODEL}:")
        quote(told)
    for title, arguments, last in (
        ("latest Events:", ("get", "events", "-n", NAMESPACE, "--sort-by=.lastTimestamp"), _EVENTS),
        ("pods:", ("get", "pods", "-A", "-o", "wide"), _EVENTS),
        (
            "the engine's last lines:",
            ("logs", "-n", NAMESPACE, "-l", f"llmfleet.dev/name={MODEL}", f"--tail={_LINES}"),
            _LINES,
        ),
        ("the operator's last lines:", ("logs", "-n", SYSTEM, f"deployment/{OPERATOR}", f"--tail={_LINES}"), _LINES),
    ):
        try:
            said = site.cluster.kubectl(*arguments).splitlines()
        except ClusterError:
            continue
        if said:
            say(title)
            quote("\n".join(line[:240] for line in said[-last:]))

"""What admission made of the engines' pods: webhooks, policies and LimitRanges change pods, and nobody tells why.

A pod is compared with its revision's template in what decides how the engine runs. Everything else that admission adds
to any pod (tolerations, volumes, a sidecar's settings) is nobody's trouble.
"""

from collections.abc import Iterator

from llmfleet.observe.views import EnginePart, Snapshot


def changed_on_admission(snapshot: Snapshot, revision: str) -> tuple[str, ...]:
    """Return in words what the pods of a revision have otherwise than its template, each thing once."""
    remembered = snapshot.revisions.get(revision)
    if remembered is None or not remembered.engine.image:
        return ()
    found = {words for pod in snapshot.pods_of(revision) for words in _changes(remembered.engine, pod.engine)}
    return tuple(sorted(found))


def _changes(asked: EnginePart, got: EnginePart) -> Iterator[str]:
    if got.image != asked.image:
        yield f"image {got.image} (asked: {asked.image})"
    if got.arguments != asked.arguments:
        yield "other arguments"
    if got.environment != asked.environment:
        yield "another environment"
    wanted = dict(asked.resources)
    for name, amount in got.resources:
        if wanted.get(name) != amount:
            yield f"resources.{name} {amount} (asked: {wanted.get(name, 'none')})"
    for name in sorted({*got.containers} - {*asked.containers}):
        yield f"container {name}"

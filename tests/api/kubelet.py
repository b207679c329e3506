"""Kubelets, played: nodes that stay healthy, and pods that become what their image's name says.

play/ok       ready after a moment            play/never    runs and is never ready
play/pull     its image cannot be pulled      play/crash    ends again and again, with a termination message
play/secret   a Secret it names is missing      play/mount    a Secret that it mounts is missing: an Event says so
"""

import contextlib
import threading
from datetime import UTC, datetime
from typing import Any, Self

from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

_HEARTBEAT_S = 4.0
_RETRY_S = 0.2


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PlayedNodes:
    """Some nodes with room for many pods, and GPUs if asked for; use it as a context."""

    def __init__(self, api: client.ApiClient, names: tuple[str, ...] = ("p1", "p2"), gpus: int = 8) -> None:
        self._core = client.CoreV1Api(api)
        self._names, self._gpus = names, gpus
        self._end = threading.Event()
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._beat, self._play)]
        self._addresses = iter(range(1, 60_000))

    def __enter__(self) -> Self:
        for name in self._names:
            labels = {"kubernetes.io/hostname": name, "nvidia.com/gpu.product": "PLAYED-GPU"}
            self._core.create_node({"metadata": {"name": name, "labels": labels}})
        self._beat_once()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(10)
        for name in self._names:
            self._core.delete_node(name)

    def _beat(self) -> None:
        while not self._end.wait(_HEARTBEAT_S):
            # An API server that is away, on purpose, ends no kubelet.
            with contextlib.suppress(ApiException, HTTPError):
                self._beat_once()

    def _beat_once(self) -> None:
        room = {"cpu": "1000", "memory": "1000Gi", "pods": "5000", "nvidia.com/gpu": str(self._gpus)}
        ready = {"type": "Ready", "status": "True", "reason": "Played", "message": "", "lastHeartbeatTime": _now()}
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        for name in self._names:
            self._core.patch_node_status(name, {"status": status})

    def _play(self) -> None:
        while not self._end.is_set():
            try:
                stream = watch.Watch().stream(self._core.list_pod_for_all_namespaces, timeout_seconds=2)
                for event in stream:
                    if event["type"] != "DELETED":
                        self._act(event["object"])
            except ApiException as error:
                if error.status not in (404, 409, 410, 429, 500, 503, 504):
                    raise
            except HTTPError:
                self._end.wait(_RETRY_S)

    def _act(self, pod: Any) -> None:
        name, namespace = pod.metadata.name, pod.metadata.namespace
        if not pod.spec.node_name:
            return
        if pod.metadata.deletion_timestamp:
            self._ignoring_gone(self._core.delete_namespaced_pod, name, namespace, grace_period_seconds=0)
        elif not (pod.status.container_statuses or ()):
            body = {"status": self._status(pod)}
            self._ignoring_gone(self._core.patch_namespaced_pod_status, name, namespace, body)
            if "play/mount" in pod.spec.containers[0].image:
                self._ignoring_gone(self._core.create_namespaced_event, namespace, _failed_mount(pod))

    @staticmethod
    def _ignoring_gone(call: Any, *arguments: Any, **keywords: Any) -> None:
        try:
            call(*arguments, **keywords)
        except ApiException as error:
            if error.status not in (404, 409):
                raise

    def _status(self, pod: Any) -> dict[str, Any]:
        container = pod.spec.containers[0]
        behaviour = container.image.partition(":")[0].partition("/")[2]
        number = next(self._addresses)
        state, last, restarts = _STATES.get(behaviour, _STATES["ok"])()
        ready = behaviour not in _STATES or behaviour == "ok"
        condition = {"status": "True" if ready else "False", "lastTransitionTime": _now()}
        return {
            "phase": "Running" if "running" in state else "Pending",
            "podIP": f"10.99.{number // 250}.{number % 250 + 1}",
            "podIPs": [{"ip": f"10.99.{number // 250}.{number % 250 + 1}"}],
            "startTime": _now(),
            "conditions": [{"type": kind, **condition} for kind in ("Ready", "ContainersReady")],
            "containerStatuses": [
                {
                    "name": container.name,
                    "image": container.image,
                    "imageID": "",
                    "ready": ready,
                    "restartCount": restarts,
                    "state": state,
                    "lastState": last,
                }
            ],
        }


def _running() -> tuple[dict, dict, int]:
    return {"running": {"startedAt": _now()}}, {}, 0


def _waiting(reason: str, message: str) -> tuple[dict, dict, int]:
    return {"waiting": {"reason": reason, "message": message}}, {}, 0


def _crashed() -> tuple[dict, dict, int]:
    ended = {
        "exitCode": 1,
        "reason": "Error",
        "message": "model directory /models/x does not exist",
        "finishedAt": _now(),
    }
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
    return waiting, {"terminated": ended}, 2


def _failed_mount(pod: Any) -> dict[str, Any]:
    return {
        "metadata": {"generateName": f"{pod.metadata.name}."},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.metadata.namespace,
            "name": pod.metadata.name,
            "uid": pod.metadata.uid,
        },
        "type": "Warning",
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "extra" : secret "absent" not found',
        "source": {"component": "kubelet", "host": pod.spec.node_name},
        "firstTimestamp": _now(),
        "lastTimestamp": _now(),
        "count": 1,
    }


_STATES = {
    "ok": _running,
    "never": _running,
    "pull": lambda: _waiting("ErrImagePull", 'failed to resolve reference "play/pull:1": not found'),
    "secret": lambda: _waiting("CreateContainerConfigError", 'secret "hf" not found'),
    "crash": _crashed,
    "mount": lambda: _waiting("ContainerCreating", ""),
}

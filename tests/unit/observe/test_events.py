"""What a pod's Events say about its volumes, in the forms in which kubelet and controllers write them."""

import pytest

from llmfleet.observe.events import obstacle, volumes_mounted

MOUNT = 'MountVolume.SetUp failed for volume "extra" : secret "absent" not found'
LOW = "container init was OOM-killed (memory limit too low?)"
ATTACH = 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) other'
SUMMARY = "Unable to attach or mount volumes: unmounted volumes=[extra]: timed out waiting for the condition"


def event(reason: str, second: int, message: str = "", **more: object) -> dict:
    return {
        "metadata": {},
        "reason": reason,
        "message": message,
        "lastTimestamp": f"2026-11-21T12:00:{second:02}Z",
        **more,
    }


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], ""),
        ([event("Scheduled", 1, "Successfully assigned")], ""),
        ([event("FailedMount", 2, MOUNT)], MOUNT),
        ([event("FailedMount", 2, "an older one"), event("FailedMount", 3, MOUNT)], MOUNT),
        ([event("FailedMount", 3, MOUNT), event("FailedMount", 2, "an older one")], MOUNT),
        ([event("FailedMount", 2, MOUNT), event("FailedMount", 9, SUMMARY)], MOUNT),
        ([event("FailedMount", 9, SUMMARY)], SUMMARY),
        ([event("FailedMount", 2, MOUNT), event("Pulling", 3)], ""),
        ([event("Pulled", 2), event("FailedMount", 3, MOUNT)], MOUNT),
        ([event("FailedAttachVolume", 2, ATTACH)], ATTACH),
        ([event("FailedAttachVolume", 2, ATTACH), event("SuccessfulAttachVolume", 3)], ""),
        ([event("FailedMount", 2, MOUNT), event("SuccessfulAttachVolume", 3)], MOUNT),
        ([event("BackOff", 3, "Back-off pulling image"), event("FailedMount", 2, MOUNT)], MOUNT),
        (
            [event("FailedCreatePodSandBox", 3, f'failed to start sandbox "{64 * "a"}": {LOW}')],
            f"failed to start sandbox: {LOW}",
        ),
        ([event("FailedCreatePodSandBox", 3, LOW), event("Pulling", 4)], ""),
        (
            [
                event("FailedMount", 3, "an older one"),
                event("FailedMount", 2, MOUNT, series={"count": 7, "lastObservedTime": "2026-11-21T12:00:09.000000Z"}),
            ],
            MOUNT,
        ),
        (
            [
                event("FailedMount", 3, "an older one"),
                event("FailedMount", 0, MOUNT, lastTimestamp=None, eventTime="2026-11-21T12:00:09.000000Z"),
            ],
            MOUNT,
        ),
    ],
)
def test_the_newest_failure_that_still_holds_is_quoted(events: list[dict], said: str) -> None:
    assert obstacle(events) == said


def test_a_pod_whose_image_is_pulled_has_its_volumes() -> None:
    assert volumes_mounted([event("Pulling", 3)])
    assert volumes_mounted([event("FailedMount", 2, MOUNT), event("Pulling", 3)])
    assert not volumes_mounted([event("Pulling", 3), event("FailedMount", 4, MOUNT)])
    assert not volumes_mounted([event("Scheduled", 1)])

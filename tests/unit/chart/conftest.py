"""Helm, for all tests of this folder: built from its Go module once, then cached."""

import pytest

from tests.cluster.gotools import binary


@pytest.fixture(scope="session", autouse=True)
def _helm(pytestconfig: pytest.Config) -> None:
    # The build takes a minute or two: whoever waits for it is to see so.
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        binary("helm")

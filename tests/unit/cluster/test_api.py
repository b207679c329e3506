"""The tool's own requests to an API server."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import pki
from tests.cluster.api import Api
from tests.cluster.errors import ClusterError


@pytest.fixture
def hangs_up() -> Iterator[int]:
    """Open a port where every connection is closed at once, as by a bridge whose API server is gone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:  # the listener is closed
                    return

        server = threading.Thread(target=serve)
        server.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        server.join()


def test_a_lost_api_server_is_told_in_one_line_with_what_to_do(tmp_path: Path, hangs_up: int) -> None:
    pki.Authority.create(tmp_path, "ca").issue("admin", "admin", organization="system:masters")
    api = Api(hangs_up, tmp_path)
    with pytest.raises(ClusterError, match=f"127.0.0.1:{hangs_up} does not answer GET /api/v1/nodes: ") as caught:
        api.get("/api/v1/nodes")
    assert "\n" not in str(caught.value)
    assert "bring it up again" in caught.value.report()
    assert not api.ready()

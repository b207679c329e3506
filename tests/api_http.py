"""Plain HTTP to the API server, for tests that ask about answers rather than about objects."""

import ssl

import httpx

from tests.cluster import Cluster


def http_client(cluster: Cluster) -> httpx.Client:
    """Return a client with the administrator's certificate; as a context it is closed."""
    tls = ssl.create_default_context(cafile=str(cluster.ca))
    tls.load_cert_chain(cluster.cert, cluster.key)
    return httpx.Client(base_url=cluster.server, verify=tls, timeout=30)

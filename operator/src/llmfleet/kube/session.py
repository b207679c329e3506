"""The way to the API server: where it is, who we are, and the one aiohttp session that all requests share.

`Connection` says where and who; `open_session` makes the session; `lend_session` makes one over the same connections
that may be closed without closing ours, listened to, and forbidden to write. Requests themselves are made in `client`.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import aiohttp
from yarl import URL

from llmfleet.kube.errors import ConfigurationError, NotLeading
from llmfleet.kube.kubeconfig import read_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.connector import Connection as Connection_
    from aiohttp.typedefs import LooseHeaders

    from llmfleet.kube.kubeconfig import Kubeconfig

log = logging.getLogger(__name__)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts a pod's token, CA and namespace."""

USER_AGENT = "llmfleet"

_TOKEN_AGE_S = 60.0
_CONNECT_S = 5.0
_TOTAL_S = 30.0
# A peer that vanished without a word (a node lost behind a load balancer) is noticed within 25 seconds, on idle watches
# too. Systems without these options fall back to the read timeouts.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}


class Token:
    """A bearer token, fixed or in a file that is read again when what we know is a minute old.

    Projected service account tokens are replaced long before they expire, so a minute's delay never leads to a 401.
    """

    def __init__(
        self, text: str | None = None, *, path: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._text = text
        self._path = path
        self._clock = clock
        self._read_at = 0.0
        if path is not None:
            self._text = self._read(path)
            self._read_at = clock()

    def __call__(self) -> str | None:
        """Return the token, freshly read if a minute passed; an unreadable file leaves the known one in use."""
        if self._path is not None and self._clock() - self._read_at >= _TOKEN_AGE_S:
            self._read_at = self._clock()
            try:
                self._text = self._read(self._path)
            except ConfigurationError as error:
                log.warning("%s; going on with the token read before", error)
        return self._text

    @staticmethod
    def _read(path: Path) -> str:
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read the token file {path}: {type(error).__name__}") from None
        if not text:
            raise ConfigurationError(f"the token file {path} is empty")
        return text


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and who we are there.

    Attributes:
        server: its URL without a trailing slash; it may have a path.
        namespace: ours: the pod's namespace, or that of the kubeconfig's context.
        ssl: how to check the server and show our certificate; None for plain HTTP.
        token: the bearer token; it never appears in this object's repr.
    """

    server: str
    namespace: str = "default"
    ssl: ssl.SSLContext | None = None
    token: Token = field(default_factory=Token, repr=False)

    @classmethod
    def load(cls, kubeconfig: Path | None = None, context: str | None = None) -> Self:
        """Find the API server as kubectl does: the file given, $KUBECONFIG, the pod we run in, ~/.kube/config.

        Raises:
            ConfigurationError: there is no way to an API server, or it is not usable; the text says what to do.
        """
        named = os.environ.get("KUBECONFIG", "")
        if kubeconfig is None and named:
            if os.pathsep in named.strip(os.pathsep):
                raise ConfigurationError(
                    "KUBECONFIG names several files; llmfleet reads one, name it with --kubeconfig"
                )
            kubeconfig = Path(named.strip(os.pathsep))
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            return cls.in_cluster()
        if kubeconfig is None:
            kubeconfig = Path("~/.kube/config").expanduser()
            if not kubeconfig.exists():
                raise ConfigurationError(
                    f"no kubeconfig given, KUBECONFIG is not set, this is no pod, and there is no {kubeconfig}"
                )
        return cls.from_kubeconfig(kubeconfig, context)

    @classmethod
    def from_kubeconfig(cls, path: Path, context: str | None = None) -> Self:
        """Read a kubeconfig file.

        Raises:
            ConfigurationError: the file is not usable; the text names the remedy.
        """
        config = read_kubeconfig(path, context)
        return cls(
            server=config.server,
            namespace=config.namespace,
            ssl=_ssl_context(config, path) if config.server.startswith("https://") else None,
            token=Token(path=config.token_path) if config.token_path and not config.token else Token(config.token),
        )

    @classmethod
    def in_cluster(cls, folder: Path = SERVICE_ACCOUNT, environ: Mapping[str, str] | None = None) -> Self:
        """Use the service account that is mounted into this pod.

        Args:
            folder: where it is mounted.
            environ: the environment, by default the process's own.

        Raises:
            ConfigurationError: this is no pod, or its service account token is not mounted.
        """
        environ = os.environ if environ is None else environ
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise ConfigurationError("this is no pod (KUBERNETES_SERVICE_HOST is not set); give a kubeconfig")
        try:
            context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
            namespace = (folder / "namespace").read_text(encoding="utf-8").strip()
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"no usable service account in {folder} ({error}); "
                "does the pod set automountServiceAccountToken: false?"
            ) from error
        _accept_plain_cas(context)
        return cls(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            namespace=namespace,
            ssl=context,
            token=Token(path=folder / "token"),
        )


def open_session(connection: Connection) -> aiohttp.ClientSession:
    """Open the session that everything shares; close it last. Call it inside the event loop.

    The number of connections is not limited here, because watches hold theirs for ever and could starve every other
    call; `Client` limits how many calls are in flight.
    """
    connector = aiohttp.TCPConnector(
        limit=0,
        ssl=connection.ssl if connection.ssl is not None else True,
        socket_factory=_socket,
    )
    return _session(connection, connector, owner=True)


def lend_session(
    connection: Connection,
    session: aiohttp.ClientSession,
    *,
    listener: aiohttp.ClientMiddlewareType | None = None,
    may_write: Callable[[], bool] | None = None,
) -> aiohttp.ClientSession:
    """Make a session over the same connections, which its user closes without closing ours.

    kopf closes the session it was given whenever it ends, and it is started again inside one process. Use it as
    `kopf.AiohttpSession(aiohttp_session=lend_session(connection, session), server=connection.server)`.

    Args:
        connection: where and who.
        session: whose connections to use.
        listener: sees every attempt of every request.
        may_write: asked in the moment in which a request that is no GET would be sent, for every attempt of it. Where
            it says no, nothing is sent and NotLeading is raised: this is how one who has lost the Lease, perhaps
            while its process stood still, is kept from writing.
    """
    connector = session.connector
    if connector is None:
        raise RuntimeError("the session is closed already")
    request_class = aiohttp.ClientRequest if may_write is None else _fenced(may_write)
    return _session(connection, connector, owner=False, listener=listener, request_class=request_class)


def _fenced(may_write: Callable[[], bool]) -> type[aiohttp.ClientRequest]:
    """Make a class of requests that ask before they write; see `lend_session`.

    Asked twice, because with a body the first byte leaves in a task of its own, and the process may be stopped between.
    """

    class Fenced(aiohttp.ClientRequest):
        async def send(self, conn: Connection_) -> aiohttp.ClientResponse:
            if self.method != "GET" and not may_write():
                raise NotLeading("this process does not lead any more: nothing is written")
            return await super().send(conn)

        async def write_bytes(
            self, writer: AbstractStreamWriter, conn: Connection_, content_length: int | None = None
        ) -> None:
            if self.method == "GET" or may_write():
                await super().write_bytes(writer, conn, content_length)
                return
            if conn.protocol is not None:
                conn.protocol.set_exception(NotLeading("this process does not lead any more: nothing is written"))
            conn.close()

    return Fenced


def _session(
    connection: Connection,
    connector: aiohttp.BaseConnector,
    *,
    owner: bool,
    listener: aiohttp.ClientMiddlewareType | None = None,
    request_class: type[aiohttp.ClientRequest] = aiohttp.ClientRequest,
) -> aiohttp.ClientSession:
    origin = URL(connection.server).origin()
    headers: LooseHeaders = {
        "User-Agent": USER_AGENT,
        # Compressed lists would spare a network that is not the bottleneck and cost the event loop that is.
        "Accept-Encoding": "identity",
    }

    async def authenticate(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        token = connection.token()
        # A redirect must not carry the token to another server.
        if token is not None and request.url.origin() == origin:
            request.headers["Authorization"] = f"Bearer {token}"
        return await handler(request)

    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=owner,
        middlewares=(authenticate,) if listener is None else (listener, authenticate),
        request_class=request_class,
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=_TOTAL_S, sock_connect=_CONNECT_S),
    )


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Make a TCP socket that notices when the other side is gone."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


def _ssl_context(config: Kubeconfig, path: Path) -> ssl.SSLContext:
    """Build the TLS settings of a kubeconfig."""
    try:
        context = ssl.create_default_context(cadata=config.ca_pem)
        _accept_plain_cas(context)
        if config.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if config.certificate_pem and config.key_pem:
            # OpenSSL takes certificates of a client from files only; the folder is private and gone at once.
            with tempfile.TemporaryDirectory() as folder:
                pair = Path(folder, "pair.pem")
                pair.touch(mode=0o600)
                pair.write_text(f"{config.certificate_pem.rstrip()}\n{config.key_pem}", encoding="ascii")
                context.load_cert_chain(pair)
    except ssl.SSLError as error:
        raise ConfigurationError(f"{path}: its certificates cannot be used: {error}") from error
    return context


def _accept_plain_cas(context: ssl.SSLContext) -> None:
    """Take cluster CAs without an Authority Key Identifier, as kubectl does; Python 3.13 refuses them by default."""
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT

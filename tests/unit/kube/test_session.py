import base64
import datetime as dt
import logging
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from llmfleet.kube.errors import ConfigurationError
from llmfleet.kube.kubeconfig import read_kubeconfig
from llmfleet.kube.session import Connection, Token, _socket, lend_session, open_session


def write(path: Path, *, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **top: Any) -> Path:
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://api:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        **top,
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def pair() -> tuple[str, str]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem).decode(), private.decode()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_token_file_is_read_again_after_a_minute(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, path = Clock(), tmp_path / "token"
    path.write_text("first\n")
    token = Token(path=path, clock=clock)
    path.write_text("second\n")
    clock.now += 59
    assert token() == "first"
    clock.now += 1
    assert token() == "second"
    path.unlink()
    clock.now += 60
    with caplog.at_level(logging.WARNING):
        assert token() == "second"
        assert token() == "second"
    assert len(caplog.records) == 1
    assert "second" not in caplog.text


def test_token_file_that_is_missing_or_empty_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the token file"):
        Token(path=tmp_path / "none")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigurationError, match="is empty"):
        Token(path=tmp_path / "empty")


async def serve_echo() -> TestServer:
    async def echo(request: web.Request) -> web.Response:
        if "to" in request.query:
            raise web.HTTPFound(request.query["to"])
        return web.json_response({"authorization": request.headers.get("Authorization"), "path": request.path})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    server = TestServer(app)
    await server.start_server()
    return server


async def test_the_token_goes_to_the_api_server_and_nowhere_else() -> None:
    server, stranger = await serve_echo(), await serve_echo()
    connection = Connection(str(server.make_url("")), token=Token("s3cret"))
    assert "s3cret" not in repr(connection)
    async with open_session(connection) as session:
        async with session.get(server.make_url("/x")) as response:
            assert (await response.json())["authorization"] == "Bearer s3cret"
        async with session.get(server.make_url("/x"), params={"to": str(stranger.make_url("/y"))}) as response:
            assert await response.json() == {"authorization": None, "path": "/y"}
    await server.close()
    await stranger.close()


async def test_a_lent_session_authenticates_and_closing_it_leaves_ours_open() -> None:
    server = await serve_echo()
    connection = Connection(str(server.make_url("")), token=Token("s3cret"))
    async with open_session(connection) as session:
        for _ in range(2):
            lent = kopf.AiohttpSession(aiohttp_session=lend_session(connection, session), server=connection.server)
            async with lent.aiohttp_session.get(server.make_url("/x")) as response:
                assert (await response.json())["authorization"] == "Bearer s3cret"
            assert lent.aiohttp_session.connector is session.connector
            await lent.aiohttp_session.close()
        async with session.get(server.make_url("/x")) as response:
            assert response.status == 200
    with pytest.raises(RuntimeError, match="closed already"):
        lend_session(connection, session)
    await server.close()


def test_sockets_notice_a_dead_peer() -> None:
    address = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))
    with _socket(address) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000


def test_token_and_namespace_of_the_context(tmp_path: Path) -> None:
    config = read_kubeconfig(write(tmp_path / "config", user={"token": "s3cret"}))
    assert (config.server, config.namespace, config.token) == ("https://api:6443", "team", "s3cret")
    assert "s3cret" not in repr(config)


def test_another_context_by_name(tmp_path: Path) -> None:
    contexts = [{"name": "there", "context": {"cluster": "c"}}]
    path = write(tmp_path / "config", contexts=contexts)
    assert read_kubeconfig(path, "there").namespace == "default"
    with pytest.raises(ConfigurationError, match=r"has no context 'here' \(it has: there\)"):
        read_kubeconfig(path)


def test_a_relative_token_file_lies_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("from-file")
    connection = Connection.from_kubeconfig(write(tmp_path / "config", user={"tokenFile": "t"}))
    assert connection.token() == "from-file"


@pytest.mark.parametrize("inline", [True, False])
def test_client_certificates_and_ca(tmp_path: Path, pair: tuple[str, str], *, inline: bool) -> None:
    certificate, key = pair
    if inline:
        data = [base64.b64encode(part.encode()).decode() for part in pair]
        user = {"client-certificate-data": data[0], "client-key-data": data[1]}
        cluster = {"certificate-authority-data": data[0]}
    else:
        (tmp_path / "c.crt").write_text(certificate)
        (tmp_path / "c.key").write_text(key)
        user = {"client-certificate": "c.crt", "client-key": str(tmp_path / "c.key")}
        cluster = {"certificate-authority": "c.crt"}
    path = write(tmp_path / "config", user=user, cluster=cluster)
    assert key.splitlines()[1] not in repr(read_kubeconfig(path))
    context = Connection.from_kubeconfig(path).ssl
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_insecure_and_plain_http(tmp_path: Path) -> None:
    insecure = Connection.from_kubeconfig(write(tmp_path / "a", cluster={"insecure-skip-tls-verify": True})).ssl
    assert insecure is not None
    assert (insecure.verify_mode, insecure.check_hostname) == (ssl.CERT_NONE, False)
    assert Connection.from_kubeconfig(write(tmp_path / "b", cluster={"server": "http://localhost:1"})).ssl is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": {"exec": {"command": "aws"}}}, "exec plugin, which llmfleet does not run; create a ServiceAccount"),
        ({"user": {"auth-provider": {"name": "gcp"}}}, "auth providers were removed"),
        ({"user": {"username": "admin", "password": "p"}}, "take no passwords"),
        ({"cluster": {"proxy-url": "socks5://x"}}, "does not speak through a proxy"),
        ({"cluster": {"tls-server-name": "x"}}, "use a URL that is in it"),
        ({"cluster": {"server": ""}}, "needs a server with https:// or http://"),
        ({"cluster": {"certificate-authority": "none.crt"}}, "cannot read certificate-authority none.crt"),
        ({"cluster": {"certificate-authority-data": "AAA"}}, "certificate-authority is not PEM text"),
        ({"cluster": {"certificate-authority-data": "aGVsbG8="}}, "its certificates cannot be used"),
        ({"user": {"client-certificate-data": "aGVsbG8="}}, "needs both client-certificate and client-key"),
        ({"user": {"tokenFile": "none"}}, "cannot read the token file"),
        ({"current-context": ""}, "has no current-context"),
        ({"clusters": []}, r"has no cluster 'c' \(it has: none\)"),
        ({"users": None}, "has no user 'u'"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_remedy(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Connection.from_kubeconfig(write(tmp_path / "config", **changes))


@pytest.mark.parametrize("text", ["users: [token: {s3cret", "- s3cret", "s3cret"])
def test_a_broken_file_is_reported_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        Connection.from_kubeconfig(path)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read the kubeconfig .*No such file"):
        Connection.from_kubeconfig(tmp_path / "none")


def service_account(folder: Path, certificate: str) -> Path:
    (folder / "token").write_text("pod-token")
    (folder / "namespace").write_text("llmfleet-system")
    (folder / "ca.crt").write_text(certificate)
    return folder


def test_in_a_pod(tmp_path: Path, pair: tuple[str, str]) -> None:
    folder = service_account(tmp_path, pair[0])
    connection = Connection.in_cluster(
        folder, {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    )
    assert (connection.server, connection.namespace, connection.token()) == (
        "https://10.96.0.1:443",
        "llmfleet-system",
        "pod-token",
    )
    six = Connection.in_cluster(folder, {"KUBERNETES_SERVICE_HOST": "fd00::1"})
    assert six.server == "https://[fd00::1]:443"


def test_in_a_pod_without_a_mounted_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="automountServiceAccountToken"):
        Connection.in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.96.0.1"})
    with pytest.raises(ConfigurationError, match="this is no pod"):
        Connection.in_cluster(tmp_path, {})


def test_load_looks_where_kubectl_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="no kubeconfig given"):
        Connection.load()
    (tmp_path / ".kube").mkdir()
    write(tmp_path / ".kube" / "config", cluster={"server": "https://home"})
    assert Connection.load().server == "https://home"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    with pytest.raises(ConfigurationError, match="no usable service account"):
        Connection.load()
    monkeypatch.setenv("KUBECONFIG", str(write(tmp_path / "env", cluster={"server": "https://env"})))
    assert Connection.load().server == "https://env"
    given = write(tmp_path / "given", cluster={"server": "https://given"})
    assert Connection.load(given).server == "https://given"
    monkeypatch.setenv("KUBECONFIG", "a:b")
    with pytest.raises(ConfigurationError, match="several files"):
        Connection.load()


async def test_the_session_has_no_cookies_and_asks_for_plain_bodies() -> None:
    async with open_session(Connection("http://localhost:1")) as session:
        assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
        assert session.headers["Accept-Encoding"] == "identity"

"""Certificates and kubeconfigs of one cluster: made anew at every `up`, valid for a month, never used elsewhere."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = dt.timedelta(days=30)
_CLOCK_SKEW = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority whose key lies beside its certificate in the folder."""

    folder: Path
    name: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, folder: Path, name: str) -> Authority:
        """Make a self-signed authority and write NAME.crt and NAME.key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True)
        _write_key(folder / f"{name}.key", key)
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(folder, name, certificate, key)

    @classmethod
    def load(cls, folder: Path, name: str) -> Authority:
        """Return the authority that `create` has written into the folder."""
        key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(folder, name, x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes()), key)

    def issue(self, file: str, common_name: str, *, organization: str = "", sans: tuple[str, ...] = ()) -> None:
        """Write FILE.crt and FILE.key, good for servers and clients.

        Args:
            file: Name of the files in the authority's folder.
            common_name: The user name that Kubernetes sees.
            organization: The group that Kubernetes sees.
            sans: IP addresses and host names under which a server may be reached.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organization:
            attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        builder = (
            _builder(x509.Name(attributes), self.certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
        )
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName([_san(name) for name in sans]), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        _write_key(self.folder / f"{file}.key", key)
        (self.folder / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def key_pair(folder: Path, name: str) -> None:
    """Write NAME.key and NAME.pub: the pair that signs and checks service account tokens."""
    key = ec.generate_private_key(ec.SECP256R1())
    _write_key(folder / f"{name}.key", key)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)


def write_kubeconfig(path: Path, *, server: str, pki: Path, user: str, context: str) -> None:
    """Write a kubeconfig that points to the certificate files `user`.crt and `user`.key of the pki folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""apiVersion: v1
kind: Config
current-context: {context}
contexts: [{{name: {context}, context: {{cluster: {context}, user: {user}}}}}]
clusters: [{{name: {context}, cluster: {{server: "{server}", certificate-authority: "{pki}/ca.crt"}}}}]
users: [{{name: {user}, user: {{client-certificate: "{pki}/{user}.crt", client-key: "{pki}/{user}.key"}}}}]
"""
    )
    path.chmod(0o600)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALID)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )

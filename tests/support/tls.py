"""Certificates for servers on loopback."""

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.crds_server import CrdsServer


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for ``localhost``; return it alone, and with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    authority, chain = folder / "authority.pem", folder / "chain.pem"
    authority.write_bytes(public)
    chain.write_bytes(public + private)
    return authority, chain


def server_context(chain: Path) -> ssl.SSLContext:
    """Return the settings of a server that speaks TLS, with a certificate and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


def encrypt(server: CrdsServer, chain: Path) -> None:
    """Make a server speak TLS, with a certificate and its key."""
    server.http.socket = server_context(chain).wrap_socket(server.http.socket, server_side=True)
    server.url = server.url.replace("http:", "https:")

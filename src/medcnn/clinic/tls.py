"""TLS for DICOM and DICOMweb (PS3.15 B.9): 1.2 or newer, as Python and OpenSSL choose ciphers."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from socket import socket
from typing import TypeVar

from medcnn.system.errors import UsageError

SILENT_S = 60
T = TypeVar("T")


class _Later(ssl.SSLContext):
    """Shakes hands when the first bytes are read, in the thread of that connection. pynetdicom
    would do it before it hears the next one, so that whoever says nothing keeps all others out."""

    # as pynetdicom calls it
    def wrap_socket(  # type: ignore[override]
        self, sock: socket, server_side: bool
    ) -> ssl.SSLSocket:
        sock.settimeout(SILENT_S)
        return super().wrap_socket(sock, server_side, do_handshake_on_connect=False)


def receiving(certificate: str, key: str, ca: str | None) -> ssl.SSLContext:
    """For the receiver; with `ca`, senders must show a certificate that it signed.

    Raises:
        UsageError: a file does not hold what it should.
    """
    context = _Later(ssl.PROTOCOL_TLS_SERVER)
    _own(context, certificate, key)
    if ca:
        _read("scp.tls_ca", ca, lambda: context.load_verify_locations(ca))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def sending(name: str, ca: str | None, own: tuple[str, str] | None = None) -> ssl.SSLContext:
    """For one who asks a server, whose certificate must be signed by `ca`, or by those whom the
    system trusts, and have the server's name.

    Args:
        name: of the setting of `ca`.
        own: certificate and key, for servers that want to see one.

    Raises:
        UsageError: as above.
    """
    context = _read(name, ca or "", lambda: ssl.create_default_context(cafile=ca))
    if own:
        _own(context, *own)
    return context


def _own(context: ssl.SSLContext, certificate: str, key: str) -> None:
    # an encrypted key would make OpenSSL ask at the terminal
    def load() -> None:
        context.load_cert_chain(certificate, key, password="")

    _read("scp.tls_certificate and scp.tls_key", f"{certificate}, {key}", load)


def _read(name: str, files: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"{name}={files} cannot be used: {error.strerror or error}. PEM files are needed: a "
            "certificate, and an unencrypted key that belongs to it."
        ) from None

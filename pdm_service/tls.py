"""TLS: what callers' connections are secured with, which servers are trusted, and why one was not, in words."""

import ssl
from pathlib import Path

import httpx


def serving(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """Return what a server's connections are secured with, from TLS 1.2 on; raises OSError, ValueError.

    With `client_ca` clients are asked for a certificate; one that this CA did not sign, or that has expired, ends the
    handshake, and a client may have none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Asked for again and again, new keys within a connection cost the server more than the client.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _load(context, certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        _trust(context, client_ca)
    return context


def trusting(ca: Path | None, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """Return what a client's connections are secured with, from TLS 1.2 on; raises OSError, ValueError.

    `ca` has those CAs that are trusted; without it the usual ones are. `own` is the certificate that the client shows,
    and its key.
    """
    if ca is None:
        context = httpx.create_ssl_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _trust(context, ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if own is not None:
        _load(context, *own)
    return context


def failure(error: BaseException | None) -> str:
    """Return what is wrong with a server's TLS according to an error or its causes, "" if it is not about that."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {error.verify_message.rstrip('.')}"
        if isinstance(error, ssl.SSLError):
            return f"TLS fails: {_said(error)}"
        error = error.__cause__ or error.__context__
    return ""


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    _see(ca)
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ValueError(f"{ca.name} has no certificate of a CA ({_said(error)})") from None


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _see(certificate, key)
    try:
        # With a password of its own, a key would have it asked for at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        raise ValueError(
            f"{certificate.name} and {key.name} are no certificate with its key ({_said(error)})"
        ) from None


def _see(*paths: Path) -> None:
    """Raise OSError for a file that cannot be read; other than OpenSSL's it says which one."""
    for path in paths:
        path.open("rb").close()


def _said(error: ssl.SSLError) -> str:
    return (error.reason or "no PEM").lower().replace("_", " ")

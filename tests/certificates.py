"""Certificates made for a test: a CA, what it issues, and files of both."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

EXPIRED = timedelta(hours=-1)


class Authority:
    """A CA whose certificates are written into a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True)
        self.ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.file = directory / "ca.crt"
        self.ca.cert_pem.write_to_path(str(self.file))
        self._issued = 0

    def pair(self, *names: str, valid: timedelta | None = None, common: str | None = None) -> tuple[Path, Path]:
        """A certificate for DNS names, addresses and URIs, and its key; `valid` is how long it still is."""
        self._issued += 1
        cert, key = (self._directory / f"{self._issued}.{end}" for end in ("crt", "key"))
        made = self._signed(names, common, valid or timedelta(days=1))
        cert.write_bytes(made[0])
        key.write_bytes(made[1])
        return cert, key

    def _signed(self, names: tuple[str, ...], common: str | None, valid: timedelta) -> tuple[bytes, bytes]:
        signer = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        issuer = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []
        builder = (
            x509.CertificateBuilder(issuer.subject, x509.Name(subject), key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
        cert = builder.sign(signer, hashes.SHA256())  # type: ignore[arg-type]
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cert.public_bytes(serialization.Encoding.PEM), private

    def trusting(self, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """What a client has that trusts this CA, and shows a certificate of its own."""
        context = ssl.create_default_context(cafile=str(self.file))
        if own:
            context.load_cert_chain(*own)
        return context


def _name(text: str) -> x509.GeneralName:
    if "://" in text:
        return x509.UniformResourceIdentifier(text)
    if text.replace(".", "").isdigit():
        return x509.IPAddress(ip_address(text))
    return x509.DNSName(text)

"""Key and certificate with which exports are signed.

They are made on first use, in the folder that the environment variable
DEEPFAKERY_IDENTITY names or else `~/.config/deepfakery/identity`. Nobody vouches for
them, so readers call the signer unknown; still, files signed with one identity can be
told to come from one place. To sign under a name of your own, put `key.pem` there, and
your certificate with its chain, leaf first, as `certificate.pem`.
"""

import os
import warnings
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import exceptions, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deepfakery.media import records

# What a key signs with, by its bits; Ed25519 has but one size, RSA any other.
_ALGORITHMS = {256: "es256", 384: "es384", 521: "es512", None: "ed25519"}
_PLAIN = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)


def load() -> tuple[Path | str, tuple[str, bytes, bytes]]:
    """Read the identity, made on first use.

    Returns:
        Its folder; and what to sign with: the algorithm, the certificates and the
        private key, both in PEM.

    Raises:
        ValueError: What the folder holds is damaged or incomplete.
    """
    given = os.environ.get("DEEPFAKERY_IDENTITY")
    folder = Path(given or "~/.config/deepfakery/identity")
    try:
        folder = folder.expanduser()
        chain, key = folder / "certificate.pem", folder / "key.pem"
        if not chain.exists():
            _make(folder, chain, key)
        if not key.exists():
            raise ValueError("key.pem is missing")
        secret = serialization.load_pem_private_key(key.read_bytes(), None)
        algorithm = _ALGORITHMS.get(getattr(secret, "key_size", None), "ps256")
        return folder, (algorithm, chain.read_bytes(), secret.private_bytes(*_PLAIN))
    except (
        *(OSError, RuntimeError, TypeError, ValueError),
        exceptions.UnsupportedAlgorithm,
    ) as error:
        has_none = not os.path.exists(folder / "certificate.pem")
        if has_none and not given and isinstance(error, OSError | RuntimeError):
            return _passing(f"{folder} cannot be written ({error}).")
        raise ValueError(
            f"{folder} holds no identity to sign with ({error}). It needs key.pem, in "
            "PEM without a password, and certificate.pem; or delete both and a new "
            "identity is made. DEEPFAKERY_IDENTITY names another folder."
        ) from error


def _make(folder, chain, key):
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with records.one_writer(folder, "makes an identity", wait=60):
        if not key.exists():
            new = ec.generate_private_key(ec.SECP256R1())
            records.write(key, new.private_bytes(*_PLAIN), mode=0o600)
        if not chain.exists():
            secret = serialization.load_pem_private_key(key.read_bytes(), None)
            records.write(chain, certify(secret.public_key()))


@cache
def _passing(why):
    """An identity that is never written, for who has no place for one."""
    warnings.warn(
        f"{why} What this process signs cannot be told to come from the same place as "
        "what others sign; let DEEPFAKERY_IDENTITY name a folder of yours.",
        stacklevel=2,
    )
    secret = ec.generate_private_key(ec.SECP256R1())
    chain = certify(secret.public_key())
    return "the passing identity", ("es256", chain, secret.private_bytes(*_PLAIN))


def certify(key) -> bytes:
    """A certificate of a public key, then its issuer's: C2PA wants one above it."""
    issuer, chain = ec.generate_private_key(ec.SECP256R1()), b""  # used here, then gone
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
    name, now = "CN=DeepFakery local {},O=DeepFakery", datetime.now(UTC)
    for role, public in (("identity", key), ("issuer", issuer.public_key())):
        ca = role == "issuer"
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name.from_rfc4514_string(name.format(role)))
            .issuer_name(x509.Name.from_rfc4514_string(name.format("issuer")))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))  # clocks differ
            .not_valid_after(now + timedelta(days=20 * 365))
            .add_extension(x509.BasicConstraints(ca, 0 if ca else None), True)
            .add_extension(x509.KeyUsage(not ca, *[False] * 4, ca, *[False] * 3), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
            .add_extension(authority, False)
            .add_extension(purpose, False)
            .sign(issuer, hashes.SHA256())
        )
        chain += certificate.public_bytes(serialization.Encoding.PEM)
    return chain

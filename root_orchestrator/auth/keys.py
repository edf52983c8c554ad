"""The key pair that signs access tokens: made once, kept in a file, so that tokens outlive a restart."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mangrove.base.errors import CorruptFile
from mangrove.base.files import private_folder, write_atomically

#: Name of the file in the folder given.
KEY_FILE = "jwt.pem"

#: Bits of a new key. What Oakestra's clients expect (RS256), and what NIST SP 800-57 allows until 2030.
KEY_BITS = 2048


def load_or_create_key(folder: Path) -> rsa.RSAPrivateKey:
    """The private key kept in `folder`; made there, readable by its owner alone, when there is none.

    Raises CorruptFile when the file is there but holds no RSA key: it is never replaced silently, since all tokens
    out there would die with it. OSError when the folder is not writable.
    """
    path = private_folder(folder) / KEY_FILE
    if path.exists():
        return _read(path)
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_atomically(path, pem, mode=0o600)
    return key


def _read(path: Path) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CorruptFile(
            f"{path} holds no readable key ({error}); restore it, or remove it to sign all users out"
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CorruptFile(f"{path} holds a key that is not RSA; restore it, or remove it to sign all users out")
    return key

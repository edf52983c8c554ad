"""Keys, passwords, tokens and the first accounts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import stat
import threading
from pathlib import Path

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mangrove.base.clock import VirtualClock
from mangrove.base.errors import CorruptFile, Unauthorized
from mangrove.model.documents import ORGANIZATIONS, USERS, Organization, User
from mangrove.store.memory import MemoryStore
from root_orchestrator.auth.keys import KEY_FILE, load_or_create_key
from root_orchestrator.auth.passwords import METHOD, Passwords, generated_password
from root_orchestrator.auth.rules import ROLES
from root_orchestrator.auth.tokens import LIFETIME, Kind, TokenSigner
from root_orchestrator.auth.users import ensure_admin
from tests.root_api import CHEAP, signing_key


def test_the_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first = load_or_create_key(tmp_path / "keys")
    second = load_or_create_key(tmp_path / "keys")
    assert first.private_numbers() == second.private_numbers()
    assert first.key_size == 2048
    assert stat.S_IMODE((tmp_path / "keys" / KEY_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_broken_key_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(CorruptFile, match=KEY_FILE):
        load_or_create_key(tmp_path)
    assert (tmp_path / KEY_FILE).read_bytes() == content


def test_passwords_match_themselves_alone() -> None:
    passwords = Passwords("pbkdf2:sha256:1")
    hashed = passwords.hash("right")
    assert passwords.matches(hashed, "right")
    assert not passwords.matches(hashed, "wrong")
    assert not passwords.matches(hashed, "right" * 1000)
    assert not passwords.matches(None, "right")
    assert METHOD in Passwords().hash("slow")


def test_generated_passwords_differ() -> None:
    assert len({generated_password() for _ in range(100)}) == 100
    assert len(generated_password()) == 16


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def token(signer: TokenSigner, kind: Kind) -> str:
    return signer.issue(kind, user="ada", user_id="u" * 24, generation=1, organization="o" * 24, roles=["Admin"])


def test_a_token_says_what_oakestras_clients_read(clock: VirtualClock) -> None:
    encoded = token(TokenSigner(signing_key(), clock), "access")
    assert jwt.get_unverified_header(encoded)["alg"] == "RS256"
    claims = jwt.decode(encoded, options={"verify_signature": False})
    now = int(clock.wall())
    assert claims["sub"] == claims["user"] == "ada"
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (now, now, now + 600)
    assert claims["type"] == "access"
    assert claims["fresh"] is False
    assert claims["roles"] == ["Admin"]
    assert claims["organization"] == "o" * 24
    assert claims["jti"] != claims["csrf"]


@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_tokens_expire_by_our_clock(clock: VirtualClock, kind: Kind) -> None:
    signer = TokenSigner(signing_key(), clock)
    encoded = token(signer, kind)
    clock.advance_to(LIFETIME[kind] - 1)
    assert signer.read(encoded, kind).sub == "ada"
    clock.advance_to(LIFETIME[kind])
    with pytest.raises(Unauthorized, match="expired"):
        signer.read(encoded, kind)


def test_one_kind_is_no_good_for_the_other(clock: VirtualClock) -> None:
    signer = TokenSigner(signing_key(), clock)
    with pytest.raises(Unauthorized, match="Only non-refresh tokens are allowed"):
        signer.read(token(signer, "refresh"), "access")
    with pytest.raises(Unauthorized, match="Only refresh tokens are allowed"):
        signer.read(token(signer, "access"), "refresh")


def test_only_our_signature_counts(clock: VirtualClock) -> None:
    signer = TokenSigner(signing_key(), clock)
    good = token(signer, "access")
    claims = jwt.decode(good, options={"verify_signature": False})
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    header, body, signature = good.split(".")
    forged = [
        token(TokenSigner(foreign, clock), "access"),
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode(claims, "k" * 32, algorithm="HS256"),
        f"{header}.{body}.",
        f"{header}.{body[:-2]}AA.{signature}",
        "",
        "a.b.c",
        "ü.ü.ü",
        good + "x",
    ]
    for encoded in forged:
        with pytest.raises(Unauthorized, match="Invalid token"):
            signer.read(encoded, "access")


def test_the_public_key_does_not_sign(clock: VirtualClock) -> None:
    """The old confusion: an HMAC with the public key as its secret, forged by hand since PyJWT refuses to."""
    signer = TokenSigner(signing_key(), clock)
    public = signing_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _, claims, _ = token(signer, "access").split(".")
    signed = _base64(b'{"alg":"HS256","typ":"JWT"}') + f".{claims}"
    forged = f"{signed}.{_base64(hmac.digest(public, signed.encode(), hashlib.sha256))}"
    with pytest.raises(Unauthorized, match="Invalid token"):
        signer.read(forged, "access")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_the_first_start_makes_admin_with_a_password_of_its_own(clock: VirtualClock) -> None:
    store = MemoryStore()
    password = ensure_admin(store, clock, allow_default=False, passwords=CHEAP)
    assert password is not None
    assert password != "Admin"
    user = msgspec.convert(store.load(USERS)[0].document, User)
    root = msgspec.convert(store.load(ORGANIZATIONS)[0].document, Organization)
    assert user.name == "Admin"
    assert password not in user.password
    assert CHEAP.matches(user.password, password)
    assert root.name == "root"
    assert root.roles_of(user.id) == ROLES
    assert ensure_admin(store, clock, allow_default=True, passwords=CHEAP) is None


def test_the_default_password_is_used_when_asked_for(clock: VirtualClock) -> None:
    assert ensure_admin(MemoryStore(), clock, allow_default=True, passwords=CHEAP) == "Admin"


def test_roots_that_start_at_once_make_one_admin(clock: VirtualClock) -> None:
    store = MemoryStore()
    made: list[str | None] = []

    def start() -> None:
        made.append(ensure_admin(store, clock, allow_default=False, passwords=CHEAP))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([password for password in made if password]) == 1
    assert len(store.load(USERS)) == len(store.load(ORGANIZATIONS)) == 1

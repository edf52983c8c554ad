from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from mangrove.identity.secret import KEY_SIZE, MasterSecret, UnusableSecret, load_or_create, verify_store
from mangrove.store.memory import MemoryStore


def test_the_secret_is_made_once_and_stays(tmp_path: Path) -> None:
    first = load_or_create(tmp_path)
    assert load_or_create(tmp_path).fingerprint() == first.fingerprint()
    path = tmp_path / "secrets" / "parent.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.stat().st_size == KEY_SIZE
    assert [file.name for file in path.parent.iterdir()] == ["parent.key"]


def test_processes_that_start_at_once_agree_on_one_secret(tmp_path: Path) -> None:
    barrier = Barrier(8)

    def start(_: int) -> str:
        barrier.wait(10)
        return load_or_create(tmp_path).fingerprint()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(8)))) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_secret_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    load_or_create(tmp_path)
    path = tmp_path / "secrets" / "parent.key"
    path.chmod(mode)
    with pytest.raises(UnusableSecret, match=rf"permissions {mode:04o}.*chmod 600 {path}"):
        load_or_create(tmp_path)


@pytest.mark.parametrize(("size", "said"), [(0, "0"), (31, "31"), (33, "more"), (100_000, "more")])
def test_a_secret_of_another_size_is_refused_and_left_alone(tmp_path: Path, size: int, said: str) -> None:
    load_or_create(tmp_path)
    path = tmp_path / "secrets" / "parent.key"
    path.write_bytes(b"x" * size)
    with pytest.raises(UnusableSecret, match=rf"{path} must hold 32 bytes, not {said}"):
        load_or_create(tmp_path)
    assert path.stat().st_size == size


def test_every_key_has_its_own_purpose_child_and_generation() -> None:
    secret = MasterSecret(b"k" * 32)
    derived = [
        secret.link_key("a", 1).hex(),
        secret.link_key("a", 2).hex(),
        secret.link_key("b", 1).hex(),
        secret.link_key("a1", 1).hex(),
        secret.link_key("a", 11).hex(),
        secret.broker_password("a", 1),
        secret.broker_password("a", 2),
        secret.parent_broker_password(),
        secret.operator_token(),
        MasterSecret(b"l" * 32).link_key("a", 1).hex(),
    ]
    assert len(set(derived)) == len(derived)
    assert {len(key) for key in derived} == {64}
    assert secret.link_key("a", 1) == MasterSecret(b"k" * 32).link_key("a", 1)
    assert secret.child_id("t", "k") != secret.child_id("tk", "")  # parts do not run into each other


def test_derived_keys_do_not_change_between_versions() -> None:
    """Children keep theirs on disk: another derivation would lock all of them out."""
    secret = MasterSecret(bytes(range(32)))
    assert secret.link_key("0" * 24, 1).hex() == "af45d32ade94b90bf4c1bc04fac0aa39d79b0158b2dfe4d2897e017c708b3707"
    assert secret.broker_password("0" * 24, 1) == "7542e40e3013f6c0b22942372117d502867aa7106e6e6c3b4bc00553eb98bc47"
    assert secret.child_id("0" * 24, "nonce") == "f52c4d934181c551baa27698"
    assert secret.parent_id() == "8289a8c04dd78e525c011097"


def test_nothing_of_the_secret_shows() -> None:
    secret = MasterSecret(b"k" * 32)
    assert repr(secret) == str(secret) == f"{secret}" == "MasterSecret(...)"
    with pytest.raises(ValueError, match="32 bytes, not 3"):
        MasterSecret(b"abc")


def test_a_store_keeps_to_the_secret_that_its_children_know() -> None:
    store = MemoryStore()
    verify_store(MasterSecret(b"k" * 32), store)
    verify_store(MasterSecret(b"k" * 32), store)
    with pytest.raises(UnusableSecret, match="not the secret that the children in this store joined with"):
        verify_store(MasterSecret(b"l" * 32), store)

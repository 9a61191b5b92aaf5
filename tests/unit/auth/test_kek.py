"""Key-encryption keys out of files: which are taken, and which keep the vault shut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cordboard.auth.envelope import Unreadable
from cordboard.auth.kek import FileKeys, KeysRefused
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.secrets import Secret


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "keys"
    made.mkdir(mode=0o700)
    put(made, 1)
    return made


def put(directory: Path, version: int, content: bytes = b"k" * 32, mode: int = 0o400) -> Path:
    path = directory / f"{version}.key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o500])
def test_a_key_that_only_its_owner_reads_is_taken(directory: Path, mode: int) -> None:
    put(directory, 2, mode=mode)
    assert FileKeys.load(directory).current_version() == 2


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o444, 0o644, 0o420, 0o402, 0o410, 0o401, 0o777])
def test_a_key_that_is_open_to_others_is_refused(directory: Path, mode: int) -> None:
    put(directory, 2, mode=mode)
    with pytest.raises(KeysRefused, match=rf"2\.key is open to others than its owner \(mode {mode:04o}\)"):
        FileKeys.load(directory)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_directory_that_others_may_change_is_refused(directory: Path, mode: int) -> None:
    directory.chmod(mode)
    with pytest.raises(KeysRefused, match="can be changed by others"):
        FileKeys.load(directory)


@pytest.mark.parametrize("size", [0, 1, 16, 31, 33, 64, 100_000])
def test_a_key_of_another_size_is_refused(directory: Path, size: int) -> None:
    put(directory, 2, b"k" * size)
    with pytest.raises(KeysRefused, match=r"2\.key must be 32 bytes"):
        FileKeys.load(directory)


def test_a_key_of_another_user_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(directory / "1.key", 65534, 65534)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(KeysRefused, match="belongs to another user"):
        FileKeys.load(directory)


def test_without_a_key_there_is_no_vault(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    for name in ("key", "a.key", "01.key", "0.key", "-1.key", "1.key.bak", "1.KEY"):
        (empty / name).write_bytes(b"k" * 32)
    with pytest.raises(KeysRefused, match="must hold a key-encryption key"):
        FileKeys.load(empty)
    with pytest.raises(KeysRefused, match="cannot be read"):
        FileKeys.load(tmp_path / "missing")
    with pytest.raises(KeysRefused, match="must be a directory"):
        FileKeys.load(put(empty, 1))


def test_a_pipe_in_the_place_of_a_key_is_refused_at_once(directory: Path) -> None:
    os.mkfifo(directory / "2.key", 0o400)
    with pytest.raises(KeysRefused, match=r"2\.key must be a file"):
        FileKeys.load(directory)


async def test_the_newest_key_wraps_and_older_ones_still_unwrap(directory: Path) -> None:
    blob = await FileKeys.load(directory).wrap(b"aad", Secret(b"w" * 32))
    put(directory, 9, b"n" * 32)
    put(directory, 10, b"m" * 32)
    keys = FileKeys.load(directory)
    newer = await keys.wrap(b"aad", Secret(b"w" * 32))
    assert keys.current_version() == 10
    assert newer[:4] == (10).to_bytes(4, "big")
    for wrapped in (blob, newer):
        assert (await keys.unwrap(b"aad", wrapped)).reveal() == b"w" * 32
    (directory / "1.key").unlink()
    with pytest.raises(Unreadable):
        await FileKeys.load(directory).unwrap(b"aad", blob)


async def test_every_flipped_bit_and_another_binding_make_a_wrapped_key_unreadable(directory: Path) -> None:
    keys = FileKeys.load(directory)
    blob = await keys.wrap(b"aad", Secret(b"w" * 32))
    with pytest.raises(Unreadable):
        await keys.unwrap(b"aae", blob)
    for position in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[position // 8] ^= 1 << (position % 8)
        with pytest.raises(Unreadable):
            await keys.unwrap(b"aad", bytes(flipped))
    for length in range(len(blob)):
        with pytest.raises(Unreadable):
            await keys.unwrap(b"aad", blob[:length])


async def test_the_self_test_passes_and_sees_a_provider_that_does_not_bind(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = FileKeys.load(directory)
    await keys.health()

    async def unbound(_aad: bytes, blob: bytes) -> Secret[bytes]:
        return Secret(blob)

    monkeypatch.setattr(keys, "unwrap", unbound)
    with pytest.raises(DependencyUnavailable):
        await keys.health()


def test_keys_show_in_no_text(directory: Path) -> None:
    keys = FileKeys.load(directory)
    assert "kkkk" not in f"{keys!r} {vars(keys)!r}"

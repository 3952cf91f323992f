"""Directories for sockets are private, and their paths fit (FAULTS S1)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.directory import SessionDirectory


@pytest.fixture
def directory() -> Iterator[SessionDirectory]:
    made = SessionDirectory.create()
    yield made
    made.remove()


def test_the_directory_is_for_this_user_alone_s1(directory: SessionDirectory) -> None:
    assert stat.S_IMODE(os.lstat(directory.path).st_mode) == 0o700


def test_removing_the_directory_twice_changes_nothing(directory: SessionDirectory) -> None:
    directory.remove()
    assert not directory.path.exists()
    directory.remove()


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(PermissionError, match="mode 0700"):
        SessionDirectory(tmp_path)


def test_a_link_to_a_directory_is_refused(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(private)
    with pytest.raises(PermissionError, match="no link"):
        SessionDirectory(tmp_path / "link")


def test_a_path_too_long_for_a_socket_is_refused_and_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with pytest.raises(OSError, match="TMPDIR to a directory with a shorter path"):
        SessionDirectory.create()
    assert list(long.iterdir()) == []

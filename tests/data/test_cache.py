import errno
import os
import stat
import time
from pathlib import Path

import pytest

from plait.core.errors import DataError
from plait.data.cache import cache_root, writing


def test_cache_root_takes_the_first_that_is_set(monkeypatch):
    monkeypatch.setenv("PLAIT_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_root() == Path("/a")
    monkeypatch.delenv("PLAIT_CACHE")
    assert cache_root() == Path("/b/plait")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "plait"


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file"
    with writing(path) as part:
        part.write_text("half")
        assert not path.exists()
        part.write_text("whole")
    assert path.read_text() == "whole"

    def fail():
        with writing(path) as part:
            part.write_text("broken")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("cache", "said"), [(".", "let PLAIT_CACHE name"), ("other", "choose another place")])
def test_a_full_disk_is_a_data_error_that_says_what_to_do(tmp_path, monkeypatch, cache, said):
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / cache))

    def fill(path):
        with writing(path) as part:
            part.write_text("some")
            Path("/dev/full").write_text("x" * 100_000)

    with pytest.raises(DataError, match=rf"No space left.*{said}"):
        fill(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_other_operating_system_errors_keep_their_traceback(tmp_path):
    with pytest.raises(OSError) as caught, writing(tmp_path / "file"):
        raise OSError(errno.EMFILE, "too many open files")
    assert caught.value.errno == errno.EMFILE


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_has_the_permissions_that_the_umask_gives(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with writing(tmp_path / "file") as part:
            part.write_text("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_what_a_killed_process_left_is_removed_a_day_later_and_nothing_else(tmp_path, monkeypatch):
    def killed():
        with writing(tmp_path / "a") as part:
            raise SystemExit(part)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(SystemExit) as caught:
            killed()
    old = caught.value.code
    theirs = tmp_path / ".notes.part"
    theirs.touch()
    for path in (old, theirs):
        os.utime(path, (time.time() - 2 * 86400,) * 2)
    with writing(tmp_path / "b") as young, writing(tmp_path / "c"):
        assert young.exists()
    assert {path.name for path in tmp_path.iterdir()} == {".notes.part", "b", "c"}

import errno
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


def test_a_full_disk_is_a_data_error_that_says_what_to_do(tmp_path):
    def fill(path):
        with writing(path) as part:
            part.write_text("some")
            Path("/dev/full").write_text("x" * 100_000)

    with pytest.raises(DataError, match=r"No space left.*PLAIT_CACHE"):
        fill(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_other_operating_system_errors_keep_their_traceback(tmp_path):
    with pytest.raises(OSError) as caught, writing(tmp_path / "file"):
        raise OSError(errno.EMFILE, "too many open files")
    assert caught.value.errno == errno.EMFILE

import pytest

from plait.core.errors import DataError, MissingExtra
from plait.report.report import write_report


def test_written_whole_and_byte_for_byte_the_same(tmp_path, report):
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, report())
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_without_matplotlib_the_extra_is_named_and_nothing_is_left(tmp_path, monkeypatch, report):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"plait\[report\]"):
        write_report(tmp_path / "report.html", report())
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_explained(tmp_path, monkeypatch, report):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(DataError, match="No space left"):
        write_report(tmp_path / "report.html", report())

import pytest

from plait.core.errors import MissingExtra, nearest
from plait.core.extras import need


def test_nearest() -> None:
    assert nearest("fussion", ["fusion", "heads"]) == " Did you mean 'fusion'?"
    assert nearest("zzz", ["b", "a"]) == " Known: a, b."
    assert nearest("zzz", [f"{i:02}" for i in range(65)]).endswith(", 18, 19 and 45 more.")
    assert nearest("zzz", []) == ""
    assert nearest("acc", ["accuracy", "auc"]) == " Did you mean 'accuracy'?"


def test_a_missing_extra_is_named() -> None:
    assert need("json", "image").dumps([]) == "[]"
    with pytest.raises(MissingExtra, match=r"'no_such_package'.*pip install 'plait\[image\]'"):
        need("no_such_package.inner", "image")


def test_a_missing_module_inside_an_extra_is_our_own_fault(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_broken.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        need("half_broken", "image")

"""The tool that breaks components on purpose."""

from pathlib import Path

import scripts

mutate = scripts.load("tests/mutate.py")

SOURCE = '''"""A text - with signs."""

def far(a, b, flag=False):
    """a + b"""
    kept = kernel(a, keep=True)
    if len(a) < 2:
        raise ValueError("a - b" + "c")
    fixed = a * 2.0  # same: a scale that cancels
    return (a - b).mean() + kernel(a, b)
'''


def said(source=SOURCE):
    return [change.said for change in mutate.changes(source)]


def test_every_kind_of_change_is_made_once_and_prose_is_left_alone():
    found = said()
    for expected in (
        "len(a) < 2  ->  len(a) >= 2",
        "True  ->  False",
        "a - b  ->  a + b",
        "a - b  ->  a",
        "a - b  ->  b",
        "(a - b).mean()  ->  (a - b).sum()",
        "kernel(a, b)  ->  kernel(b, a)",
        "(a - b).mean() + kernel(a, b)  ->  (a - b).mean()",
    ):
        assert found.count(expected) == 1, expected
    assert "False  ->  True" not in found
    assert not any("text" in one or "'c'" in one or "2.0" in one for one in found)


def test_each_change_is_one_and_the_rest_stays():
    for change in mutate.changes(SOURCE):
        lines = mutate.ast.unparse(change.tree).splitlines()
        whole = mutate.ast.unparse(mutate.ast.parse(SOURCE)).splitlines()
        assert len(lines) == len(whole)
        assert sum(one != other for one, other in zip(lines, whole, strict=True)) == 1


def test_a_component_goes_with_its_own_tests_or_its_slots():
    package = Path(mutate.PACKAGE)
    assert mutate.test_of(package / "fusion/self_attention.py").name == "test_self_attention.py"
    assert mutate.test_of(package / "fusion/gated.py").name in ("fusion", "test_gated.py")

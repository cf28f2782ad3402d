from io import StringIO

from rich.console import Console

from plait.cli import show


def shown(tables, width=120):
    console = Console(file=StringIO(), width=width, markup=False, highlight=False, emoji=False)
    for table in tables:
        if table is not None:
            console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_title_is_not_broken_where_its_narrow_table_ends():
    grid = {"title": "If only the surest rows are answered", "head": ("answered", "right"), "lines": [["50 %", "56.5"]]}
    section = {"question": "When?", "words": ["So."], "grids": [grid]}
    assert grid["title"] in shown(show.explained({"notes": [], "sections": [section]}))


def test_the_catalogue_breaks_no_component_in_a_word():
    paths = ["measures/space/representation_alignment", "objectives/intra_modal_contrastive", "training/edits/where"]
    entry = {"name": "a_study_with_a_name", "family": "measures", "component": ", ".join(paths), "verdict": "holds"}
    entry |= {"stale": False, "title": "Understanding the Emergence of Multimodal Representation Alignment " * 2}
    words = " ".join(shown(show.entries([entry]))).split()
    assert {word for path in paths for word in path.split("/")} <= {part for word in words for part in word.split("/")}


def test_one_row_is_no_rows():
    account = {"rows": 1, "test": {"accuracy": 1.0}, "intervals": {}, "patterns": [], "notes": []}
    account |= {"single": {}, "without": {}, "retrieval": {}, "calibration": {}}
    assert shown(show.evaluation(account))[0] == "Test, 1 row"

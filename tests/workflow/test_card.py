import pytest
from made import columns, quick

from plait.workflow.report import CARD


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = {**columns(), "family": [f"family{i // 2}" for i in range(120)]}
    return quick(data, group="family", ignore=["family"], out=tmp_path_factory.mktemp("runs") / "run")


def read(run):
    return (run.model.folder / CARD).read_text(encoding="utf-8")


def test_a_card_says_what_a_reader_needs(run):
    text = read(run)
    for title in ("Data", "What it is worth", "What it is not for", "Use", "How to repeat it"):
        assert f"\n## {title}\n" in text
    sizes = {part: len(rows) for part, rows in run.splits.items()}
    assert f"{sizes['train']} train, {sizes['validation']} validation, {sizes['test']} test" in text
    assert "rows with equal `family` on one side" in text
    present = sum(cell is not None for cell in columns()["caption"])
    assert f"| caption | text | {present} ({100 * present / 120:.0f} %) |" in text
    accuracy = run.metrics["test"]["accuracy"]
    assert f"| accuracy | {100 * accuracy:.1f}" in text
    assert f"only {sizes['test']} test rows" in text
    assert "self_attention:" in text
    assert f"on all {sizes['train'] + sizes['validation']} of them" in text
    assert "into one space" in text
    assert "plait.load" in text


def test_no_cell_of_the_data_is_in_it(run):
    text = read(run)
    assert "by the lake" not in text
    assert "family1" not in text
    assert "row-1" not in text


def test_without_groups_the_card_warns_of_near_duplicates(run, tmp_path):
    plain = quick(columns(40), out=tmp_path / "run", settings=("training.epochs=1",))
    assert "near-duplicates" in read(plain)
    assert "near-duplicates" not in read(run)


def test_without_a_target_the_card_promises_no_prediction(tmp_path):
    data = columns(40)
    del data["label"]
    text = read(quick(data, None, out=tmp_path / "run", settings=("training.epochs=1",)))
    assert "model.predict" not in text
    assert "fitted without a target" in text


def test_without_a_projection_the_card_promises_no_search(tmp_path):
    settings = ("training.epochs=1", "training.refit=false", "objectives.info_nce.weight=0", "projection=null")
    text = read(quick(columns(40), out=tmp_path / "run", settings=settings))
    assert "one space" not in text
    assert "on all " not in text

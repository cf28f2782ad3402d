import pytest

from plait.report.words import best_single, headline, interval, number, seconds


def said(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture
def against(report):
    """Makes a report with these single modalities beside an accuracy of 0.876."""

    def make(single):
        test = {"test": {"accuracy": 0.876}, "intervals": {"accuracy": [0.83, 0.92]}, "rows": 190}
        return report(evaluation={**test, "single": single})

    return make


def test_the_headline_says_what_fusion_is_worth(against):
    found = against({"caption": {"accuracy": 0.84, "rows": 188}, "image": {"accuracy": 0.7, "rows": 190}})
    assert [said(s) for s in headline(found)] == [
        "Fusion reaches 88 % accuracy on 190 test rows (95 % interval 83 to 92 %); "
        "the best single modality, caption, 84 % on its 188 rows."
    ]


def test_the_headline_admits_when_fusion_is_not_better(against):
    found = against({"caption": {"accuracy": 0.884, "rows": 188, "fused": {"accuracy": 0.883}}})
    assert said(headline(found)[0]).endswith(
        "; that it beats the best single modality, caption, was not shown: 88.3 % against 88.4 % on its 188 rows."
    )


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        ([0.02, 0.09], ", and beats the best single modality, caption: 88.3 % against 84.0 % on its 188 rows."),
        (
            [-0.09, -0.02],
            ", and is beaten by the best single modality, caption: 88.3 % against 84.0 % on its 188 rows.",
        ),
        ([-0.02, 0.1], "; that it beats the best single modality, caption, was not shown: 88.3 % against 84.0 % on"),
    ],
)
def test_the_headline_calls_a_gain_shown_only_where_its_interval_says_so(against, gain, expected):
    single = {"accuracy": 0.84, "rows": 188, "fused": {"accuracy": 0.883}, "gain": {"accuracy": gain}}
    assert expected in said(headline(against({"caption": single}))[0])


def test_rows_without_a_label_are_not_counted_among_those_that_were_judged(report):
    test = {"test": {"accuracy": 0.9}, "rows": 36, "labelled": {"label": 34}}
    found = report(evaluation=test)
    assert "90 % accuracy on 34 labelled test rows" in said(headline(found)[0])


def test_few_rows_do_not_make_a_best_modality(against):
    single = {"sound": {"accuracy": 1.0, "rows": 9}, "caption": {"accuracy": 0.8, "rows": 188}}
    assert best_single(against(single)) == "caption"
    assert best_single(against({"sound": single["sound"]})) == "sound"
    assert best_single(against({"sound": {"accuracy": float("nan"), "rows": 9}})) is None


def test_alignment_alone_speaks_of_retrieval(report):
    pair = {"recall@10": 0.61, "gallery": 190, "queries": 190, "chance": {"recall@10": 0.05}}
    easy = {"recall@10": 0.9, "gallery": 190, "queries": 190, "chance": {"recall@10": 0.8}}
    few = {"recall@10": 1.0, "gallery": 12, "queries": 12, "chance": {"recall@10": 0.1}}
    found = report(None, evaluation={"retrieval": {"image->caption": pair, "size->caption": easy, "sound->image": few}})
    assert [said(s) for s in headline(found)] == [
        "Searching with image finds the matching caption among the first 10 of 190 in 61 % of the "
        "searches (by chance 5 %)."
    ]


def test_a_search_that_was_not_shown_to_beat_chance_makes_no_headline(report):
    pair = {"recall@10": 0.2, "gallery": 60, "queries": 60, "chance": {"recall@10": 0.17}}
    for low, spoken in ((0.11, 0), (0.18, 1)):
        found = {**pair, "intervals": {"recall@10": [low, 0.3]}}
        assert len(headline(report(None, evaluation={"retrieval": {"image->caption": found}}))) == spoken


def test_other_measures_are_not_shares(report):
    found = report("number", evaluation={"test": {"r2": 0.712}, "rows": 80})
    assert headline(found) == ["Fusion reaches an R² of 0.71 on 80 test rows."]
    assert headline(report(evaluation={})) == []


@pytest.mark.parametrize(
    ("value", "measure", "text"),
    [
        (0.8764, "accuracy", "87.6 %"),
        (0.8764, "macro_f1", "0.88"),
        (0.9987, "auc", "0.999"),
        (1.0, "auc", "1.00"),
        (12345.6, "mae", "12,346"),
        (0.0123, "ece", "0.0123"),
        (float("nan"), "auc", "\N{EN DASH}"),
        (None, "auc", "\N{EN DASH}"),
    ],
)
def test_numbers(value, measure, text):
    assert said(number(value, measure)) == text


def test_intervals_and_times():
    assert said(interval((0.83, 0.92), "accuracy")) == "83.0 to 92.0 %"
    assert interval((float("nan"), 1.0), "accuracy") == interval(None) == ""
    assert [said(seconds(s)) for s in (3.21, 80.4, 300.0)] == ["3.2 s", "80 s", "5 min"]

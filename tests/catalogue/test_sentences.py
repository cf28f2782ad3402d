import pytest

from plait.catalogue.compare import Compared, Contrast, Picked, Row
from plait.catalogue.sentences import sentences
from plait.catalogue.verdict import Estimate


def found(*tests, measure="accuracy", higher=True, resolution=0.024, picked=None, control="late fusion"):
    """tests: (name, difference, half an interval, p_corrected)."""
    estimates = [(a, Estimate(d, half / 1.96, 10**6), p) for a, d, half, p in tests]
    made = [Contrast(a, control, one, p, one.seen_from(len(tests))) for a, one, p in estimates]
    names = [a for a, *_ in tests if a not in ("best single", "concatenation")]
    rows = [Row(control, Estimate(0.8, 0.01, 9), None)]
    return Compared(
        "y", measure, higher, control, rows, made, names, "image", resolution if names else None, picked,
        16, 5, 1, [], {},
    )  # fmt: skip


def said(*tests, **how):
    return " ".join(sentences(found(*tests, **how)))


SINGLE = "the best single modality (picked on other rows, mostly image)"
BEST, PLAIN = ("best single", -0.021, 0.0145, 0.01), ("concatenation", 0.001, 0.02, 1.0)


def test_a_gain_of_fusion_is_turned_around_from_the_test_of_the_single_one():
    assert said(BEST, PLAIN).startswith(f"Fusion beats {SINGLE} by 2.1 points (95 % 0.7 to 3.5).")


def test_a_loss_is_said_as_plainly():
    words = said(("best single", 0.03, 0.01, 0.001), PLAIN)
    assert words.startswith(f"Fusion is worse than {SINGLE} by 3.0 points (95 % 2.0 to 4.0).")


def test_what_was_not_shown_says_what_could_have_been_seen():
    words = said(("best single", -0.01, 0.02, 0.6), PLAIN)
    assert f"was not shown to differ from {SINGLE}: 1.0 points (95 % -1.0 to 3.0)" in words
    assert "; among 2 tests, a difference of 3.1 points would be found in four of five cases" in words


def test_a_difference_that_no_model_could_have_is_told_as_such():
    """The control has .8 of 1; of an error nothing is beyond reach."""
    coarse = ("best single", -0.01, 0.2, 0.9)
    assert "31.5 points (more than is left to gain) would be found" in said(coarse, PLAIN)
    words = said(coarse, PLAIN, ("one", 0.0, 0.2, 0.9), resolution=0.21)
    assert "we could have seen a difference of 21.0 points (more than is left to gain) in" in words
    assert "more than is left" not in said(coarse, PLAIN, measure="mae", higher=False)
    assert "more than is left" not in said(BEST, PLAIN)


def test_figures_that_are_no_shares_have_the_decimals_their_interval_has_a_use_for():
    words = said(("best single", -0.0624, 0.1, 0.5), ("concatenation", -0.00218, 0.064, 1.0), measure="c_index")
    assert ": 0.06 C-index (95 % -0.04 to 0.16); among 2 tests, a difference of 0.16 C-index would" in words
    assert ": 0.00 C-index (95 % -0.07 to 0.06)" in words


def test_what_only_stands_by_itself_is_not_called_shown():
    words = said(("best single", -0.03, 0.02, 0.09), PLAIN)
    assert "not shown" in words
    assert "by itself, not among 2 tests" in words


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (
            (0.5, 0.7),
            "None of 2 recipes beats the tuned late-fusion transformer; we could have seen a difference of 2.4",
        ),
        ((0.01, 0.7), "1 of 2 recipes beats the tuned late-fusion transformer: one (by 3.0 points)."),
        (
            (0.01, 0.01),
            "2 of 2 recipes beat the tuned late-fusion transformer: one (by 3.0 points), two (by 1.0 points).",
        ),
    ],
)
def test_recipes_are_counted_by_corrected_p(p, expected):
    assert expected in said(BEST, PLAIN, ("one", 0.03, 0.01, p[0]), ("two", 0.01, 0.005, p[1]))


def test_a_recipe_that_is_worse_is_named():
    words = said(BEST, PLAIN, ("one", -0.03, 0.01, 0.01), ("two", 0.0, 0.01, 1.0))
    assert "None of 2 recipes beats" in words
    assert "1 is worse: one." in words


def test_where_less_is_better_gains_are_negative():
    words = said(("best single", 0.4, 0.1, 0.001), ("concatenation", -0.3, 0.1, 0.001), measure="mae", higher=False)
    assert words.startswith(f"Fusion beats {SINGLE} by 0.40 mean absolute error (95 % 0.30 to 0.50).")
    better = "linear model on all features is better than the tuned late-fusion transformer by 0.30 mean absolute error"
    assert f"{better} (95 % 0.20 to 0.40)" in words


def test_the_winner_is_quoted_with_what_picking_it_is_worth():
    words = said(BEST, PLAIN, ("one", 0.03, 0.01, 0.01), picked=Picked("one", 0.83, 0.812))
    assert words.endswith(
        "The best is one with 83.0 % accuracy; whoever picks the best one on other folds gets 81.2 %."
    )


def test_another_control_is_called_by_its_name():
    words = said(
        ("best single", -0.02, 0.01, 0.01),
        ("concatenation", 0.0, 0.01, 1.0),
        ("one", 0.0, 0.01, 1.0),
        control="majority",
    )
    assert words.startswith("one was not shown to beat majority; we could have seen a difference of 2.4 points in four")

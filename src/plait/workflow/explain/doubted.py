"""Labels that look wrong to the model, which has not learned from them."""

from __future__ import annotations

from plait.data.health import label_errors
from plait.report.words import FEW

from .section import CannotSay, Grid, Part
from .subject import Subject

LISTED = 20
METHOD = (
    "Labels that look wrong: rows whose label is not the likeliest among the classes that the model gives at least the "
    "probability that it gives, on average, to the rows of that class (confident learning: Northcutt et al., "
    "arXiv:1911.00068). Some are wrong, of some the model is."
)


def doubted(subject: Subject) -> Part:
    """CannotSay of other targets than classes, or on few rows."""
    if subject.about.kind != "class":
        raise CannotSay("")
    classes, truth = subject.classes, subject.truth
    if len(truth) < FEW:
        raise CannotSay(f"Whether labels look wrong cannot be said of {len(truth)} labelled test rows; it takes {FEW}.")
    said = subject.predicted[subject.labelled]
    found = label_errors(said, truth)
    rows = [
        {
            "id": subject.dataset.ids[subject.labelled[i]],
            "label": classes[truth[i]],
            "said": classes[int(said[i].argmax())],
            "of_label": float(said[i, truth[i]]),
            "of_said": float(said[i].max()),
        }
        for i in found.tolist()
    ]
    account = {"rows": len(truth), "found": rows}
    if not rows:
        return Part([f"None of the {len(truth)} labels of test rows looks wrong to it."], account=account)
    grid = Grid(
        "Labels that look wrong, the most suspicious first",
        ("row", "label", "the model says", "probability of the label", "of what it says"),
        [
            (str(row["id"]), row["label"], row["said"], f"{row['of_label']:.2f}", f"{row['of_said']:.2f}")
            for row in rows[:LISTED]
        ],
    )
    few = f", of which the {LISTED} most suspicious are listed" if len(rows) > LISTED else ", which are listed"
    words = f"{len(rows)} of the {len(truth)} labels of test rows look wrong to it{few}: either they are, or it is."
    return Part([words], [], [grid], [METHOD], account)

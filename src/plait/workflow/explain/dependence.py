"""What does the model lean on: how its answers change where rows get the cells of others."""

from __future__ import annotations

from .dependence_classes import of_classes
from .dependence_errors import of_errors
from .enough import enough
from .explain import QUESTIONS
from .section import CannotSay, Part, Section, joined
from .subject import LEAST, Subject
from .wording import listed

METHOD = (
    "Dealt anew: every row that has the modality gets the cell of another row that has it, five times, never of a row "
    "that belongs with it (permutation importance, Breiman 2001; perceptual score, Gat et al., arXiv:2110.14375); no "
    "cell is blanked or made up. A dealt cell may fit the rest of its row in no real way, so part of the loss is the "
    "model's surprise, and a modality that says what others say too may seem spare."
)


def answer(subject: Subject) -> Section:
    """CannotSay on one modality, or where no modality has enough rows."""
    if len(subject.names) < 2:
        raise CannotSay("There is one modality, which the model leans on alone.")
    judged = [name for name in subject.names if subject.exchangeable(name)]
    passed = [name for name in subject.names if name not in judged]
    if not judged:
        raise CannotSay(f"No modality has {LEAST} labelled test rows that could exchange their cells.")
    dealt = (of_classes if subject.about.kind == "class" else of_errors)(subject, judged)
    left = Part(account={"not_judged": passed})
    if passed:
        left.words.append(
            f"Of {listed(passed, 'or')} nothing is said: too few labelled test rows have it, or too many of those "
            "belong together."
        )
    return joined("dependence", QUESTIONS["dependence"], [Part(method=[METHOD]), dealt, left, enough(subject)])

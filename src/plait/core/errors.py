"""What can go wrong for a user, each with a message that says what was found, what was expected and what to do.

A `PlaitError` is the user's or the data's; the command line prints its message and ends with status 2.
Any other exception is a fault of the program and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PlaitError(Exception):
    """Base of every error that the user can mend."""


class DataError(PlaitError):
    """A table, file or folder that cannot be used as it is."""


class SchemaError(PlaitError):
    """A schema that does not fit the table, or contradicts itself."""


class RecipeError(PlaitError):
    """A recipe that names something unknown or gives it a wrong value; the message begins with the place."""


class RunError(PlaitError):
    """A run folder that is missing, incomplete, locked or made from other data."""


class CellError(PlaitError):
    """One cell that cannot be read.  The cell is quarantined with this reason and the run goes on."""


class ClusterError(PlaitError):
    """A cluster that does not answer, or whose workers cannot do what is asked."""


class MissingExtra(PlaitError):
    """A package of an optional extra is not installed."""


MANY = 20
"""Names that a message lists."""


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or the list of what there is; ready to append to a message."""
    known = sorted(known)
    begun = [one for one in known if name and one.startswith(name)]
    close = begun if len(begun) == 1 else difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f" Did you mean {close[0]!r}?"
    more = f" and {len(known) - MANY} more" if len(known) > MANY else ""
    return f" Known: {', '.join(known[:MANY])}{more}." if known else ""

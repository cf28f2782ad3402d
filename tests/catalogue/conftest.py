import grounded
import pytest

from plait.catalogue import grounds, panel
from plait.catalogue.tables import named


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A cache of its own, and no processes beside this one."""
    grounded.alone(monkeypatch, tmp_path)
    panel._of.cache_clear()


@pytest.fixture
def few(monkeypatch):
    """As few draws as an interval needs."""
    monkeypatch.setattr(grounds, "DRAWS", 3)


@pytest.fixture
def collected(monkeypatch):
    """Gives a set called `toy` a table."""

    inner = grounds.table

    def give(made):
        def known(data, **knobs):
            return made if named(data)[0] == "toy" else inner(data, **knobs)

        monkeypatch.setattr(grounds, "table", known)
        return made

    return give

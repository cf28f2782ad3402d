import pytest

from plait.core.errors import DataError
from plait.data.quarantine import Quarantine, Quarantined


def test_entries_are_unique_ordered_and_the_first_reason_stays():
    quarantine = Quarantine()
    for row, reason in ((3, "late"), (1, "early"), (3, "again")):
        quarantine.add(row, "photo", reason)
    assert list(quarantine) == [Quarantined(1, "photo", "early"), Quarantined(3, "photo", "late")]
    assert len(quarantine) == 2
    assert (3, "photo") in quarantine
    assert (3, "sound") not in quarantine


def test_strict_stops_at_the_first():
    with pytest.raises(DataError, match=r"Row 2, column 'photo': is empty"):
        Quarantine(strict=True).add(2, "photo", "is empty")

import copy

import pytest
from sound import SOUND

from plait.catalogue import entry as entries
from plait.catalogue.entry import Entry
from plait.core.errors import RecipeError


def changed(*path, value):
    data = copy.deepcopy(SOUND)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


def test_a_sound_entry_says_where_its_arms_differ():
    assert Entry.parse(SOUND).slots == ("fusion",)
    more = changed("recipe", value={"fusion": {"gated": {}}, "width": 64})
    more["baseline"] = {"fusion": {"gated": {}}, "objectives": {"supervised": {}}, "width": 64}
    assert Entry.parse(more).slots == ("objectives",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (changed("titel", value="x"), r"titel: there is no such key. Did you mean 'title'\?"),
        (changed("claims", 0, "kid", value="x"), r"claims\.0\.kid: there is no such key. Did you mean 'kind'\?"),
        (changed("family", value="fussion"), r"family: .*'fusion'"),
        (changed("carried_by", value="fusion/gatted"), r"carried_by: .*'gatted'.*'gated'"),
        (changed("carried_by", value="fussion/gated"), r"carried_by: 'fussion/gated' is not ROOM/COMPONENT"),
        (changed("recipe", "fusion", value={"gatted": {}}), r"recipe: fusion\.gatted: .*'gated'"),
        (changed("baseline", value=SOUND["recipe"]), "nothing to compare"),
        (changed("scale", value="small"), r"reduced: what was reduced"),
        (changed("claims", value=[]), "claims"),
        (changed("claims", 0, "without", value="stamps"), "a planted claim, and no other"),
        (changed("claims", 1, "without", value=None), "a planted claim, and no other"),
        (changed("claims", 0, "searched", value="without"), "only a planted claim says where settings are searched"),
        (changed("claims", 0, "expect", value="better"), r"claims\.0\.expect"),
        (changed("claims", 1, "data", value={"factors": {}, "stamps": {}}), "one data set is needed"),
        (changed("source", value=None), r"source: Field required"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(data, said):
    with pytest.raises(RecipeError, match=said):
        Entry.parse(data, "entries/gate.yaml")


def test_a_name_that_is_not_there_gets_the_nearest(tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "ENTRIES", tmp_path)
    (tmp_path / "gate.yaml").write_text("")
    with pytest.raises(RecipeError, match=r"no entry 'gat'.*'gate'"):
        entries.load("gat")
    with pytest.raises(RecipeError, match="expected a mapping"):
        entries.load("gate")

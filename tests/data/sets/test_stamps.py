from __future__ import annotations

import os
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from plait.core.errors import DataError
from plait.data.fetch import fetch, source
from plait.data.read import read as read_table
from plait.data.sets import stamps as sets_stamps
from plait.data.sets.stamps import build, captions, groups, read, size, unlabel, variant


@pytest.mark.parametrize("said", ["scale 40%", "scale 5/2", "scale 2.5", "scale 2:5", "scale=40%", "scale = 40%"])
def test_four_ways_to_say_one_scale(said: str) -> None:
    assert size(f"{said}\n")["scale"] == pytest.approx(0.4)


def test_flags_and_tinter() -> None:
    plain = dict.fromkeys(("colorable", "tintable", "noflip", "nomirror"), False) | {"scale": 1.0, "tinter": None}
    assert size("") == plain
    assert size("noflip \r\n\ncolorable\n") == plain | {"noflip": True, "colorable": True}
    assert size("tintable") == plain | {"tintable": True, "tinter": "normal"}
    assert size("tintable\ntinter=vector") == plain | {"tintable": True, "tinter": "vector"}
    assert size("nomirrorcolorable\nscale\nscale big\ntinter=loud") == plain


def test_captions() -> None:
    text = "A crow. \nes.utf8=Un cuervo.\nde.utf8= \nsr@latin.utf8=Vrana.\nzh_TW.utf8=烏鴉 = 鳥\nnonsense\n"
    assert captions(text) == {
        "caption": "A crow.",
        "caption_es": "Un cuervo.",
        "caption_sr@latin": "Vrana.",
        "caption_zh_TW": "烏鴉 = 鳥",
    }
    assert captions("") == {}
    assert captions("\nes.utf8=Un cuervo.") == {"caption_es": "Un cuervo."}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("dumper", "dumper_mirror"),
        ("frog", "frog-1"),
        ("flower1", "flower10"),
        ("blue_fedora", "green_fedora"),
        ("redflag", "yellowflag"),
        ("apple_green", "apple_red"),
        ("stoplight_01_red", "stoplight_03_green"),
        ("A_filled", "a_outline"),
        ("grave-a", "grave-j"),
        ("padlock_open", "padlock_closed"),
        ("eye", "eye2_drawing"),
        ("Pencil", "pencil2"),
    ],
)
def test_variants_of_one_thing(one: str, other: str) -> None:
    assert variant(f"x/{one}") == variant(f"x/{other}")
    assert variant(f"x/{one}") != variant(f"y/{other}")


@pytest.mark.parametrize(
    ("one", "other"),
    [("0", "1"), ("001", "002"), ("yen001", "yen100"), ("asl_a", "asl_b"), ("note_025_a", "note_050_a"), ("747", "7")],
)
def test_different_things(one: str, other: str) -> None:
    assert variant(f"x/{one}") != variant(f"x/{other}")


@pytest.mark.parametrize("name", ["red", "blue", "orange", "7", "a", "photo"])
def test_a_name_is_never_used_up(name: str) -> None:
    assert variant(f"x/{name}") == f"x/{name}"


def row(name: str, caption: str | None = None, **paths: str) -> dict[str, str | None]:
    return {"name": name, "caption": caption, "image": paths.get("image", f"{name}.png"), "sound": paths.get("sound")}


def test_groups_are_transitive() -> None:
    rows = [
        row("a/cup", "A cup."),
        row("b/mug", "a CUP."),
        row("b/mug_mirror", sound="b/clink.ogg"),
        row("c/bell", "A bell.", sound="c/ring.ogg"),
        row("d/tree"),
        row("e/bush"),
    ]
    digests = {r["image"]: r["name"] for r in rows} | {"b/clink.ogg": "same", "c/ring.ogg": "same"}
    assert groups(rows, digests) == ["a/cup"] * 4 + ["d/tree", "e/bush"]


def test_absent_captions_are_not_equal() -> None:
    rows = [row("a/x"), row("a/y"), row("a/z", "")]
    assert len(set(groups(rows, {r["image"]: r["name"] for r in rows}))) == 3


def test_lookalikes_are_grouped() -> None:
    for one, other in sets_stamps.LOOKALIKES:
        assert len(set(groups([row(one), row(other)], {f"{one}.png": "1", f"{other}.png": "2"}))) == 1
        assert variant(one) != variant(other), "the name alone already shows it"


def test_small_categories_are_unlabelled() -> None:
    rows = [{"category": "many", "group": str(i)} for i in range(5)]
    rows += [{"category": "few", "group": str(i % 4)} for i in range(9)]
    assert unlabel(rows) == {"few": 9}
    assert Counter(r["category"] for r in rows) == {"many": 5, None: 9}


def test_read(stamps: Path) -> None:
    (stamps / "animals/link.png").symlink_to("/etc/hostname")
    rows, counts = read(stamps)
    assert [r["name"].rpartition("/")[2] for r in rows] == [
        *("cat", "cow", "crow", "crow_mirror", "dog", "hen", "owl"),
        *("blue_house", "house"),
    ]
    assert len({tuple(sorted(r)) for r in rows}) == 1
    crow = next(r for r in rows if r["name"] == "animals/crow")
    said = {column: value for column, value in crow.items() if value is not None}
    assert said == {
        "name": "animals/crow",
        "folder": "animals",
        "category": "animals",
        "group": "animals/crow",
        "image": "animals/crow.png",
        "caption": "A crow.",
        "caption_es": "Un cuervo.",
        "caption_fr": "Une corneille.",
        "caption_ca@valencia": "Un corb.",
        "sound": "animals/crow.ogg",
        "spoken_en": "animals/crow_desc.ogg",
        "spoken_fr": "animals/crow_desc_fr.ogg",
        "spoken_pt_BR": "animals/crow_desc_pt_BR.wav",
        "scale": 0.4,
        "colorable": False,
        "tintable": False,
        "noflip": True,
        "nomirror": False,
    }
    by_name = {r["name"]: r for r in rows}
    assert by_name["animals/owl"]["image"] == "animals/owl.svg"
    assert by_name["animals/crow_mirror"]["group"] == "animals/crow"
    assert by_name["town/house"]["group"] == by_name["town/blue_house"]["group"]
    assert (counts["items"], counts["captions"], counts["images"]) == (9, 2, {"png": 8, "svg": 1})
    assert counts["sound_files"] == {"in_package": 8, "attached": 5}
    assert counts["spoken"] == {"en": 1, "fr": 2, "pt_BR": 1}


def test_the_folder_holds_what_the_table_names_and_nothing_else(make_deb, tmp_path: Path) -> None:
    folder = fetch("stamps", tmp_path / "set", deb=make_deb("9.9"))
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    table = read_table(folder)
    named = {
        path
        for column in ("image", "sound", "spoken_en", "spoken_fr", "spoken_pt_BR")
        for path in table.column(column).to_pylist()
    }
    assert files == (named - {None}) | {"table.parquet", "schema.yaml", "SOURCE.json"}
    assert list(table.schema.modalities) == ["caption", "image", "spoken", "sound", "size"]
    assert table.schema.modalities["spoken"].columns == ("spoken_fr",)
    assert (table.schema.group, table.schema.id) == ("group", "name")
    assert table.schema.targets["category"].classes == ("animals",)
    assert table.column("category").null_count == 2
    notes = source(folder)["notes"]
    assert any("9.9" in note and "2022.06.04-1" in note for note in notes)
    assert any("'town'" in note and "2 items" in note for note in notes)


def test_a_known_version_must_be_the_known_file(make_deb, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 6db6c1bf"):
        fetch("stamps", tmp_path / "set", deb=make_deb("2022.06.04-1"))
    assert not (tmp_path / "set").exists()


def test_other_files_are_refused(make_deb, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a usable Debian package"):
        fetch("stamps", tmp_path / "set", deb=make_deb("1.0", package="cowsay"))
    noise = tmp_path / "noise.deb"
    noise.write_bytes(b"!<arch>\nnoise")
    with pytest.raises(DataError, match="not a usable Debian package"):
        fetch("stamps", tmp_path / "set", deb=noise)
    whole = make_deb("9.9").read_bytes()
    noise.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch("stamps", tmp_path / "set", deb=noise)
    with pytest.raises(DataError, match="holds no stamps"):
        fetch("stamps", tmp_path / "set", deb=make_deb("9.8", stamps={"readme": "nothing"}))
    with pytest.raises(DataError, match="There is no file"):
        fetch("stamps", tmp_path / "set", deb=tmp_path / "absent.deb")


APT = """#!{python}
import pathlib, shutil, sys
arguments = sys.argv[1:]
state = [word.partition("=")[2] for word in arguments if word.startswith("Dir::State=")]
lists = pathlib.Path(state[0], "lists", "filled") if state else None
if arguments[-1] == "update":
    lists.touch()
elif lists and lists.exists() and {deb!r}:
    shutil.copy({deb!r}, ".")
else:
    sys.exit("E: Unable to locate package " + arguments[-1])
"""


def fake_apt(folder: Path, monkeypatch: pytest.MonkeyPatch, deb: str) -> None:
    folder.mkdir()
    (folder / "apt-get").write_text(APT.format(python=sys.executable, deb=deb))
    (folder / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_empty_package_lists_are_filled_privately(make_deb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = make_deb("9.9")
    fake_apt(tmp_path / "bin", monkeypatch, str(deb))
    assert source(fetch("stamps", tmp_path / "set"))["version"] == "9.9"


def test_a_rebuild_that_apt_vouches_for_is_noted(make_deb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = make_deb("2022.06.04-1")
    fake_apt(tmp_path / "bin", monkeypatch, str(deb))
    assert any(
        "not the file that Debian published" in note for note in source(fetch("stamps", tmp_path / "set"))["notes"]
    )


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_apt(tmp_path / "bin", monkeypatch, "")
    with pytest.raises(DataError, match=r"Unable to locate package .* --deb FILE"):
        fetch("stamps", tmp_path / "set")


def test_no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"no `apt-get` here.*--deb FILE.*plait fetch mfeat"):
        fetch("stamps", tmp_path / "set")
    with pytest.raises(DataError, match="`dpkg-deb` is needed"):
        build(tmp_path, tmp_path, tmp_path / "some.deb")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="there is no apt-get here")
def test_the_real_package(tmp_path: Path) -> None:
    folder = fetch("stamps", tmp_path / "stamps")
    found = source(folder)
    table = read_table(folder)
    rows = range(len(table))
    if found["version"] == "2022.06.04-1":
        counts = found["counts"]
        assert (counts["items"], counts["captions"], counts["distinct_captions"]) == (961, 950, 804)
        assert (counts["spoken"]["fr"], counts["spoken"]["es"], counts["sounds"]) == (925, 888, 134)
        assert counts["images"] == {"png": 796, "svg": 165}
        assert counts["sound_files"]["in_package"] == 7873
        assert len(counts["categories"]) == 16
        assert counts["unlabelled"] == {"naturalforces": 3}
    group = table.column("group").to_pylist()
    for column in ("caption", "image", "spoken_fr", "spoken_es", "sound"):
        shared: dict[object, set[str]] = defaultdict(set)
        for index, cell in zip(rows, table.column(column).to_pylist(), strict=True):
            if cell is not None:
                shared[cell if column == "caption" else (folder / cell).read_bytes()].add(group[index])
        assert max(len(groups_of_cell) for groups_of_cell in shared.values()) == 1, column
    names = table.column("name").to_pylist()
    by_name = dict(zip(names, group, strict=True))
    mirrored = [name for name in names if name.endswith("_mirror")]
    assert mirrored
    assert all(by_name[name] == by_name[name.removesuffix("_mirror")] for name in mirrored)
    assert {name for pair in sets_stamps.LOOKALIKES for name in pair} <= set(names)
    assert max(Counter(group).values()) < len(names) / 50

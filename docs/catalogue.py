"""Write docs/catalogue.md: of every entry, what was published and what we saw, side by side.

python docs/catalogue.py [--check]          --check: only say whether the page is up to date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plait.catalogue import entry as entries
from plait.catalogue import evidence
from plait.catalogue.entry import FAMILIES, Entry
from plait.cli.show import as_times

PAGE = Path(__file__).parent / "catalogue.md"
HEAD = """# The catalogue

Published systems as recipes: `plait fit DATA --target COLUMN --recipe NAME --out RUN` runs one on your table, `plait
catalogue show NAME` says more. This page is written by `python docs/catalogue.py` from the entries and from what was
recorded when their claims were checked; no verdict is typed by hand. *Published* is what the paper claims, in our
words. *Seen* is our verdict on the claims that we made of it, on the data that we have, by [the
protocol](protocol.md): `holds`, `unclear`, `contradicted`, `informative` of times, which are told and not judged, or
`unchecked` where the check has not been run. Behind it stand the method's measure minus the baseline's with its 95 %
interval, and the difference that could have been seen; `unclear` never means that there is none. Where no made table
shows that the method ever gains (*gate control*), our setup may be too weak for it: what it loses elsewhere is then
unclear, not contradicted, and what holds is *one-sided*.
"""


def page() -> str:
    """The whole page."""
    known = {name: entries.load(name) for name in entries.names()}
    lines = [HEAD, f"{len(known)} entries.\n", *_overall()]
    for family in FAMILIES:
        of_family = {name: entry for name, entry in known.items() if entry.family == family}
        if of_family:
            lines.append(f"## {family.replace('_', ' ').capitalize()}\n")
            lines += [line for name, entry in of_family.items() for line in _section(name, entry)]
    return "\n".join(lines)


def _section(name: str, entry: Entry) -> Iterator[str]:
    yield f"### `{name}`\n"
    scale = "" if entry.scale == "full" else f" {entry.scale[0].upper()}{entry.scale[1:]}."
    yield f"{entry.title} ({_link(entry.source)}). {_flat(entry.mechanism)} Carried by `{entry.carried_by}`.{scale}\n"
    recorded = evidence.read(name)
    seen = {} if recorded is None else {claim["says"]: claim for claim in recorded["claims"]}
    stale = evidence.stale(entry, recorded)
    yield "| published | our claim | kind | seen |"
    yield "|---|---|---|---|"
    for i, claim in enumerate(entry.claims):
        published = _flat(entry.published) if i == 0 else ""
        yield f"| {published} | {_flat(claim.says)} | {claim.kind} | {_seen(seen.get(claim.says), stale)} |"
    yield f"\n{_flat(entry.notes)}\n" if entry.notes else ""


def _overall() -> Iterator[str]:
    """What all claims together came to."""
    found = evidence.summary()
    words = ", ".join(f"{count} `{word}`" for word, count in found["verdicts"].items())
    yield f"Of {found['claims']} claims: {words}.\n"
    if found["one_sided"]:
        yield (
            f"{found['one_sided']} of those that hold are one-sided: they could not have been contradicted, since none "
            "of the entry's planted claims gains.\n"
        )
    if found["reasons"]:
        yield f"Why claims are unclear: {', '.join(f'{reason} {n}' for reason, n in found['reasons'].items())}.\n"
    if found["tested"]:
        yield (
            f"Of {found['tested']} claims of a gain, {found['discovered']} stand when the share of false ones among "
            "them is held to .10 (Benjamini and Hochberg, on the one-sided p of each).\n"
        )
    if found["replications"]:
        came = f"{found['replicated']} came again"
        yield f"Of {found['replications']} verdicts looked for again with fresh seeds, {came}.\n"


def _seen(claim: dict[str, Any] | None, stale: bool) -> str:
    if claim is None:
        return evidence.UNCHECKED
    low, high = claim["interval"]
    why = f", {words}" if (words := evidence.qualified(claim)) else ""
    old = " (stale)" if stale else ""
    again = claim["replication"]
    repeated = "" if again is None else f"; again: {again['verdict']}"
    if claim["kind"] == "exact":
        return f"**{claim['verdict']}**{old}: {claim['difference']:+,.0f} ({claim['measure']})"
    if claim["kind"] == "time":
        return f"{claim['verdict']}{old}: {as_times(claim)}"
    return (
        f"**{claim['verdict']}**{why}{old}: {claim['difference']:+.3f} [{low:+.3f}, {high:+.3f}], seen from "
        f"{claim['resolution']:.3f} ({claim['data']}: {claim['regime']}; {claim['baseline']:.3f} without){repeated}"
    )


def _link(source: str) -> str:
    kind, _, number = source.partition(":")
    return f"[{source}](https://arxiv.org/abs/{number})" if kind == "arXiv" else source


def _flat(text: str) -> str:
    """One line, safe in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE} is not what the entries say. Write it with: python docs/catalogue.py")


if __name__ == "__main__":
    main()

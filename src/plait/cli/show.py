"""Accounts as tables for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

MOST = 20
"""Lines of a list that may be long."""

PATH = 26
"""Letters from which a component's path takes two lines."""

Renderables = list[RenderableType | None]


def inspection(account: Mapping[str, Any], schema_out: Path | None) -> Renderables:
    """Of `plait inspect`."""
    patterns = [(", ".join(p["present"]) or "nothing", p["rows"]) for p in account["patterns"]]
    repeated = [
        (name, found["repeated"], found["across"]) for name, found in account["duplicates"].items() if found["repeated"]
    ]
    splits = ", ".join(f"{part} {rows}" for part, rows in account["splits"].items())
    return [
        *_columns(account),
        _table("What rows have", ("modalities", "rows"), patterns[:MOST]),
        _more(patterns),
        _table("Equal cells", ("modality", "repeated", "across splits"), repeated),
        *_quarantine(account),
        _list("Warnings", [f"{w['place']}: {w['message']}" for w in account["warnings"]]),
        _list("Notes", account["notes"]),
        _line(f"Split as `plait fit` would: {splits}." if splits else ""),
        _line(f"Schema: {schema_out}" if schema_out else ""),
    ]


def filled(account: Mapping[str, Any]) -> Renderables:
    """Of `plait encode`."""
    made = ", ".join(f"{name} {count}" for name, count in account["made"].items() if count)
    return [
        *_columns(account),
        *_quarantine(account),
        _line(f"Distinct cells encoded: {made}." if made else "The cache had every cell already."),
        _line(f"Cache: {account['cache']}"),
        _took(account),
        _line(f"Workers: {account['workers']}, with {account['threads']} threads each." if account["workers"] else ""),
    ]


def fitted(account: Mapping[str, Any]) -> Renderables:
    """Of `plait fit`."""
    validation = ", ".join(f"{name} {_figure(value)}" for name, value in account["metrics"]["validation"].items())
    return [
        *_columns(account),
        *_quarantine(account),
        _list("Notes", account["warnings"]),
        _titled("Recipe", yaml.safe_dump(_brief(account["recipe"]), sort_keys=False, allow_unicode=True).rstrip()),
        _line(f"Validation: {validation}." if validation else ""),
        *(evaluation(account["evaluation"]) if "evaluation" in account else []),
        _took(account),
    ]


def tuned(account: Mapping[str, Any]) -> Renderables:
    """Of `plait tune`, the best trials first."""
    trials = sorted(account["trials"], key=lambda trial: math.inf if trial["score"] is None else -trial["score"])
    lines = [(_figure(trial["score"]), ", ".join(trial["settings"]) or "the recipe as it is") for trial in trials]
    return [
        _table("Trials", (account["measure"], "settings"), lines[:MOST]),
        _more(lines),
        _line(f"Fit with: --recipe {account['out']}"),
    ]


def compared(account: Mapping[str, Any], out: Path | None) -> Renderables:
    """Of `plait compare`: the answer first, then what it rests on."""
    tests = {test["a"]: test for test in account["tests"]}
    lines = []
    for row in account["rows"]:
        test, cost = tests.get(row["recipe"]), row["cost"] or {}
        found = "control" if test is None else f"{_signed(test['difference'], '.3f')} {_range(test['interval'])}"
        p = "" if test is None else _figure(test["p_corrected"])
        paid = [_count(cost.get(key)) for key in ("seconds", "memory", "parameters", "multiply_adds")]
        lines.append((row["recipe"], f"{_figure(row['mean'])} {_range(row['interval'])}", found, p, *paid))
    minus = f"minus {account['control']}"
    head = ("recipe", account["measure"], minus, "p (Holm)", "seconds", "MiB", "parameters", "multiply-adds")
    folds = account["folds"] * account["repeats"]
    return [
        _titled(f"Compared by {account['target']}", account["words"]),
        _table(f"{account['trials']} trials each, judged {folds} times", head, lines),
        _line("seconds: of one training, which depends on what else the machine did; without costs: trains no network"),
        _list("Left out", [f"{name}: {why}" for name, why in account["left_out"].items()]),
        _list("Notes", account["notes"]),
        _line(f"Written: {out / 'compare.json'}, {out / 'forest.svg'}" if out else ""),
    ]


def explained(account: Mapping[str, Any]) -> Renderables:
    """Of `plait explain`: the answers; the report has the figures and methods."""
    found: Renderables = [_list("Notes", account["notes"])]
    for section in account["sections"]:
        found.append(_titled(section["question"], "\n".join(section["words"])))
        found += [_table(grid["title"], grid["head"], grid["lines"][:MOST]) for grid in section["grids"]]
    return found


def where(run: Path) -> Text | None:
    """Where a run is, and its report if there is one."""
    report = run / "report.html"
    return _line(f"Run: {run}" + (f"\nReport: {report}" if report.exists() else ""))


def evaluation(account: Mapping[str, Any]) -> Renderables:
    """Of `plait evaluate`; tables that compare show the main measure, which comes first."""
    main = next(iter(account["test"]), "")
    test = [(name, _figure(value), _range(account["intervals"].get(name))) for name, value in account["test"].items()]
    single = _compared(account["single"], main, "fused", "gain")
    without = _compared(account["without"], main, "with", "loss")
    patterns = [
        (", ".join(found["present"]), found["rows"], _figure(found.get(main)), _range(found["intervals"].get(main)))
        for found in account["patterns"]
    ]
    retrieval = [
        (
            pair,
            _figure(f["recall@1"]),
            _range(f["intervals"].get("recall@1")),
            _figure(f["recall@5"]),
            _figure(f["recall@10"]),
            f["gallery"],
        )
        for pair, f in account["retrieval"].items()
    ]
    calibration = account["calibration"]
    labelled = [
        f"{n} with a label in {name}" for name, n in account.get("labelled", {}).items() if n != account["rows"]
    ]
    return [
        _table(
            ", ".join([f"Test, {account['rows']} {'row' if account['rows'] == 1 else 'rows'}", *labelled]),
            ("measure", "value", "95 % interval"),
            test,
        ),
        _table(
            f"Each modality alone ({main}, on the rows that have it)",
            ("modality", "rows", "alone", "fused", "fused minus alone"),
            single,
        ),
        _table(
            f"Without one modality ({main}, on the rows that have it)",
            ("hidden", "rows", "without it", "with it", "with minus without"),
            without,
        ),
        _table(
            f"From these modalities only ({main}, the others hidden)",
            ("modalities", "rows", "value", "95 % interval"),
            patterns[:MOST],
        ),
        _more(patterns),
        _table("Retrieval", ("pair", "recall@1", "95 % interval", "recall@5", "recall@10", "gallery"), retrieval),
        _line(f"Calibration: ECE {_figure(calibration['ece'])}, Brier {_figure(calibration['brier'])}.")
        if calibration
        else None,
        _list("Notes", account["notes"]),
    ]


def _compared(entries: Mapping[str, Any], main: str, other: str, change: str) -> list[tuple[Any, ...]]:
    """A line for each modality: rows, its own figure, the other one on the same rows, the interval of the change."""
    return [
        (
            name,
            found["rows"],
            f"{_figure(found.get(main))} {_range(found['intervals'].get(main))}",
            f"{_figure(found[other].get(main))} {_range(found[other]['intervals'].get(main))}",
            "no row differs" if found[change].get(main) == [0, 0] else _range(found[change].get(main)),
        )
        for name, found in entries.items()
        if found["rows"]
    ]


def written(account: Mapping[str, Any]) -> Renderables:
    """Of `plait predict` and `plait embed`."""
    columns = ", ".join(account["columns"][:MOST])
    more = f" and {len(account['columns']) - MOST} more" if len(account["columns"]) > MOST else ""
    return [*_quarantine(account), _line(f"{account['out']}: {account['rows']} rows of {columns}{more}.")]


def indexed(account: Mapping[str, Any]) -> Renderables:
    """Of `plait index`."""
    cells = ", ".join(f"{count} of {name}" for name, count in account["cells"].items())
    return [*_quarantine(account), _line(f"{account['to']}: {account['rows']} rows, with cells: {cells}.")]


def hits(found: Sequence[Mapping[str, Any]]) -> Renderables:
    """Of `plait search`."""
    names = list(dict.fromkeys(name for hit in found for name in hit["modalities"]))
    lines = [
        (hit["row"], hit["id"], f"{hit['score']:.2f}", *(_cell(hit["modalities"].get(name)) for name in names))
        for hit in found
    ]
    note = _line("score: standard deviations above what the query's cosine is on average; of modalities, the cosine")
    return [_table("Found", ("row", "id", "score", *names), lines), note if lines else _line("Nothing found.")]


def facts(found: Mapping[str, Any]) -> Renderables:
    """Of `plait fetch`."""
    lines = [(name, _short(value)) for name, value in found.items() if name not in ("notes", "counts")]
    return [_table(found["set"], ("", ""), lines), _list("Notes", found["notes"])]


def slots(found: Mapping[str, Mapping[str, str]]) -> Renderables:
    """Of `plait components`."""
    return [_table(slot, ("component", ""), list(components.items())) for slot, components in found.items()]


def component(account: Mapping[str, Any]) -> Renderables:
    """Of `plait components SLOT NAME`."""
    lines = [
        (name, argument["type"], repr(argument["default"]) if "default" in argument else "needed")
        for name, argument in account["arguments"].items()
    ]
    return [_line(account["doc"]), _table("Arguments", ("name", "type", "default"), lines)]


def entries(found: Sequence[Mapping[str, Any]]) -> Renderables:
    """Of `plait catalogue`."""
    head = ("name", "family", "component", "verdict", "title")
    lines = [
        (
            one["name"],
            one["family"],
            "\n".join(map(_path, one["component"].split(", "))),
            one["verdict"] + (" (stale)" if one["stale"] else ""),
            one["title"],
        )
        for one in found
    ]
    return [_table("Catalogue", head, lines), None if lines else _line("Nothing of that kind.")]


def _path(component: str) -> str:
    """Where it is long, broken before the last name, so that no narrow column breaks it in a word."""
    folder, slash, last = component.rpartition("/")
    return f"{folder}{slash}\n{last}" if len(component) > PATH else component


def entry(account: Mapping[str, Any]) -> Renderables:
    """Of `plait catalogue show`."""
    arms = yaml.safe_dump({arm: account[arm] for arm in ("recipe", "baseline")}, sort_keys=False, allow_unicode=True)
    seen = {claim["says"]: claim for claim in (account["evidence"] or {"claims": []})["claims"]}
    lines = [(claim["kind"], claim["says"], *_seen(seen.get(claim["says"]))) for claim in account["claims"]]
    failed = [
        f"{claim['says']} {name}: {gate['seen']}."
        for claim in seen.values()
        for name, gate in claim["gates"].items()
        if claim["reason"] == f"gate {name}"
    ]
    return [
        _titled(account["title"], f"{account['source']}, {account['family']}, {account['carried_by']}"),
        _line(account["mechanism"]),
        _titled("Published", account["published"]),
        _titled("Reduced", account["scale"].removeprefix("reduced: ") if account["scale"] != "full" else ""),
        _table("Claims, as we check them", ("kind", "says", "data", "verdict", "difference"), lines),
        _titled("Gates that failed", "\n".join(failed)),
        _titled("Recipes, over the default", arms.rstrip()),
        _titled("Notes", account["notes"]),
    ]


def claims(found: Sequence[Mapping[str, Any]]) -> Renderables:
    """Of `plait claim`."""
    lines = [(account["name"], one["says"], *_seen(one)) for account in found for one in account["claims"]]
    return [_table("Claims", ("name", "claim", "data", "verdict", "difference"), lines)]


def rehearsed(found: Sequence[Mapping[str, Any]]) -> Renderables:
    """Of `plait claim --rehearse`."""
    lines = [
        (account["name"], one["says"], *(_apart(one[part]) for part in ("on", "off", "more")))
        for account in found
        for one in account["claims"]
    ]
    return [_table("Rehearsed: method minus baseline", ("name", "claim", "condition on", "off", "more"), lines)]


def _apart(found: Mapping[str, Any]) -> str:
    value, low, high = (_signed(number) for number in (found["difference"], *found["interval"]))
    return f"{value} [{low}, {high}]" + (f", {found['baseline']:.3g} without" if "baseline" in found else "")


def _seen(claim: Mapping[str, Any] | None) -> tuple[str, str, str]:
    """-> data and regime, verdict with its reason, the difference with its interval and what could have been seen."""
    from plait.catalogue.evidence import qualified

    if claim is None:
        return "", "unchecked", ""
    found, low, high = (_signed(value) for value in (claim["difference"], *claim["interval"]))
    if claim["kind"] == "time":
        found = as_times(claim)
    elif claim["kind"] != "exact":
        seen = "-" if claim["resolution"] is None else f"{claim['resolution']:.2g}"
        found += f" [{low}, {high}], seen from {seen}"
    why = f": {words}" if (words := qualified(claim)) else ""
    return f"{claim['data']} ({claim['regime']})", claim["verdict"] + why, found


def as_times(claim: Mapping[str, Any]) -> str:
    """What a claim of kind `time` found, with its interval: their logarithms are what was recorded."""
    times, fewest, most = (math.exp(value) for value in (claim["difference"], *claim["interval"]))
    return f"takes {times:.2f} times as long [{fewest:.2f}, {most:.2f}]"


def confirmed(found: Sequence[Mapping[str, Any]]) -> Renderables:
    """Of `plait claim --confirm`."""
    lines = [
        (account["name"], says, word)
        for account in found
        for word, key in (("confirmed", "confirmed"), ("changed: check it again", "changed"))
        for says in account[key]
    ]
    return [_table("Claims, by today's code", ("name", "claim", ""), lines)]


def _columns(account: Mapping[str, Any]) -> Renderables:
    rows = account["rows"]
    modalities = [
        (
            name,
            found["kind"],
            _of_columns(name, found),
            found["present"],
            f"{found['present'] / rows:.0%}" if rows else "",
        )
        for name, found in account["modalities"].items()
    ]
    targets = [(name, found["kind"], found["labelled"]) for name, found in account["targets"].items()]
    return [
        _line(f"{rows} rows"),
        _table("Modalities", ("name", "kind", "columns", "present", "share"), modalities),
        _table("Targets", ("name", "kind", "labelled"), targets),
    ]


def _of_columns(name: str, found: Mapping[str, Any]) -> str:
    """The columns of a modality, where its name does not say them."""
    columns = found["columns"]
    more = f" and {len(columns) - MOST} more" if len(columns) > MOST else ""
    return "" if columns == [name] else ", ".join(columns[:MOST]) + more


def _quarantine(account: Mapping[str, Any]) -> Renderables:
    cells = [(cell["row"], cell["column"], cell["reason"]) for cell in account["quarantined"]]
    return [_table("Bad cells, set aside", ("row", "column", "reason"), cells[:MOST]), _more(cells)]


def _took(account: Mapping[str, Any]) -> Text | None:
    return _line(f"Took {', '.join(f'{what} {seconds:.1f} s' for what, seconds in account['seconds'].items())}.")


def _brief(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Without the slots that nothing stands in."""
    return {slot: value for slot, value in recipe.items() if value not in ({}, [], None)}


def _table(title: str, head: Sequence[str], lines: Sequence[Sequence[Any]]) -> Group | None:
    """None without lines.  Numbers stand on the right; the first column, which names the line, stays whole."""
    if not lines:
        return None
    table = Table(header_style="dim", box=None, pad_edge=False)
    for at, (name, values) in enumerate(zip(head, zip(*lines, strict=True), strict=True)):
        side: Literal["left", "right"] = "right" if all(isinstance(v, int) for v in values) else "left"
        table.add_column(name, justify=side, overflow="fold", no_wrap=at == 0)
    for line in lines:
        table.add_row(*(Text(str(value)) for value in line))
    # A title of the table itself is broken where the table ends.
    return Group(Text(title, "bold"), table)


def _more(lines: Sequence[Any]) -> Text | None:
    return _line(f"and {len(lines) - MOST} more; see --json" if len(lines) > MOST else "")


def _list(title: str, lines: Iterable[str]) -> Text | None:
    return _titled(title, "\n".join(f"- {line}" for line in lines))


def _titled(title: str, text: str) -> Text | None:
    return Text.assemble((title, "bold"), "\n", text) if text else None


def _line(text: str) -> Text | None:
    return Text(text) if text else None


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _signed(value: float | None, form: str = ".3g") -> str:
    return "-" if value is None else f"{value:+{form}}"


def _range(interval: Sequence[float | None] | None) -> str:
    if interval is None or interval[0] is None or interval[1] is None:
        return ""
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _cell(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else _short(found["value"])


def _short(value: Any, most: int = 60) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= most else f"{text[:most]}..."

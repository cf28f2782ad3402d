"""Reports to test with: made up, but of the shape that a run gives."""

import numpy as np
import pytest

from plait.measures import calibration, presence, retrieval, scores
from plait.report.report import Cell, Column, Found, Report, Search

NAMES = ("caption", "image", "sound")
ROWS = 80


def predictions(kind, strength, seed):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(ROWS, 4))
    truth = np.random.default_rng(0)
    if kind == "class":
        code = truth.integers(0, 4, ROWS)
        p = np.exp(noise + strength * np.eye(4)[code])
        return p / p.sum(1, keepdims=True), code
    if kind == "multi_label":
        has = (truth.random((ROWS, 4)) < 0.4).astype(float)
        return 1 / (1 + np.exp(-noise - strength * (has - 0.5))), has
    number = truth.normal(size=ROWS)
    if kind == "number":
        return number + noise[:, 0] / strength, number
    return -number + noise[:, 0] / strength, np.stack([np.exp(number), truth.random(ROWS) < 0.7], 1)


def evaluation(kind, have):
    fused, truth = predictions(kind, 4, 1)

    def entry(predicted, rows):
        found = scores.intervals(kind, predicted[rows], truth[rows], draws=40)
        return {**scores.score(kind, predicted[rows], truth[rows]), "intervals": found}

    out = {
        "test": scores.score(kind, fused, truth),
        "intervals": scores.intervals(kind, fused, truth, draws=40),
        "rows": ROWS,
        "single": {},
        "without": {},
        "patterns": [],
    }
    for i, name in enumerate(NAMES):
        rows = np.flatnonzero(have[:ROWS, i])
        alone = entry(predictions(kind, 2.5 - 0.5 * i, 2 + i)[0], rows)
        out["single"][name] = {**alone, "rows": len(rows), "fused": entry(fused, rows)}
        out["without"][name] = {**alone, "rows": len(rows), "with": entry(fused, rows), "loss": {}}
        if kind == "class":
            out["without"][name]["loss"] = {"accuracy": [0.052, 0.249]}
    for seen in presence.subsets(NAMES):
        rows = np.flatnonzero(have[:ROWS, [NAMES.index(m) for m in seen]].all(1))
        out["patterns"].append({"present": list(seen), "rows": len(rows), **entry(fused, rows)})
    if kind == "class":
        out["calibration"] = calibration.calibration(fused, truth)
    return out


def pairs():
    rng = np.random.default_rng(0)
    space = rng.normal(size=(ROWS, 8))
    found = retrieval.rank(space, space + rng.normal(size=space.shape), np.arange(ROWS), np.arange(ROWS))
    return {"caption->image": retrieval.retrieval(found), "image->caption": retrieval.retrieval(found)}


def made(kind="class", **changes):
    have = np.random.default_rng(0).random((200, 3)) < (0.95, 0.8, 0.4)
    measure = None if kind is None else scores.of(kind).main
    history = [
        {"epoch": e, "train/loss": 2 / (e + 1), "validation/loss": 2.2 / (e + 1), f"validation/{measure}": 0.1 * e}
        for e in range(6)
    ]
    picture = np.random.default_rng(0).integers(0, 255, (32, 48, 3)).astype(np.uint8)
    wave = b"RIFF\x24\x00\x00\x00WAVEfmt "
    hits = [Found("row-1", 2.5, [Cell("image", picture), Cell("sound", wave), Cell("size", 3.5)], True)]
    parts = {
        "title": "stamps",
        "rows": 200,
        "modalities": {
            n: Column(k, int(have[:, i].sum()), i)
            for i, (n, k) in enumerate(zip(NAMES, ("text", "image", "audio"), strict=True))
        },
        "presence": have,
        "targets": {} if kind is None else {"label": Column(kind, 190)},
        "target": None if kind is None else "label",
        "history": history,
        "evaluation": {**({} if kind is None else evaluation(kind, have)), "retrieval": pairs()},
        "searches": [Search([Cell("caption", "a red bird")], hits)],
        "warnings": ["a class has 3 rows"],
        "quarantine": [(4, "image", "truncated")],
        "recipe": "width: 128\n",
        "command": "plait fit items.csv --target label",
        "seconds": {"encode": 3.2, "total": 150.0},
        "versions": {"plait": "0.1.0"},
    }
    return Report(**{**parts, **changes})


@pytest.fixture(scope="session")
def report():
    """Makes a report; any field can be given."""
    return made

"""A small table on disk: image, text, vector, tabular and a class; and a recipe without pretrained parts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
COLUMNS = ("name", "photo", "caption", "shape", "size", "colour")

RECIPE = {
    "width": 16,
    "embedding": 8,
    "encoders": {
        "image": {"conv_image": {"size": 16, "patch": 8, "channels": 4, "depth": 0}},
        "text": {"hashed_text": {"buckets": 64, "depth": 0}},
        "vector": {"vector": {}},
        "tabular": {"tabular": {"depth": 0}},
    },
    "fusion": {"mean": {}},
    "training": {"epochs": 3, "batch": 16, "early_stopping": None, "ema": None},
}


def rows(n: int = 48, seed: int = 0) -> list[dict[str, object]]:
    """Rows of the table, a third of each colour; every modality tells the colour, and some cells are missing."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        colour = list(COLOURS)[i % 3]
        found.append(
            {
                "name": f"item-{i}",
                "photo": f"{i}.png" if i % 5 else "",
                "caption": f"a {colour} thing, number {i}" if i % 7 else "",
                "shape": json.dumps((rng.normal(size=4) + 3 * np.eye(4)[i % 3]).round(3).tolist()) if i % 6 else "",
                "size": round(i % 3 + rng.normal(scale=0.1), 3),
                "colour": colour,
            }
        )
    return found


def write(folder: Path, n: int = 48, seed: int = 0) -> Path:
    """The table, its images and `recipe.yaml` in a folder; -> the CSV file."""
    folder.mkdir(parents=True, exist_ok=True)
    table = rows(n, seed)
    for row in table:
        if row["photo"]:
            Image.new("RGB", (12, 12), COLOURS[str(row["colour"])]).save(folder / str(row["photo"]))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return write_csv(folder / "items.csv", table)


def write_csv(path: Path, table: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]) if table else COLUMNS)
        writer.writeheader()
        writer.writerows(table)
    return path

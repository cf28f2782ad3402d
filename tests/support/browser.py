"""What a headless Chromium makes of a page, at the width of a desk or of a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DESK, PHONE = 1280, 390
"""Widths in CSS pixels."""

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

# A window cannot be as narrow as a phone, a frame can.  The page itself allows no script; the one around it looks in.
_AROUND = """<!DOCTYPE html><style>body{margin:0}iframe{border:0;display:block;width:%dpx;height:400px}</style>
<iframe srcdoc="%s"></iframe><script>
const frame = document.querySelector("iframe")
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow, width = page.documentElement.clientWidth
  for (const details of page.querySelectorAll("details")) details.open = true
  frame.style.height = page.documentElement.scrollHeight + "px"
  const scrolls = e => e && (view.getComputedStyle(e).overflowX == "auto" || scrolls(e.parentElement))
  const all = [...page.body.querySelectorAll("*")].filter(e => !e.closest("svg") || e.tagName == "svg")
  const told = {
    width, scrolled: page.documentElement.scrollWidth, height: page.documentElement.scrollHeight,
    outside: all.filter(e => !scrolls(e)).filter(e => {
      const box = e.getBoundingClientRect()
      return box.width && (box.left < -1 || box.right > width + 1)
    }).map(e => e.tagName + ": " + e.textContent.trim().slice(0, 60)),
    letters: Math.min(...all.filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()))
      .map(e => parseFloat(view.getComputedStyle(e).fontSize))),
    broken: [...page.images].filter(i => !i.naturalWidth).length,
    figures: [...page.querySelectorAll("svg")].map(e => e.getBoundingClientRect())
      .map(b => [b.x, b.y, b.width, b.height]),
  }
  document.body.append(Object.assign(document.createElement("pre"), {id: "told", textContent: JSON.stringify(told)}))
}
</script>"""


@dataclass(frozen=True)
class Look:
    """width, height, scrolled: of the page, and how far it goes to the right.  outside: elements that leave it and no
    box around them scrolls.  letters: size of the smallest.  broken: pictures that do not load.  figures: boxes of
    drawings (x, y, width, height).  All in CSS pixels, with everything unfolded.  pixels: [height, width, 3]."""

    width: int
    height: int
    scrolled: int
    outside: list[str]
    letters: float
    broken: int
    figures: list[tuple[float, float, float, float]]
    pixels: np.ndarray[Any, np.dtype[np.uint8]]


def look(page: str, width: int, folder: Path) -> Look:
    """Open a page as it stands, without a network; what it says and how it looks."""
    around, shot = folder / f"{width}.html", folder / f"{width}.png"
    around.write_text(_AROUND % (width, html.escape(page)))
    text = _run(around, folder, "--dump-dom")
    found = re.search(r'<pre id="told">(.*?)</pre>', text, re.DOTALL)
    assert found is not None, "the page was not loaded"
    told = json.loads(html.unescape(found[1]))
    _run(around, folder, f"--screenshot={shot}", f"--window-size={max(width, 600)},{told['height']}")
    pixels = np.asarray(Image.open(shot).convert("RGB"))[: told["height"], :width]
    return Look(**{**told, "figures": [tuple(box) for box in told["figures"]]}, pixels=pixels)


def available() -> bool:
    return _CHROMIUM is not None


def _run(page: Path, folder: Path, *options: str) -> str:
    assert _CHROMIUM is not None
    quiet = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage")
    settled = ("--virtual-time-budget=5000", "--disable-background-networking", f"--user-data-dir={folder / 'profile'}")
    asked = [_CHROMIUM, *quiet, *settled, *options, page.as_uri()]
    return subprocess.run(asked, check=True, capture_output=True, text=True, timeout=120).stdout

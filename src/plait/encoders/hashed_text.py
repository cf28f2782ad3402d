"""Text of any language without a vocabulary: a token per word, the mean over its hashed parts.

    word = 1/|G| sum_{g in G} E[hash(g)],   G = {the word} and its runs of 3 to 5 characters

Words that share a stem share parts, so an unseen word is not unknown.  In scripts written without spaces every
character is a word, and its parts are the runs of 1 to 3 characters that begin there.
Source: Bojanowski et al., "Enriching Word Vectors with Subword Information", arXiv:1607.04606.   Relatives: frozen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np
import torch
from torch import nn

from plait.core.component import Count, Rate
from plait.core.packed import Packed, Tokens
from plait.core.part import Encoder, Modality, Place, Spec

from ._trunk import Depth, Positions, Trunk, lengths, within

PARTS = 32
"""Hashed parts of a word at most; of a longer word those that come first, short ones before long ones."""
_UNSPACED = {"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"}


@lru_cache(maxsize=1 << 14)
def _sort_of(character: str) -> str:
    """letter, alone (of a script without spaces), sign, or gap."""
    category = unicodedata.category(character)
    if category[0] in "LMN":
        script = unicodedata.name(character, "").partition(" ")[0]
        return "alone" if script in _UNSPACED else "letter"
    return "sign" if category[0] == "S" else "gap"


def words(text: str) -> Iterator[list[str]]:
    """The parts of each word of a text, the whole word first.  Text of punctuation alone is one word."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    found = list(_words(text))
    yield from found or [_parts(text.strip())]


def _words(text: str) -> Iterator[list[str]]:
    begin = 0
    while begin < len(text):
        sort, end = _sort_of(text[begin]), begin + 1
        while sort in ("letter", "alone") and end < len(text) and _sort_of(text[end]) == sort:
            end += 1
        if sort == "alone":
            for i in range(begin, end):
                yield [text[i : j + 1] for j in range(i, min(i + 3, end))]
        elif sort != "gap":
            yield _parts(text[begin:end])
        begin = end


def _parts(word: str) -> list[str]:
    marked = f"<{word}>"
    runs = [marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1)]
    return [f"={word}", *runs]


class HashedText(Encoder):
    """buckets: rows of the table that parts are hashed into.  longest: words of a text that are read.

    depth: transformer blocks within the modality.
    """

    kinds = ("text",)

    def __init__(
        self, buckets: Count = 16_384, longest: Count = 128, depth: Depth = 1, heads: Count = 4, dropout: Rate = 0.1
    ) -> None:
        super().__init__()
        self.buckets, self.longest = buckets, longest
        self.depth, self.heads, self.dropout = depth, heads, dropout

    def precompute(self, cells: Sequence[np.ndarray]) -> list[np.ndarray]:
        """UTF-8 uint8 [n] -> int32 [T, 32]: 1 + bucket of each part of each word, 0 where there is none."""
        out = []
        for cell in cells:
            parts = list(words(cell.tobytes().decode("utf-8")))[: self.longest]
            hashed = np.zeros((len(parts), PARTS), np.int32)
            for row, word in zip(hashed, parts, strict=True):
                row[: len(word)] = [1 + crc32(part.encode()) % self.buckets for part in word[:PARTS]]
            out.append(hashed)
        return out

    def fingerprint(self) -> str:
        return f"hashed_text 1, {self.buckets} buckets, {self.longest} words, Unicode {unicodedata.unidata_version}"

    def describe(self, modality: Modality) -> tuple[int, int]:
        return 0, PARTS

    def build(self, spec: Spec, place: Place) -> None:
        if hasattr(self, "table"):
            return
        self.table = nn.EmbeddingBag(1 + self.buckets, spec.width, mode="mean", padding_idx=0)
        self.norm = nn.LayerNorm(spec.width)
        self.positions = Positions(spec.width)
        self.trunk = Trunk(spec.width, self.depth, self.heads, self.dropout, place)

    def cut(self, cells: Packed) -> Tokens:
        """[P, T, 32] -> [P, T, 32] int64: a word is a piece."""
        mask = within(lengths(cells), cells.values.shape[1])
        return Tokens(cells.values.long(), cells.rows, mask, notes=cells.notes, blend=cells.blend)

    def paste(self, pieces: Tokens) -> Packed:
        return Packed(pieces.values.int(), pieces.rows, notes=pieces.notes, blend=pieces.blend)

    def forward(self, pieces: Tokens, layers: int = 0) -> Tokens:
        embedded = self.norm(self.table(pieces.values[pieces.visible]))
        places = self.positions(torch.arange(pieces.values.shape[1], device=pieces.values.device))
        return self.trunk(embedded, places, pieces, layers)

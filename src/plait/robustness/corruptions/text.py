"""Damage to texts in any script: letters and words are changed by the text's own."""

from __future__ import annotations

import re

from ._graded import amount, drawn, some

_TYPOS = (0.02, 0.05, 0.1, 0.2, 0.35)
_DROPPED = (0.1, 0.2, 0.3, 0.4, 0.5)


def typos(cell: str, strength: int, seed: int = 0) -> str:
    """A share of the letters, at least one, each left out, doubled, or replaced by another letter of the text.

    White space, digits and punctuation stay.  Stronger: the same typos and more.  A text without letters stays.
    """
    if strength == 0:
        return cell
    share = amount(strength, _TYPOS)
    rng = drawn("text typos", seed, cell)
    letters = [i for i, character in enumerate(cell) if character.isalpha()]
    alphabet = {letter: i for i, letter in enumerate(sorted({cell[i] for i in letters}))}
    names = list(alphabet)
    order, kinds, draws = rng.permutation(len(letters)), rng.integers(3, size=len(letters)), rng.random(len(letters))
    out = list(cell)
    for i in order[: some(share, len(letters), len(letters))]:
        own = cell[letters[i]]
        if kinds[i] == 0 and len(letters) > 1:
            out[letters[i]] = ""
        elif kinds[i] == 1 and len(names) > 1:
            out[letters[i]] = names[(alphabet[own] + 1 + int(draws[i] * (len(names) - 1))) % len(names)]
        else:
            out[letters[i]] = own * 2
    return "".join(out)


def word_drop(cell: str, strength: int, seed: int = 0) -> str:
    """A share of the words left out, at least one and never all.  Stronger: the same words and more.

    Words are what white space separates: a text without any, as in Chinese or Thai, is one word and stays.
    """
    if strength == 0:
        return cell
    share = amount(strength, _DROPPED)
    # Each with the white space behind it; what stands before the first is kept.
    words = re.findall(r"\S+\s*", cell)
    order = drawn("text word_drop", seed, cell).permutation(len(words))
    gone = set(order[: some(share, len(words), len(words) - 1)].tolist())
    before = cell[: len(cell) - len(cell.lstrip())]
    return before + "".join(word for i, word in enumerate(words) if i not in gone)

import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import torch

from plait.encoders.hashed_text import HashedText, words

TEXTS = ["A red bird sings.", "Ein roter Vogel", "赤い鳥が歌う", "लाल पक्षी", "!!!", "bird ☂ B52 café"]


def cells(*texts):
    return [np.frombuffer(text.encode(), np.uint8) for text in texts]


def ids(*texts, **options):
    return HashedText(**options).precompute(cells(*texts))


@pytest.mark.parametrize("depth", [0, 1])
def test_contract(lab, depth):
    lab.contract(HashedText(buckets=500, depth=depth), "text", cells(*TEXTS))


def first(text):
    return [parts[0] for parts in words(text)]


def test_words_of_many_scripts():
    assert first("A red-hot, BIRD's nest (1984)") == ["=a", "=red", "=hot", "=bird", "=s", "=nest", "=1984"]
    assert first("लाल पक्षी गाता है") == ["=लाल", "=पक्षी", "=गाता", "=है"]
    assert first("عَصْفُورٌ أحمر") == ["=عَصْفُورٌ", "=أحمر"]
    assert first("赤い鳥 C64") == ["赤", "い", "鳥", "=c64"]
    assert first("นกแดง") == list("นกแดง")
    assert first("I ❤ 🐦") == ["=i", "=❤", "=🐦"]
    assert first("?!") == ["=?!"]
    assert first("...") == ["=..."]


def test_parts_of_a_word_are_itself_and_its_runs_of_3_to_5():
    (parts,) = words("bird")
    assert parts == ["=bird", "<bi", "bir", "ird", "rd>", "<bir", "bird", "ird>", "<bird", "bird>"]
    assert list(words("赤い鳥が")) == [["赤", "赤い", "赤い鳥"], ["い", "い鳥", "い鳥が"], ["鳥", "鳥が"], ["が"]]


def test_case_and_unicode_form_do_not_matter():
    plain = ids("café STRASSE")
    for text in ("CAFÉ strasse", unicodedata.normalize("NFD", "Café Straße")):
        np.testing.assert_array_equal(ids(text), plain)


def test_related_words_share_buckets_and_unrelated_ones_hardly_any():
    (row,) = ids("singing singer mountain", buckets=100_000)
    singing, singer, mountain = ({int(i) for i in word if i} for word in row)
    assert len(singing & singer) >= 6
    assert len(singing & mountain) <= 1


def test_an_unseen_word_is_near_words_that_it_shares_parts_with(lab):
    encoder = lab.build(HashedText(depth=0), "text", cells(*TEXTS))
    with torch.no_grad():
        bags = encoder.table(torch.from_numpy(ids("photographers photographic squirrel")[0]).long())
    near, far = (torch.cosine_similarity(bags[0], bags[i], dim=0) for i in (1, 2))
    assert near > far + 0.2


def test_a_long_word_and_a_long_text_are_cut():
    (row,) = ids("donaudampfschifffahrtsgesellschaft " * 5, longest=3)
    assert row.shape == (3, 32)
    assert (row > 0).all()
    assert row.max() <= 16_384


def test_hashing_is_the_same_in_every_process():
    code = (
        "import numpy as np; from plait.encoders.hashed_text import HashedText; e = HashedText();"
        "print(e.fingerprint(), e.precompute([np.frombuffer('A red 鳥'.encode(), np.uint8)])[0].tolist())"
    )
    env = {"PYTHONHASHSEED": "1"}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == f"{HashedText().fingerprint()} {ids('A red 鳥')[0].tolist()}"


def test_fingerprint_follows_what_is_stored():
    assert HashedText(depth=0).fingerprint() == HashedText().fingerprint()
    assert len({HashedText(**o).fingerprint() for o in ({}, {"buckets": 99}, {"longest": 9})}) == 3

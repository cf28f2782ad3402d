"""What all corruptions have in common."""

import functools
import itertools

import numpy as np
import pytest

from plait.robustness.corruptions import audio, image, series, text, vector
from plait.robustness.corruptions._graded import some


def levenshtein(one, two):
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(two, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def pixels(rng, kind):
    ramp = np.add.outer(np.arange(12), np.arange(9)) / 20
    values = np.clip(ramp[..., None] + 0.2 * rng.normal(size=(12, 9, 3)), 0, 1)
    return (255 * values).astype(np.uint8) if kind == "uint8" else values.astype(kind)


def steps(rng):
    values = rng.normal(size=(20, 4)).astype(np.float32)
    values[:, 0] = np.arange(20)
    values[rng.random((20, 4)) < 0.2] = np.nan
    values[:, 0] = np.arange(20)
    return values


def row(rng):
    values = rng.normal(size=15)
    values[:3] = np.nan
    return values


WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "while", "seven", "wizards", "watch"]


def sentence(rng):
    return " ".join(rng.permutation(WORDS))


def apart(one, two):
    """Euclidean distance; an observation that is gone is as far as it was large, plus one, so that it counts."""
    one, two = np.asarray(one, float), np.asarray(two, float)
    gone = np.isnan(two) & ~np.isnan(one)
    return np.sqrt(np.nansum((one - two) ** 2) + ((np.abs(np.nan_to_num(one)) + 1)[gone] ** 2).sum())


def same(one, two):
    return one == two if isinstance(one, str) else np.array_equal(one, two, equal_nan=one.dtype.kind == "f")


CASES = {
    "image noise": (image.noise, lambda rng: pixels(rng, "float32"), apart),
    "image noise, bytes": (image.noise, lambda rng: pixels(rng, "uint8"), apart),
    "image blur": (image.blur, lambda rng: pixels(rng, "float64"), apart),
    "image occlusion": (image.occlusion, lambda rng: pixels(rng, "uint8"), apart),
    "image occlusion, one channel": (image.occlusion, lambda rng: pixels(rng, "float32")[..., 0], apart),
    "audio noise": (audio.noise, lambda rng: rng.normal(size=200).astype(np.float32) / 3, apart),
    "audio noise, whole numbers": (audio.noise, lambda rng: (9000 * rng.normal(size=200)).astype(np.int16), apart),
    "audio clipping": (audio.clipping, lambda rng: rng.normal(size=200).astype(np.float32), apart),
    "text typos": (text.typos, sentence, levenshtein),
    "text word_drop": (text.word_drop, sentence, levenshtein),
    "series jitter": (series.jitter, steps, apart),
    "series dropout": (series.dropout, steps, apart),
    "vector noise": (functools.partial(vector.noise, scale=np.ones(15)), row, apart),
    "vector column_drop": (vector.column_drop, row, apart),
    "vector column_drop, filled": (functools.partial(vector.column_drop, fill=0.0), row, apart),
}
each = pytest.mark.parametrize("case", CASES)


@each
def test_strength_0_is_the_identity_and_a_copy(case):
    corrupt, cell, _ = CASES[case]
    before = cell(np.random.default_rng(0))
    after = corrupt(before, 0)
    assert same(after, before)
    assert isinstance(before, str) or not np.shares_memory(before, after)


@each
def test_damage_grows_with_strength_for_every_cell(case):
    corrupt, cell, distance = CASES[case]
    for seed in range(5):
        before = cell(np.random.default_rng(seed))
        found = [distance(before, corrupt(before, strength)) for strength in range(6)]
        if corrupt is text.typos:
            # Two typos side by side may be one edit: in the mean, below.
            continue
        assert all(a <= b + 1e-9 for a, b in itertools.pairwise(found)), found
    mean = np.zeros(6)
    for seed in range(10):
        before = cell(np.random.default_rng(seed))
        mean += [distance(before, corrupt(before, strength)) for strength in range(6)]
    assert (np.diff(mean) > 0).all()


@each
def test_type_shape_and_range_are_kept_and_the_cell_is_not_touched(case):
    corrupt, cell, _ = CASES[case]
    before = cell(np.random.default_rng(1))
    kept = before if isinstance(before, str) else before.copy()
    for strength in range(6):
        after = corrupt(before, strength)
        assert type(after) is type(before)
        if not isinstance(before, str):
            assert (after.dtype, after.shape) == (before.dtype, before.shape)
            if case.startswith("image"):
                assert after.min() >= 0
                assert after.max() <= (255 if after.dtype == np.uint8 else 1)
    assert same(before, kept)


@each
def test_a_draw_belongs_to_the_cell_and_the_seed(case):
    corrupt, cell, _ = CASES[case]
    before, other = cell(np.random.default_rng(0)), cell(np.random.default_rng(1))
    one = corrupt(before, 3, 0)
    corrupt(other, 3, 0)
    assert same(one, corrupt(before if isinstance(before, str) else before.copy(), 3, 0))
    if corrupt not in (image.blur, audio.clipping):
        assert not all(same(one, corrupt(before, 3, seed)) for seed in (1, 2, 3))


@each
@pytest.mark.parametrize("strength", [-1, 6, 2.5, True, "3"])
def test_another_strength_is_refused(case, strength):
    corrupt, cell, _ = CASES[case]
    with pytest.raises(ValueError, match="0 to 5"):
        corrupt(cell(np.random.default_rng(0)), strength)


TINY = {
    image: [
        np.zeros((1, 1, 3), np.uint8),
        np.full((1, 7), 0.5),
        np.ones((2, 3, 1), np.float32),
        np.zeros((0, 4), np.uint8),
    ],
    audio: [np.zeros(0, np.float32), np.zeros(5, np.float32), np.ones(1), np.full(9, 7, np.int16)],
    text: ["", " ", "a", "aa", "7 + 7", "日本語", "\n", "é́", "🙂 ok"],
    series: [np.zeros((0, 3), np.float32), np.array([[0, np.nan]]), np.array([[0, 1.0]]), np.full((6, 3), 0.1)],
    vector: [np.zeros(0), np.ones(1), np.full(3, np.nan), np.full(4, 0.1, np.float32)],
}


@each
@pytest.mark.filterwarnings("error")
def test_tiny_and_constant_cells_pass(case):
    corrupt = CASES[case][0]
    plain = getattr(corrupt, "func", corrupt)
    room = next(module for module in TINY if plain.__module__ == module.__name__)
    for cell in TINY[room]:
        for strength in range(6):
            more = {"scale": np.ones(len(cell))} if plain is vector.noise else {}
            after = plain(cell, strength, **more)
            if isinstance(cell, str):
                # What was there does not become absent.
                assert bool(after.strip()) == bool(cell.strip())
            else:
                assert (after.dtype, after.shape) == (cell.dtype, cell.shape)
                # The times of a series are no observations.
                said = slice(None) if room is not series else (slice(None), slice(1, None))
                assert np.isnan(after[said]).all() == np.isnan(cell[said]).all()


def test_counts_are_not_lifted_by_rounding():
    assert [some(0.3, 10, 9), some(0.1, 30, 29), some(0.1, 1, 0), some(0.1, 0, -1), some(0.5, 3, 2)] == [3, 3, 0, 0, 2]


def test_noise_of_an_image_has_the_published_spread():
    found = image.noise(np.full((200, 200), 0.5), 1) - 0.5
    assert found.std() == pytest.approx(0.08, rel=0.02)
    assert found.mean() == pytest.approx(0, abs=0.002)


def test_blur_is_scipys_away_from_the_border_and_keeps_the_mean():
    from scipy.ndimage import gaussian_filter

    picture = np.random.default_rng(0).random((64, 64))
    found = image.blur(picture, 5)
    assert found == pytest.approx(gaussian_filter(picture, 6 / 224 * 64, mode="reflect", truncate=8), abs=1e-3)
    assert found.mean() == pytest.approx(picture.mean())
    assert np.array_equal(image.blur(np.full((5, 6, 3), 77, np.uint8), 5), np.full((5, 6, 3), 77))


def test_an_occlusion_hides_its_share_and_stronger_ones_contain_weaker_ones():
    picture = np.full((100, 100, 3), 255, np.uint8)
    hidden = [(image.occlusion(picture, strength) != picture).any(2) for strength in range(6)]
    assert [h.mean() for h in hidden] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=0.02)
    for weaker, stronger in itertools.pairwise(hidden):
        assert (stronger | ~weaker).all()


@pytest.mark.parametrize(("strength", "decibels"), [(1, 30), (2, 20), (3, 15), (4, 10), (5, 5)])
def test_noise_of_a_sound_has_its_ratio(strength, decibels):
    sound = 0.1 * np.sin(np.arange(500) / 7)
    wave = audio.noise(sound, strength) - sound
    assert 10 * np.log10(np.mean(sound**2) / np.mean(wave**2)) == pytest.approx(decibels, abs=1e-6)
    assert np.abs(audio.noise(np.ones(100), strength)).max() <= 1
    assert np.abs(audio.noise(np.full(100, 0.495), strength)).max() > 0.505
    loud = audio.noise(np.full(100, 30_000, np.int16), strength)
    # Whole numbers are held at the end of their range; if they went round it, loud samples would come out far below.
    assert loud.max() == 32767
    assert loud.min() > 30_000 * (1 - 4 * 10 ** (-decibels / 20))


def test_clipping_holds_a_sound_at_its_level():
    sound = np.sin(np.arange(500) / 7)
    assert np.abs(audio.clipping(sound, 3)).max() == pytest.approx(0.35 * np.abs(sound).max())
    soft = np.abs(sound) < 0.3
    assert np.array_equal(audio.clipping(sound, 3)[soft], sound[soft])


def test_typos_touch_only_letters_and_dropped_words_leave_the_rest_in_order():
    said = "Call 555-0199, now!  Ünder the  bridge."
    for strength in range(1, 6):
        found = text.typos(said, strength)
        assert found != said
        assert [c for c in found if not c.isalpha()] == [c for c in said if not c.isalpha()]
        assert set(found) <= set(said)
        words = text.word_drop(said, strength).split()
        rest = iter(said.split())
        assert all(word in rest for word in words)
        assert len(words) == 6 - int(np.ceil(np.round(6 * strength / 10, 6)))


def test_one_typo_always_changes_a_text_by_one_edit():
    seen = {text.typos("aab", 3, seed) for seed in range(60)}
    assert "aab" not in seen
    # Left out: ab, aa; doubled: aaab, aabb; replaced: bab, abb, aaa.
    assert seen == {"ab", "aa", "aaab", "aabb", "bab", "abb", "aaa"}


@pytest.mark.parametrize(("strength", "letters"), [(1, 2), (2, 5), (3, 10), (4, 20), (5, 35)])
def test_typos_are_the_share_of_the_letters_and_any_letter_of_the_text_may_come_in(strength, letters):
    said = "".join(f"{letter}1" for letter in 25 * "abcd")
    found = set()
    for seed in range(20):
        pieces = text.typos(said, strength, seed).split("1")[:-1]
        changed = [(new, old) for new, old in zip(pieces, 25 * "abcd", strict=True) if new != old]
        assert len(changed) == letters
        found |= set(changed)
    if strength == 5:
        # Left out, doubled, or one of the three others.
        assert found == {(new, old) for old in "abcd" for new in {"", 2 * old, *"abcd"} - {old}}


def test_jitter_is_relative_to_a_channel_and_leaves_times_and_gaps():
    rng = np.random.default_rng(0)
    cell = np.stack([np.arange(4000), rng.normal(size=4000), 50 * rng.normal(size=4000), np.full(4000, 0.1)], 1)
    cell[::7, 1] = np.nan
    for strength, share in enumerate([0.05, 0.1, 0.2, 0.4, 0.8], 1):
        found = series.jitter(cell, strength)
        assert np.array_equal(found[:, [0, 3]], cell[:, [0, 3]])
        assert np.array_equal(np.isnan(found), np.isnan(cell))
        assert np.nanstd((found - cell)[:, 1:3], axis=0) == pytest.approx([share, 50 * share], rel=0.06)


def test_dropped_observations_are_the_share_of_those_that_were_there():
    cell = steps(np.random.default_rng(0))
    seen = (~np.isnan(cell[:, 1:])).sum()
    for strength, share in enumerate([0.1, 0.2, 0.3, 0.5, 0.7], 1):
        left = (~np.isnan(series.dropout(cell, strength)[:, 1:])).sum()
        assert seen - left == np.ceil(np.round(share * seen, 6))


def test_noise_of_a_row_is_in_units_of_its_columns_and_spares_categories():
    scale = np.repeat([0.0, 1.0, 100.0], 3000)
    for strength, share in enumerate([0.1, 0.2, 0.4, 0.8, 1.6], 1):
        wave = vector.noise(np.ones(9000), strength, scale=scale) - 1
        assert (wave[:3000] == 0).all()
        assert wave[3000:].reshape(2, -1).std(1) == pytest.approx([share, 100 * share], rel=0.05)


def test_dropped_columns_are_the_share_of_those_that_were_there_and_filled():
    cell = row(np.random.default_rng(0))
    for strength, columns in enumerate([2, 3, 4, 5, 6], 1):
        gone = vector.column_drop(cell, strength, fill=np.arange(15.0)) != cell
        assert (gone & ~np.isnan(cell)).sum() == columns
        assert np.array_equal(
            vector.column_drop(cell, strength, fill=np.arange(15.0))[gone & ~np.isnan(cell)],
            np.flatnonzero(gone & ~np.isnan(cell)),
        )
        assert np.isnan(vector.column_drop(cell, strength)).sum() == 3 + columns


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: image.noise(np.zeros((2, 2, 3, 1)), 1), "image"),
        (lambda: image.noise(np.full((2, 2), 7.0), 1), "0 .. 1"),
        (lambda: image.blur(np.full((2, 2), np.nan), 1), "0 .. 1"),
        (lambda: image.noise(np.zeros((2, 2), np.int32), 1), "int32"),
        (lambda: audio.noise(np.zeros((2, 2)), 1), "sound"),
        (lambda: audio.noise(np.array([np.nan]), 1), "finite"),
        (lambda: audio.clipping(np.zeros(2, np.uint8), 1), "uint8"),
        (lambda: series.jitter(np.zeros((4, 1)), 1), "series"),
        (lambda: vector.noise(np.zeros(3), 1, scale=np.ones(2)), "scale"),
        (lambda: vector.noise(np.zeros(3), 1, scale=-np.ones(3)), "scale"),
        (lambda: vector.column_drop(np.zeros(3, int), 1), "floats"),
    ],
)
def test_bad_cells_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()

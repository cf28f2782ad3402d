import numpy as np
import pytest

from plait.core.cost import multiply_adds
from plait.encoders.conv_image import ConvImage


def images(count, size=32, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def small(**options):
    return ConvImage(**{"size": 32, "patch": 8, "channels": 8, **options})


@pytest.mark.parametrize("options", [{}, {"depth": 0}, {"patch": 16, "depth": 2}, {"patch": 32}])
def test_contract(lab, options):
    lab.contract(small(**options), "image", images(4))


def test_a_piece_is_a_patch_by_row_and_column(lab):
    encoder = lab.build(small(), "image", images(2))
    (image,) = images(1, seed=3)
    pieces = encoder.cut(lab.packed(encoder, [image]))
    assert pieces.values.shape == (1, 16, 192)
    for row in range(4):
        for column in range(4):
            patch = image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            np.testing.assert_allclose(pieces.values[0, 4 * row + column], patch.ravel() / 255, rtol=1e-6)


def test_a_token_sees_its_patch_and_not_the_far_side(lab):
    encoder = lab.build(small(depth=0), "image", images(2))
    (image,) = images(1)
    changed = image.copy()
    changed[24:, 24:] = 255 - changed[24:, 24:]
    moved = (lab.encode(encoder, [image]).values - lab.encode(encoder, [changed]).values)[0].norm(dim=1)
    assert moved[15] > 0.1
    assert moved[[0, 1, 2, 3, 4, 8, 12]].max() == 0


def test_statistics_are_those_of_the_training_pixels(lab):
    train = images(6)
    encoder = lab.build(small(), "image", train)
    encoder.prepare(lab.rows(lab.packed(encoder, train[:4]), lab.packed(encoder, train[4:])))
    pixels = np.stack(train).reshape(-1, 3) / 255
    np.testing.assert_allclose(encoder.standardise.mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(encoder.standardise.std, pixels.std(0), rtol=1e-5)


def test_half_of_the_images_cost_half(lab):
    encoder = lab.build(small(), "image", images(8))
    whole, half = (encoder.cut(lab.packed(encoder, images(n))) for n in (8, 4))
    assert multiply_adds(lambda: encoder(half)) * 2 == multiply_adds(lambda: encoder(whole))


@pytest.mark.parametrize(("options", "said"), [({"patch": 12}, "power of two"), ({"size": 36}, "multiple of patch")])
def test_sizes_that_do_not_fit_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        small(**options)
    assert ConvImage(size=96, patch=32).wants() == {"size": 96}

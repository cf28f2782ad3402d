import math

import numpy as np
import pytest
import torch

from plait.encoders._logmel import RATE, log_mel, mel_bank


def slow_log_mel(audio, mels, window, hop, floor):
    """Frame by frame, bin by bin, from the definition."""
    padded = np.concatenate([np.zeros(window // 2), audio, np.zeros(window // 2)])
    hann = np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / window) for n in range(window)])
    mel_of = lambda f: 2595 * math.log10(1 + f / 700)
    width = mel_of(RATE / 2) / (mels + 1)
    hertz = [700 * (10 ** (i * width / 2595) - 1) for i in range(mels + 2)]
    frames = []
    for t in range(1 + len(audio) // hop):
        power = np.abs(np.fft.rfft(padded[t * hop : t * hop + window] * hann)) ** 2
        row = []
        for m in range(mels):
            total = 0.0
            for k, p in enumerate(power):
                f = k * RATE / window
                if hertz[m] < f <= hertz[m + 1]:
                    total += p * (f - hertz[m]) / (hertz[m + 1] - hertz[m])
                elif hertz[m + 1] < f < hertz[m + 2]:
                    total += p * (hertz[m + 2] - f) / (hertz[m + 2] - hertz[m + 1])
            row.append(math.log10(max(total, floor)))
        frames.append(row)
    return np.array(frames)


def noise(samples, seed=0):
    return 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("samples", "mels", "window", "hop"), [(2000, 40, 512, 160), (801, 16, 256, 100), (1, 8, 256, 80)]
)
def test_agrees_with_the_definition(samples, mels, window, hop):
    audio = noise(samples)
    slow = slow_log_mel(audio.double().numpy(), mels, window, hop, 1e-8)
    fast = log_mel(audio, mels, window, hop)
    assert fast.dtype == torch.float32
    np.testing.assert_allclose(fast.numpy(), slow, atol=2e-4)


@pytest.mark.parametrize("hertz", [250, 1000, 3000, 6000])
def test_a_pure_tone_lights_the_band_around_it(hertz):
    mels = 40
    tone = torch.sin(2 * math.pi * hertz * torch.arange(RATE) / RATE)
    band = log_mel(tone, mels)[10:-10].mean(0).argmax().item()
    width = 2595 * math.log10(1 + 8000 / 700) / (mels + 1)
    assert abs(2595 * math.log10(1 + hertz / 700) / width - (band + 1)) <= 0.6


def test_gain_shifts_by_a_constant():
    audio = noise(4000)
    torch.testing.assert_close(log_mel(10 * audio), log_mel(audio) + 2, atol=1e-4, rtol=0)


def test_silence_is_the_floor():
    assert (log_mel(torch.zeros(1000), floor=1e-6) == log_mel(torch.zeros(1), floor=1e-6)[0, 0]).all()
    assert log_mel(torch.zeros(1), floor=1e-6)[0, 0].item() == pytest.approx(-6)


def test_neighbouring_bands_share_every_frequency_between_their_centres():
    bank = mel_bank(40, 512)
    peak = bank.argmax(1)
    inside = bank[:, int(peak[0]) + 1 : int(peak[-1])]
    torch.testing.assert_close(inside.sum(0), torch.ones(inside.shape[1]))


def test_too_many_bands_are_refused():
    with pytest.raises(ValueError, match="use fewer bands"):
        mel_bank(200, 256)

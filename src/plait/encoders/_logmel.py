"""Log-mel spectrograms: how loud each mel band of a sound is in each short frame.

mel(f) = 2595 log10(1 + f / 700);  value = log10(max(sum_f bank[mel, f] |STFT|^2, floor))

Source: the triangular filter bank of Davis and Mermelstein, "Comparison of parametric representations" (1980).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

RATE = 16_000


def hertz_to_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


@lru_cache(maxsize=8)
def mel_bank(mels: int, window: int) -> Tensor:
    """Triangles of height 1, evenly spaced in mel from 0 Hz to 8 kHz: [mels, window // 2 + 1].

    A triangle narrower than the spacing of the STFT's bins would catch nothing: ValueError.
    """
    top = hertz_to_mel(RATE / 2)
    corners = 700 * (10 ** (torch.linspace(0, top, mels + 2, dtype=torch.float64) / 2595) - 1)
    bins = torch.arange(window // 2 + 1, dtype=torch.float64) * RATE / window
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    bank = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(min=0)
    if not bool((bank.sum(1) > 0).all()):
        raise ValueError(f"{mels} mel bands are too many for a window of {window} samples; use fewer bands")
    return bank.float()


def log_mel(audio: Tensor, mels: int = 64, window: int = 512, hop: int = 160, floor: float = 1e-8) -> Tensor:
    """float32 mono audio [S] at 16 kHz -> [T, mels] with T = 1 + S // hop, log10 of power.

    Hann window, frames centred on multiples of `hop` samples, silence (zeros) beyond both ends.
    """
    hann = torch.hann_window(window, dtype=audio.dtype, device=audio.device)
    spectrum = torch.stft(audio, window, hop, window=hann, center=True, pad_mode="constant", return_complex=True)
    power = spectrum.abs().square()
    return (mel_bank(mels, window).to(power) @ power).clamp(min=floor).log10().T

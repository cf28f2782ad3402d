"""Sound: WAV, OGG, FLAC and MP3, told apart by their content."""

from __future__ import annotations

import io
import math

import numpy as np

from plait.core.errors import CellError
from plait.core.extras import need

RAGGED = True

RATES = (1_000, 768_000)
"""Hz.  Beyond these it is not a recording, and resampling would make something out of nothing."""
_BLOCK = 65_536


def decode(raw: bytes, *, rate: int = 16_000, seconds: float = 10.0) -> np.ndarray | None:
    """-> [N] float32, the mean of all channels at `rate` Hz, at most the first `seconds`.

    Integer samples lie in [-1, 1]; float samples are left as they are.  Silence is valid.  An empty cell is absent.
    Raises CellError for other formats, corrupt files, no samples, samples that are not finite, absurd sampling rates.
    """
    if not raw:
        return None
    soundfile, soxr = need("soundfile", "audio"), need("soxr", "audio")
    try:
        with soundfile.SoundFile(io.BytesIO(raw)) as sound:
            found = int(sound.samplerate)
            if not RATES[0] <= found <= RATES[1]:
                raise CellError(f"sound sampled at {found} Hz, expected {RATES[0]} to {RATES[1]} Hz")
            # Block by block, so that neither a long file nor one of a thousand channels is ever whole in memory.
            frames = min(math.ceil(seconds * found), sound.frames)
            blocks = sound.blocks(_BLOCK, frames=frames, dtype="float32", always_2d=True)
            mono = [block.mean(axis=1) for block in blocks]
    except soundfile.SoundFileError as error:
        raise CellError(f"sound cannot be decoded: {error}") from error
    samples = np.concatenate(mono) if mono else np.zeros(0, np.float32)
    if len(samples) == 0:
        raise CellError("sound without a single sample")
    if not np.isfinite(samples).all():
        raise CellError("sound with samples that are NaN or infinite")
    if found != rate:
        samples = soxr.resample(samples, found, rate)
    if len(samples) == 0:
        raise CellError(f"sound too short for a single sample at {rate} Hz")
    return np.ascontiguousarray(samples[: math.ceil(seconds * rate)], dtype=np.float32)

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
LOUDEST = 1e6
"""Largest sample.  Full scale is 1, or 32768 where somebody left integers as they were."""
_BLOCK = 65_536


def decode(raw: bytes, *, rate: int = 16_000, seconds: float = 10.0) -> np.ndarray | None:
    """-> [N] float32, the mean of all channels at `rate` Hz, at most the first `seconds`.

    Integer samples lie in [-1, 1]; float samples are left as they are.  Silence is valid.  An empty cell is absent.
    Raises CellError for other formats, corrupt or truncated files, no samples, samples that are not finite or beyond
    LOUDEST, absurd sampling rates.
    """
    if not raw:
        return None
    soundfile, soxr = need("soundfile", "audio"), need("soxr", "audio")
    _check_whole(raw)
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
        # The library's own words begin with the address of the file object.
        raise CellError(f"sound cannot be decoded: {getattr(error, 'error_string', error)}") from error
    samples = np.concatenate(mono) if mono else np.zeros(0, np.float32)
    if len(samples) == 0:
        raise CellError("sound without a single sample")
    if not np.isfinite(samples).all():
        raise CellError("sound with samples that are NaN or infinite")
    if (loudest := float(np.abs(samples).max())) > LOUDEST:
        raise CellError(f"sound with samples up to {loudest:.3g}, expected about 1 at full scale")
    if found != rate:
        samples = soxr.resample(samples, found, rate)
    if len(samples) == 0:
        raise CellError(f"sound too short for a single sample at {rate} Hz")
    return np.ascontiguousarray(samples[: math.ceil(seconds * rate)], dtype=np.float32)


def _check_whole(raw: bytes) -> None:
    """CellError for a WAV file that says it is longer: the library takes what is left for all there is."""
    if raw[:4] == b"RIFF":
        said = int.from_bytes(raw[4:8], "little")
        # Programs that write into a pipe cannot know the size, and leave 0 or the largest number.
        if said < 0xFFFFFF00 and said + 8 > len(raw) + 1:
            raise CellError(f"sound truncated: {len(raw):,} of {said + 8:,} bytes are there")

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from plait.core.errors import CellError
from plait.data.kinds import audio


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples: np.ndarray, rate: int, format: str = "WAV", subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=format, subtype=subtype)
    return stream.getvalue()


def decoded(raw: bytes, **options: float) -> np.ndarray:
    samples = audio.decode(raw, **options)  # type: ignore[arg-type]
    assert samples is not None
    assert samples.dtype == np.float32
    return samples


def peak(samples: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


def test_samples_at_the_right_rate_come_back_as_they_are() -> None:
    samples = tone(440, 16_000)
    np.testing.assert_array_equal(decoded(encoded(samples, 16_000, subtype="FLOAT")), samples)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_pitch_and_duration(rate: int) -> None:
    samples = decoded(encoded(tone(440, rate), rate))
    assert abs(len(samples) - 16_000) <= 1
    assert abs(peak(samples, 16_000) - 440) <= 1
    assert abs(np.abs(samples[1000:-1000]).max() - 0.5) < 0.01


@pytest.mark.parametrize("format", ["WAV", "OGG", "FLAC", "MP3"])
def test_every_format_gives_the_sound(format: str) -> None:
    assert abs(peak(decoded(encoded(tone(440, 16_000), 16_000, format)), 16_000) - 440) <= 2


def test_channels_are_averaged() -> None:
    left, right = tone(300, 16_000), tone(700, 16_000)
    samples = decoded(encoded(np.stack([left, right], 1), 16_000, subtype="FLOAT"))
    np.testing.assert_allclose(samples, (left + right) / 2, atol=1e-7)


def test_only_the_first_seconds() -> None:
    long = tone(440, 16_000, 12)
    np.testing.assert_array_equal(decoded(encoded(long, 16_000, subtype="FLOAT")), long[:160_000])
    assert len(decoded(encoded(tone(440, 44_100, 3), 44_100), seconds=0.5)) == 8_000
    assert len(decoded(encoded(long, 16_000), seconds=0.25, rate=8_000)) == 2_000


def test_silence_is_sound_and_nothing_is_absent() -> None:
    assert (decoded(encoded(np.zeros(16_000), 16_000)) == 0).all()
    assert audio.decode(b"") is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(value: float) -> None:
    samples = tone(440, 16_000)
    samples[100] = value
    with pytest.raises(CellError, match="NaN or infinite"):
        audio.decode(encoded(samples, 16_000, subtype="FLOAT"))


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_no_samples_are_refused(rate: int) -> None:
    with pytest.raises(CellError, match="without a single sample"):
        audio.decode(encoded(np.zeros(0, np.float32), rate))


@pytest.mark.parametrize("rate", [1, 999, 2_000_000_000])
def test_absurd_rates_are_refused(rate: int) -> None:
    raw = bytearray(encoded(tone(440, 16_000, 0.1), 16_000))
    raw[24:28] = struct.pack("<I", rate)
    with pytest.raises(CellError, match=f"{rate} Hz"):
        audio.decode(bytes(raw))


@pytest.mark.parametrize("raw", [b"hello", b"RIFF\x24\0\0\0WAVEfmt ", b"\x89PNG\r\n\x1a\n" + bytes(50), bytes(1000)])
def test_what_is_no_sound_is_refused(raw: bytes) -> None:
    with pytest.raises(CellError, match=r"decoded|truncated"):
        audio.decode(raw)


def test_a_truncated_flac_is_refused() -> None:
    whole = encoded(tone(440, 16_000), 16_000, "FLAC")
    with pytest.raises(CellError):
        audio.decode(whole[: len(whole) // 2])


def test_a_wav_that_ends_too_early_is_no_shorter_sound() -> None:
    raw = encoded(tone(440, 16_000), 16_000)
    with pytest.raises(CellError, match=r"sound truncated: 1,000 of 32,044 bytes"):
        audio.decode(raw[:1000])
    # A program that writes into a pipe does not know the size.
    for size in (0, 0xFFFFFFFF):
        piped = raw[:4] + struct.pack("<I", size) + raw[8:]
        assert len(decoded(piped)) == 16_000


def test_absurdly_loud_samples_are_a_bad_cell() -> None:
    with pytest.raises(CellError, match=r"samples up to 1e\+30"):
        audio.decode(encoded(np.full(1600, 1e30, np.float32), 16_000, subtype="FLOAT"))
    integers = np.full(1600, 32_000, np.float32)
    np.testing.assert_array_equal(decoded(encoded(integers, 16_000, subtype="FLOAT")), integers)


def test_a_reason_is_the_same_every_time() -> None:
    said = []
    for _ in range(2):
        with pytest.raises(CellError) as caught:
            audio.decode(b"RIFF" + b"\0" * 40)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "0x" not in said[0]

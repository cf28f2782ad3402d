"""Images: PNG, JPEG, WebP, GIF, BMP, TIFF and SVG, told apart by their content, never by a file's name."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from plait.core.errors import CellError
from plait.core.extras import need

from . import _svg

if TYPE_CHECKING:
    from PIL.Image import Image

RAGGED = False

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def decode(
    raw: bytes,
    *,
    size: int = 224,
    fit: Literal["pad", "stretch", "crop"] = "pad",
    background: Sequence[int] = (255, 255, 255),
    max_pixels: int = 80_000_000,
) -> np.ndarray | None:
    """-> [size, size, 3] uint8 RGB, upright by its EXIF orientation; of an animation, the first frame.

    fit: "pad" keeps the whole image and its proportions, "crop" its largest central square, "stretch" neither.
    background: RGB behind transparent pixels and in the padding.  16-bit images keep their upper 8 bits.
    An empty cell is absent.

    Raises CellError for other formats, truncated or corrupt files, more than `max_pixels`, float images, and SVG that
    refers to other files, uses entities, holds scripts or is nested beyond reason.
    """
    if not raw:
        return None
    # An SVG is drawn at twice the size, so that it is antialiased by the same filter as everything else.
    image = _drawn(raw, 2 * size, max_pixels) if _svg.looks_like(raw) else _opened(raw, 2 * size, max_pixels)
    return np.asarray(_fitted(_flat(image, tuple(background)), size, fit, tuple(background)))


def _opened(raw: bytes, side: int, max_pixels: int) -> Image:
    """Loaded and upright; a JPEG may come reduced, both sides still `side` or more."""
    pil, ops = need("PIL.Image", "image"), need("PIL.ImageOps", "image")
    try:
        image: Image = pil.open(io.BytesIO(raw), formats=FORMATS)
        if image.width * image.height > max_pixels:
            raise CellError(f"image of {image.width} x {image.height} pixels, at most {max_pixels:,} pixels are read")
        image.draft(None, (side, side))
        image.load()
        upright: Image = ops.exif_transpose(image)
        return upright
    except pil.UnidentifiedImageError as error:
        raise CellError(f"not an image in {', '.join(FORMATS)} or SVG") from error
    except (pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        raise CellError(f"image of more than {max_pixels:,} pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise CellError(f"image cannot be decoded: {error}") from error


def _drawn(raw: bytes, side: int, max_pixels: int) -> Image:
    text, embedded = _svg.checked(raw)
    for picture in embedded:
        _opened(picture, side, max_pixels // len(embedded))
    return _opened(_svg.render(text, side), side, max_pixels)


def _flat(image: Image, background: tuple[int, ...]) -> Image:
    """RGB, whatever the mode was."""
    pil = need("PIL.Image", "image")
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise CellError("image of 32-bit integers beyond 65535; 8 or 16 bits a channel are read")
        image = pil.fromarray((levels // 257).astype(np.uint8))
    elif image.mode == "F":
        raise CellError("image of floating-point numbers; 8 or 16 bits a channel are read")
    try:
        if image.has_transparency_data:
            behind = pil.new("RGBA", image.size, (*background, 255))
            image = pil.alpha_composite(behind, image.convert("RGBA"))
        return image.convert("RGB")
    except ValueError as error:
        raise CellError(f"image in colour mode {image.mode} cannot be converted to RGB") from error


def _fitted(image: Image, size: int, fit: str, background: tuple[int, ...]) -> Image:
    pil = need("PIL.Image", "image")
    bicubic, (width, height) = pil.Resampling.BICUBIC, image.size
    if fit == "stretch":
        return image.resize((size, size), bicubic, reducing_gap=3.0)
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return image.resize((size, size), bicubic, box=(left, top, left + side, top + side), reducing_gap=3.0)
    if fit == "pad":
        longest = max(width, height)
        inner = (max(1, round(width * size / longest)), max(1, round(height * size / longest)))
        canvas: Image = pil.new("RGB", (size, size), background)
        scaled = image.resize(inner, bicubic, reducing_gap=3.0)
        canvas.paste(scaled, ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return canvas
    raise ValueError(f"fit is {fit!r}, expected 'pad', 'stretch' or 'crop'")

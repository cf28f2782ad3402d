from __future__ import annotations

import base64
import io
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from plait.core.errors import CellError
from plait.data.kinds import image

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
NAMES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
SVG = f'<svg {NAMES} width="10" height="10">%s</svg>'
RED = '<rect width="10" height="10" fill="red"/>'


def encoded(array: np.ndarray | Image.Image, format: str = "PNG", **options: object) -> bytes:
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    stream = io.BytesIO()
    picture.save(stream, format=format, **options)
    return stream.getvalue()


def decoded(raw: bytes, **options: object) -> np.ndarray:
    pixels = image.decode(raw, **options)
    assert pixels is not None
    return pixels


def svg(content: str, prologue: str = "") -> bytes:
    return (prologue + SVG % content).encode()


def of_claimed_size(width: int, height: int) -> bytes:
    """A small, well-formed PNG file that unpacks to width x height pixels."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


def test_a_lossless_square_of_the_right_size_comes_back_as_it_is() -> None:
    square = RGB[:32, :32]
    for format in ("PNG", "BMP", "TIFF"):
        for fit in ("pad", "crop", "stretch"):
            np.testing.assert_array_equal(decoded(encoded(square, format), size=32, fit=fit), square)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_gives_the_picture(format: str) -> None:
    flat = np.full((30, 30, 3), (200, 120, 40), np.uint8)
    assert np.abs(decoded(encoded(flat, format), size=16).astype(int) - (200, 120, 40)).max() <= 4


def test_fits() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    padded = decoded(encoded(wide), size=30, background=(1, 2, 3))
    assert (padded[:10] == (1, 2, 3)).all()
    assert (padded[20:] == (1, 2, 3)).all()
    np.testing.assert_array_equal(padded[10:20], wide)
    assert (decoded(encoded(wide), size=10, fit="crop") == 255).all()
    stretched = decoded(encoded(wide), size=30, fit="stretch")
    np.testing.assert_array_equal(stretched, np.broadcast_to(stretched[:1], stretched.shape))
    assert (stretched[:, 12:18] == 255).all()
    with pytest.raises(ValueError, match="fit"):
        image.decode(encoded(wide), fit="zoom")  # type: ignore[arg-type]


def test_extreme_proportions_keep_one_pixel() -> None:
    assert decoded(encoded(np.zeros((1, 3000, 3), np.uint8)), size=16).shape == (16, 16, 3)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = decoded(encoded(stripes), size=32)[2:-2, 2:-2].astype(int)
    assert np.abs(shrunk - 127.5).max() < 4


def test_exif_orientation_is_applied() -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        raw = encoded(RGB[:32, :32], exif=exif)
        with Image.open(io.BytesIO(raw)) as opened:
            upright = np.asarray(ImageOps.exif_transpose(opened))
        np.testing.assert_array_equal(decoded(raw, size=32), upright)
    exif[0x0112] = 6  # the camera was turned: what is stored as top belongs right
    top = np.zeros((32, 32, 3), np.uint8)
    top[:8] = 255
    assert (decoded(encoded(top, exif=exif), size=32)[:, -8:] == 255).all()


def test_transparency_shows_the_background() -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:, :4] = (10, 20, 30, 255)
    clear[:, 4:] = (255, 0, 0, 0)
    pixels = decoded(encoded(clear), size=8, background=(7, 8, 9))
    assert (pixels[:, :4] == (10, 20, 30)).all()
    assert (pixels[:, 4:] == (7, 8, 9)).all()
    palette = Image.fromarray(np.tile([0, 1], (8, 4)).astype(np.uint8), "P")
    palette.putpalette([5, 6, 7, 250, 0, 0])
    pixels = decoded(encoded(palette, transparency=1), size=8, background=(0, 255, 0))
    assert (pixels[:, ::2] == (5, 6, 7)).all()
    assert (pixels[:, 1::2] == (0, 255, 0)).all()
    half = np.full((8, 8, 2), 128, np.uint8)
    assert (decoded(encoded(Image.fromarray(half, "LA")), size=8, background=(0, 0, 0)) == 64).all()


def test_other_depths_and_colour_models() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    for format in ("PNG", "TIFF"):
        deep = decoded(encoded(grey.astype(np.uint16) * 257, format), size=8)
        np.testing.assert_array_equal(deep, np.repeat(grey[..., None], 3, 2))
    bits = Image.fromarray(grey > 100)
    np.testing.assert_array_equal(decoded(encoded(bits), size=8)[..., 0], (grey > 100) * 255)
    inks = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert (decoded(encoded(inks, "TIFF"), size=8) == (255, 0, 0)).all()
    with pytest.raises(CellError, match="floating-point"):
        image.decode(encoded(np.zeros((8, 8), np.float32), "TIFF"))
    with pytest.raises(CellError, match="32-bit"):
        image.decode(encoded(np.full((8, 8), 70_000, np.int32), "TIFF"))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame(format: str) -> None:
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    raw = encoded(first, format, save_all=True, append_images=[second])
    assert np.abs(decoded(raw, size=8).astype(int) - (255, 0, 0)).max() <= 4


def test_nothing_is_absent() -> None:
    assert image.decode(b"") is None


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_files_are_refused(format: str) -> None:
    whole = encoded(RGB, format)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(CellError):
            image.decode(whole[: int(share * len(whole))])


@pytest.mark.parametrize(
    "raw", [b"hello", b"\0" * 100, b"RIFF\x24\0\0\0WAVEfmt ", b"%PDF-1.7", b"<html/>", b"\xff\xfe"]
)
def test_what_is_no_image_is_refused(raw: bytes) -> None:
    with pytest.raises(CellError):
        image.decode(raw)


def test_damaged_files_give_an_image_or_a_cell_error() -> None:
    chance = random.Random(0)
    whole = [encoded(RGB, format) for format in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")] + [svg(RED)]
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(300):
            raw = bytearray(chance.choice(whole))
            for _ in range(chance.choice([1, 8])):
                raw[chance.randrange(len(raw))] = chance.randrange(256)
            try:
                assert decoded(bytes(raw), size=16).shape == (16, 16, 3)
            except CellError:
                refused += 1
    assert 0 < refused < 300


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 30_000])
def test_decompression_bombs_are_refused_before_they_unpack(side: int) -> None:
    with pytest.raises(CellError, match="pixels"):
        image.decode(of_claimed_size(side, side))


def test_the_pixel_limit() -> None:
    assert decoded(encoded(RGB), size=8, max_pixels=RGB.shape[0] * RGB.shape[1]).shape == (8, 8, 3)
    with pytest.raises(CellError, match="60 x 40"):
        image.decode(encoded(RGB), size=8, max_pixels=RGB.shape[0] * RGB.shape[1] - 1)


def test_faults_of_the_program_are_not_taken_for_bad_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_: Image.Image) -> Image.Image:
        raise TypeError("planted")

    monkeypatch.setattr(ImageOps, "exif_transpose", wrong)
    with pytest.raises(TypeError, match="planted"):
        image.decode(encoded(RGB))


def test_svg_is_drawn_in_its_proportions() -> None:
    wide = f'<svg {NAMES} viewBox="0 0 30 10"><rect width="30" height="10" fill="#0a0"/></svg>'.encode()
    pixels = decoded(wide, size=30, background=(0, 0, 0))
    assert (pixels[11:19] == (0, 170, 0)).all()
    assert (pixels[:9] == 0).all()
    assert (decoded(wide, size=30, fit="crop")[2:-2] == (0, 170, 0)).all()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_svg_in_other_encodings(encoding: str) -> None:
    declared = encoding.removesuffix("-sig")
    text = f'<?xml version="1.0" encoding="{declared}"?>' + SVG % f'<g id="é">{RED}</g>'
    assert (decoded(text.encode(encoding), size=8) == (255, 0, 0)).all()


def test_svg_entities_that_are_only_declared_are_fine() -> None:
    prologue = (
        '<?xml version="1.0" encoding="UTF-8"?><!-- a > comment <!DOCTYPE -->'
        "<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd' [\n"
        '<!ENTITY ns_svg "http://www.w3.org/2000/svg">\n<!ENTITY odd "]>\'"><!ENTITY far SYSTEM "file:///nowhere">]>'
    )
    assert (decoded(svg(RED, prologue), size=8) == (255, 0, 0)).all()
    assert (decoded(svg(RED, '<!DOCTYPE svg SYSTEM "nowhere.dtd">'), size=8) == (255, 0, 0)).all()


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))


@pytest.mark.parametrize(
    ("declared", "content"),
    [
        ('<!ENTITY a "red">', '<rect width="9" height="9" fill="&a;"/>'),
        ('<!ENTITY a "<g/>">', "&a;"),
        ('<!ENTITY a SYSTEM "SECRET">', "<text>&a;</text>"),
        ('<!ENTITY % a SYSTEM "SECRET"> %a;', RED),
        (f'<!ENTITY l0 "ha">{LAUGHS}', "<text>&l11;</text>"),
        (f'<!ENTITY l0 "ha">{LAUGHS}', '<g id="&l11;"/>'),
    ],
)
def test_svg_entities_in_use_are_refused(declared: str, content: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("<g/>")
    prologue = f"<!DOCTYPE svg [{declared.replace('SECRET', (tmp_path / 'secret').as_uri())}]>"
    with pytest.raises(CellError, match="entity"):
        image.decode(svg(content, prologue))


def test_svg_that_refers_to_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blue.png").write_bytes(encoded(np.full((8, 8, 3), (0, 0, 255), np.uint8)))
    path = tmp_path / "blue.png"
    for target in (str(path), path.as_uri(), f" {path}", "blue.png", "http://example.org/a.png", "//example.org/a.png"):
        for element in ("image", "use", "feImage", "pattern"):
            for attribute in ("href", "xlink:href"):
                with pytest.raises(CellError, match="refers to"):
                    image.decode(svg(f'<{element} {attribute}="{target}" width="9" height="9"/>'))
    nested = base64.b64encode(svg(f'<image href="{path}" width="9" height="9"/>')).decode()
    for kind in ("image/svg+xml", "text/plain", ""):
        with pytest.raises(CellError, match="refers to"):
            image.decode(svg(f'<image href="data:{kind};base64,{nested}" width="9" height="9"/>'))
    # Where files are named by other means, the renderer does not look.
    for content in (
        f'<rect width="10" height="10" style="fill:url({path})"/>',
        f'<style>@import url({path}); rect {{ fill: url({path}) }}</style><rect width="10" height="10"/>',
    ):
        assert not (decoded(svg(content), size=8) == (0, 0, 255)).all(-1).any()


def test_svg_may_link_elsewhere_and_refer_to_its_own_parts() -> None:
    content = f'<defs><g id="r">{RED}</g></defs><a href="http://example.org/"><use xlink:href="#r"/></a>'
    assert (decoded(svg(content), size=8) == (255, 0, 0)).all()


def test_svg_with_an_embedded_image() -> None:
    def embedding(raw: bytes) -> bytes:
        data = base64.b64encode(raw).decode()
        return svg(f'<image xlink:href="data:image/png;base64,{data}" width="10" height="10"/>')

    blue = encoded(np.full((8, 8, 3), (0, 0, 255), np.uint8))
    assert (decoded(embedding(blue), size=8)[2:-2, 2:-2] == (0, 0, 255)).all()
    for bad in (of_claimed_size(30_000, 30_000), svg(RED), blue[:30], b""):
        with pytest.raises(CellError):
            image.decode(embedding(bad))


@pytest.mark.parametrize(
    "sides",
    ['width="1e9" height="1e9"', 'width="1" height="1e9"', 'viewBox="0 0 1e30 1e30"', 'width="1e-30" height="1"', ""],
)
def test_svg_of_any_claimed_size_is_drawn_small(sides: str) -> None:
    raw = f'<svg {NAMES} {sides}><rect width="9" height="9"/></svg>'
    assert decoded(raw.encode(), size=16).shape == (16, 16, 3)


def pattern_chain(length: int) -> str:
    link = '<pattern id="p{}" width="1" height="1"><rect width="9" height="9" fill="url(#p{})"/></pattern>'
    return "".join(link.format(n, n + 1) for n in range(length)) + '<rect width="9" height="9" fill="url(#p0)"/>'


@pytest.mark.parametrize(
    "content",
    [
        "<g>" * 5_000 + "</g>" * 5_000,
        pattern_chain(5_000),
        '<pattern id="p" width="1" height="1"><rect width="9" height="9" fill="url(#p)"/></pattern>',
        "<style>" + "".join(f".a{n} {{ mask: url(#m{n}) }}" for n in range(5_000)) + "</style>",
        '<filter id="f"><feTurbulence baseFrequency="0.1" numOctaves="1000000"/></filter>',
        "<script>alert(1)</script>",
        f'<g transform="scale(1e30)">{RED}</g><circle r="1e30"/>',
        '<image href="data:image/png;base64,a" width="9" height="9"/>',
        "<g>",
    ],
)
def test_svg_that_would_end_or_hang_the_process_is_refused(content: str) -> None:
    with pytest.raises(CellError):
        image.decode(svg(content))


def test_svg_nested_within_reason_is_drawn() -> None:
    assert decoded(svg("<g>" * 500 + RED + "</g>" * 500), size=8).shape == (8, 8, 3)
    assert decoded(svg(pattern_chain(300)), size=8).shape == (8, 8, 3)
    rules = "".join(f".c{n} {{ fill: url(#g{n}) }}" for n in range(2_000))
    stops = "".join(f'<linearGradient id="g{n}"><stop stop-color="red"/></linearGradient>' for n in range(2_000))
    sheet = f'<style>{rules}</style>{stops}<rect class="c5" width="10" height="10"/>'
    assert (decoded(svg(sheet), size=8) == (255, 0, 0)).all()


def test_svg_does_not_depend_on_the_fonts_of_the_machine() -> None:
    assert (decoded(svg('<text x="0" y="9">Plait</text>'), size=16) == 255).all()

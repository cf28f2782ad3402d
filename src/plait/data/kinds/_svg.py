"""SVG without what makes it dangerous: files it would read, entities it would expand, nesting that ends the process.

The renderer follows `href` to local files, overflows its stack where elements are nested some hundred deep (directly
or by reference), and runs for hours on some filter settings.  So all of this is refused before it sees the document.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import contextlib
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future
from graphlib import CycleError, TopologicalSorter
from xml.parsers import expat

from plait.core.errors import CellError
from plait.core.extras import need

DEEPEST = 4_000
"""Nested elements, times the length of the longest chain of references."""
STACK = 256 * 2**20
"""Bytes of stack for the renderer, which takes up to 40 kB for each level of nesting."""
COSTLY = {"numOctaves": 16, "order": 16}
"""Filter settings whose cost grows with their value."""

_STACKS = threading.Lock()
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_PICTURE = re.compile(r"\s*data:image/(?:png|jpe?g|gif|webp);base64,(.*)", re.DOTALL)
_PARAMETER = re.compile(rb"%[^\s%;]+;")
_REFERENCE = re.compile(r"""url\(\s*["']?\s*#([^"')]+)""")


class _Root(Exception):
    """The root element begins: the prologue is over."""


def looks_like(raw: bytes) -> bool:
    """Whether these bytes are XML rather than a raster image."""
    return raw.startswith(tuple(_BOMS)) or raw[:256].lstrip().startswith(b"<")


def checked(raw: bytes) -> tuple[str, list[bytes]]:
    """-> the document without its DOCTYPE, fit to be rendered, and the raster images embedded in it.

    Entities that are declared and never used are fine.  Raises CellError for everything that is refused.
    """
    text = _text(raw)
    try:
        text = _without_doctype(text)
        return text, _inspect(text)
    except expat.ExpatError as error:
        if error.code == expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]:
            raise CellError("SVG that uses an entity") from error
        raise CellError(f"SVG that is not well-formed XML: {error}") from error


def render(text: str, side: int) -> bytes:
    """PNG of a `checked` document, drawn to fit into [side, side].  Text is left out: fonts differ between machines."""
    resvg = need("resvg_py", "image")
    drawn: Future[bytes] = Future()

    def draw() -> None:
        try:
            png = resvg.svg_to_bytes(svg_string=text, width=side, height=side, dpi=96, skip_system_fonts=True)
        except BaseException as error:  # handed on to the caller's thread
            drawn.set_exception(error)
        else:
            drawn.set_result(bytes(png))

    with _stack_of(STACK):
        thread = threading.Thread(target=draw)
        thread.start()
    thread.join()
    try:
        return drawn.result()
    except ValueError as error:
        raise CellError(f"SVG cannot be rendered: {error}") from error
    except BaseException as error:
        # The renderer's panics have a class that cannot be imported, outside of Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise CellError(f"SVG that the renderer gave up on: {error}") from error


@contextlib.contextmanager
def _stack_of(size: int) -> Iterator[None]:
    with _STACKS:
        before = threading.stack_size(size)
        try:
            yield
        finally:
            threading.stack_size(before)


def _text(raw: bytes) -> str:
    declared = _ENCODING.match(raw)
    encoding = next((name for bom, name in _BOMS.items() if raw.startswith(bom)), None)
    encoding = encoding or (declared[1].decode() if declared else "utf-8")
    try:
        return raw.decode(encoding)
    except LookupError as error:
        raise CellError(f"SVG in an unknown encoding {encoding!r}") from error
    except UnicodeError as error:
        raise CellError(f"SVG that is not the {encoding} it should be: {error}") from error


def _without_doctype(text: str) -> str:
    """Without its DOCTYPE nothing is left to expand: an entity in use is then an undefined one."""
    data = text.encode()
    parser = expat.ParserCreate("utf-8")
    span: list[int] = []

    def mark(*_: object) -> None:
        span.append(parser.CurrentByteIndex)

    def root(*_: object) -> None:
        raise _Root

    parser.StartDoctypeDeclHandler = parser.EndDoctypeDeclHandler = mark
    parser.StartElementHandler = root
    with contextlib.suppress(_Root):
        parser.Parse(data, True)
    if not span:
        return text
    begin, end = data.rfind(b"<!DOCTYPE", 0, span[0]), span[1]
    if _PARAMETER.search(data, begin, end):
        raise CellError("SVG that uses an entity")
    return (data[:begin] + data[end:].removeprefix(b">")).decode()


def _inspect(text: str) -> list[bytes]:
    """Raises CellError for what is refused -> the embedded raster images."""
    parser = expat.ParserCreate("utf-8")
    opened: list[tuple[str, str]] = [("", "")]  # element and id, from the document down
    deepest = 0
    pictures: list[bytes] = []
    references: dict[str, set[str]] = defaultdict(set)
    gradients: set[str] = set()
    styled: set[str] = set()

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal deepest
        element = name.rpartition(":")[2]
        if len(opened) == 1 and element != "svg":
            raise CellError(f"an XML document whose root is <{name}>, expected an image")
        if element == "script":
            raise CellError("SVG with a script")
        opened.append((element, attributes.get("id", "")))
        deepest = max(deepest, len(opened))
        if element.endswith("Gradient"):
            gradients.add(opened[-1][1])
        targets: set[str] = set()
        for key, value in attributes.items():
            targets.update(_REFERENCE.findall(value))
            if key.rpartition(":")[2] == "href" and element != "a":
                target = value.strip()
                if target.startswith("#"):
                    targets.add(target[1:])
                elif target:
                    pictures.append(_picture(value))
            elif key in COSTLY and any(float(n) > COSTLY[key] for n in re.findall(r"\d+", value)):
                raise CellError(f"SVG with a filter of {key}={value!r}, at most {COSTLY[key]} is read")
        for _, owner in opened:
            references[owner] |= targets

    def end(name: str) -> None:
        opened.pop()

    def characters(data: str) -> None:
        if opened[-1][0] == "style":
            styled.update(_REFERENCE.findall(data))

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    parser.buffer_text = True
    parser.Parse(text.encode(), True)

    # Gradients are resolved without recursion.  Which elements a style sheet applies to is not worked out: in the
    # worst case all its references form one chain.
    chain = _longest_chain({name: targets - gradients for name, targets in references.items()})
    chain += len(styled - gradients)
    if chain * deepest > DEEPEST:
        raise CellError(f"SVG nested too deep: {deepest} elements, {chain} references in a row")
    return pictures


def _longest_chain(references: dict[str, set[str]]) -> int:
    lengths: dict[str, int] = {}
    try:
        for name in TopologicalSorter(references).static_order():
            lengths[name] = 1 + max((lengths[target] for target in references.get(name, ())), default=0)
    except CycleError as error:
        raise CellError("SVG with parts that refer to themselves") from error
    return max(lengths.values(), default=1)


def _picture(href: str) -> bytes:
    found = _PICTURE.fullmatch(href)
    if not found:
        raise CellError(f"SVG that refers to {href[:40]!r}; only its own parts and embedded raster images are read")
    try:
        return base64.b64decode(found[1])
    except binascii.Error as error:
        raise CellError("SVG with an embedded image that is not base64") from error

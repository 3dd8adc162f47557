"""Is the rerun's output all that the stored notebook shows?

nbval compares texts by kind, but neither their order nor images and metadata.
"""

import base64
import io
import re
from collections.abc import Iterator
from itertools import groupby, zip_longest

import nbformat
from PIL import Image, ImageChops

# the chunks of a PNG that encoders write differently, and that change nothing but the pixels
PIXELS = b"IHDR PLTE tRNS IDAT IEND".split()
ENCODED = [*PIXELS, *b"tEXt zTXt iTXt tIME".split()]
# readers do not agree on pictures whose chunks are more, or in another order; the bits in front
ORDER = re.compile(rb"[1248] IHDR-*(PLTE-*)?(tRNS-*)?(IDAT)+-*IEND")
# what Colab, JupyterLab and VS Code write into an output's metadata, and what shows nothing else
BOOKKEEPING = {"tags": [], "scrolled": False, "needs_background": "light"}


def stream_of(output: dict) -> str | None:
    """Return the name of the stream that an output is of, None for all other kinds."""
    match output:
        case {"output_type": "stream", "name": name}:
            return name
    return None


def merge_streams(outputs: list) -> list:
    """Join adjacent texts of one stream, which a kernel splits wherever it likes, empty or not."""
    merged = []
    said = (output for output in outputs if stream_of(output) is None or output["text"])
    for name, group in groupby(said, stream_of):
        parts = list(group)
        if name is not None:
            text = "".join(part["text"] for part in parts)
            parts = [{"output_type": "stream", "name": name, "text": text}]
        merged += parts
    return [nbformat.from_dict(output) for output in merged]


def output_differences(stored: list, rerun: list) -> list[str]:
    """Return what differs between a cell's stored outputs and those of its rerun, a line each."""
    problems = []
    pairs = zip_longest(merge_streams(stored), merge_streams(rerun))
    for number, (one, other) in enumerate(pairs, start=1):
        if one is None or other is None:
            where = "the rerun only" if one is None else "the stored notebook only"
            problems.append(f"output {number} ({describe(one or other)}) is in {where}")
        elif describe(one) != describe(other):
            problems.append(f"output {number} is {describe(one)}, rerun: {describe(other)}")
        else:
            problems += [f"output {number}: {text}" for text in content_differences(one, other)]
    return problems


def describe(output: dict) -> str:
    """Name an output's kind and its parts."""
    name = stream_of(output)
    parts = sorted(output.get("data", ())) if name is None else [name]
    return " ".join([output["output_type"], *parts])


def content_differences(stored: dict, rerun: dict) -> Iterator[str]:
    """Say what differs between two outputs of the same kind and parts."""
    if seen_metadata(stored) != seen_metadata(rerun):
        yield f"metadata is {stored.get('metadata')}, rerun: {rerun.get('metadata')}"
    again = contents_of(rerun)
    for name, content in contents_of(stored).items():
        one, other = with_plain_ends(content), with_plain_ends(again[name])
        if name.startswith("image/") and name != "image/svg+xml":
            if not same_picture(one, other):
                yield f"{name} shows another picture"
        elif one != other:
            yield f"{name} {first_difference(one, other)}"


def contents_of(output: dict) -> dict:
    """Return what an output shows, by name."""
    return output.get("data", {}) if stream_of(output) is None else {"text": output["text"]}


def with_plain_ends(content: object) -> object:
    """Return a text with a kernel's ends of lines, whatever an editor made of them."""
    return content.replace("\r\n", "\n") if isinstance(content, str) else content


def seen_metadata(output: dict) -> dict:
    """Return an output's metadata without an editor's bookkeeping."""
    metadata = output.get("metadata", {})
    known = {name for name, value in BOOKKEEPING.items() if metadata.get(name) == value}
    return {name: value for name, value in metadata.items() if name not in known}


def first_difference(stored: object, rerun: object) -> str:
    """Show the first line in which two values differ, around where they do."""
    pairs = zip_longest(str(stored).splitlines(True), str(rerun).splitlines(True), fillvalue="")
    line, (one, other) = next((i, p) for i, p in enumerate(pairs, start=1) if p[0] != p[1])
    at = next(i for i, (a, b) in enumerate(zip_longest(one, other)) if a != b)
    part = slice(max(0, at - 30), at + 50)
    return f"line {line} is {one[part]!r}, rerun: {other[part]!r}"


def same_picture(stored: str, rerun: str) -> bool:
    """Compare base64 images: equal, or PNGs that are seen as equal.

    Encoders of PNGs differ between machines, pixels hardly.
    """
    if stored == rerun:
        return True
    try:
        (chunks, one), (others, other) = map(read_png, (stored, rerun))
        if not chunks <= others or one.size != other.size:
            return False
        difference = ImageChops.difference(one.convert("RGBA"), other.convert("RGBA"))
    except Exception:  # whatever a file may be that is no picture
        return False
    return all(most <= 2 for _, most in difference.getextrema())


def read_png(data: str) -> tuple[set[bytes], Image.Image]:
    """Return what of a base64 PNG changes its look but pixels, and the image, not yet decoded.

    Raises:
        Exception: it is none, has 16 bits, or a reader may see it in another way.
    """
    file = base64.b64decode("".join(data.split()), validate=True)
    chunks = list(chunks_of(file))
    order = b"".join(kind if kind in PIXELS else b"-" for kind, _ in chunks)
    if not ORDER.fullmatch(b"%d %b" % (file[24], order)):
        raise ValueError
    image = Image.open(io.BytesIO(file), formats=("PNG",))  # no other decoder runs
    return {content for kind, content in chunks if kind not in ENCODED}, image


def chunks_of(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and bytes of each chunk of a PNG, and of whatever lies behind them.

    Raises:
        ValueError: it is none.
    """
    if not file.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError
    at = 8
    while at < len(file):  # of each: length, kind, content, checksum
        end = at + 12 + int.from_bytes(file[at : at + 4])
        yield file[at + 4 : at + 8], file[at:end]
        at = end

"""Is the rerun's output all that the stored notebook shows?

nbval compares texts by kind, but neither their order nor images and metadata.
"""

import base64
import io
from collections.abc import Iterator
from itertools import zip_longest

import nbformat
import numpy as np
from PIL import Image

# the chunks of a PNG that encoders write differently, and that change nothing but the pixels
ENCODED = b"IHDR PLTE tRNS IDAT IEND tEXt zTXt iTXt tIME".split()
# what Colab, JupyterLab and VS Code write into an output's metadata, and what shows nothing else
BOOKKEEPING = {"tags": [], "scrolled": False, "needs_background": "light"}


def merge_streams(outputs: list) -> list:
    """Join adjacent texts of one stream, which a kernel splits wherever it likes, empty or not."""
    merged = []
    for output in outputs:
        if "name" in output and not output["text"]:
            continue
        last = merged[-1] if merged else {}
        if "name" in output and output["name"] == last.get("name"):
            merged[-1] = {**last, "text": last["text"] + output["text"]}
        else:
            merged.append(output)
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
    parts = [output["name"]] if "name" in output else sorted(output.get("data", ()))
    return " ".join([output["output_type"], *parts])


def content_differences(stored: dict, rerun: dict) -> Iterator[str]:
    """Say what differs between two outputs of the same kind and parts."""
    if seen_metadata(stored) != seen_metadata(rerun):
        yield f"metadata is {stored.get('metadata')}, rerun: {rerun.get('metadata')}"
    texts = [{"text": o["text"]} if "text" in o else o.get("data", {}) for o in (stored, rerun)]
    for name, content in texts[0].items():
        one, other = with_plain_ends(content), with_plain_ends(texts[1][name])
        if name.startswith("image/") and name != "image/svg+xml":
            if not same_picture(one, other):
                yield f"{name} shows another picture"
        elif one != other:
            yield f"{name} {first_difference(one, other)}"


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
    """Compare base64 images as seen; encoders differ between machines, pixels hardly."""
    if stored == rerun:
        return True
    try:
        (kind, chunks, one), (other_kind, others, other) = map(read_picture, (stored, rerun))
    except Exception:  # whatever a file may be that is no picture
        return False
    return (
        kind == other_kind
        and chunks <= others
        and one.shape == other.shape
        and np.abs(one - other).max() <= 2
    )


def read_picture(data: str) -> tuple[tuple, set[bytes], np.ndarray]:
    """Return a base64 image's kind, what else changes its look, and pixels [height, width, 4]."""
    file = base64.b64decode("".join(data.split()), validate=True)
    image = Image.open(io.BytesIO(file))
    kind = image.format, image.mode.startswith("I")
    return kind, seen_chunks(file), np.asarray(image.convert("RGBA"), int)


def seen_chunks(file: bytes) -> set[bytes]:
    """Return the chunks of a PNG, beside those of its pixels, that may change how it is seen."""
    found, at = set(), 8
    while kind := file[at + 4 : at + 8]:  # of each: length, kind, content, checksum
        end = at + 12 + int.from_bytes(file[at : at + 4])
        if kind not in ENCODED:
            found.add(file[at:end])
        at = end
    return found

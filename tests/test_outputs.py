import base64
import copy
import io
import time
import tracemalloc
import zlib

import pytest
from PIL import Image, ImageDraw

from tests.outputs import merge_streams, output_differences, same_picture


def png(image=None, **options):
    """Return a picture as a notebook stores it, with a resolution as matplotlib writes it."""
    file = io.BytesIO()
    (image or PICTURE).save(file, "png", **{"dpi": (72, 72), **options})
    return base64.b64encode(file.getvalue()).decode()


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def with_chunk(kind, content, in_front_of=b"IDAT"):
    """Return the picture with another chunk."""
    before, mark, after = base64.b64decode(png()).partition(in_front_of)
    chunk = len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)
    return base64.b64encode(before[:-4] + chunk + before[-4:] + mark + after).decode()


def repeated(kind, picture):
    """Return a picture in which the first chunk of a kind is there twice."""
    file = base64.b64decode(picture)
    at = file.index(kind) - 4
    end = at + 12 + int.from_bytes(file[at : at + 4])
    return base64.b64encode(file[:end] + file[at:]).decode()


def with_gamma_behind_a_comment():
    """Return the picture with a chunk behind one that holds the name of the pixels' chunk."""
    comment = base64.b64decode(with_chunk(b"tEXt", b"IDAT"))
    gamma = base64.b64decode(with_chunk(b"gAMA", (10).to_bytes(4)))
    at, end = comment.rindex(b"IDAT"), gamma.index(b"IDAT")
    start = gamma.index(b"gAMA")
    file = comment[: at - 4] + gamma[start - 4 : end - 4] + comment[at - 4 :]
    return base64.b64encode(file).decode()


def drawn(box, fill):
    image = PICTURE.copy()
    ImageDraw.Draw(image).rectangle(box, fill=fill)
    return image


PICTURE = Image.new("RGBA", (70, 50), "white")
FIGURE = {
    "output_type": "display_data",
    "metadata": {"image/png": {"alt": "a line"}},
    "data": {
        "image/png": png(),
        "image/svg+xml": "<svg>\n</svg>\n",
        "application/pdf": "JVBERi0x",
        "text/plain": "a line",
    },
}
RESULT = {
    "output_type": "execute_result",
    "execution_count": 1,
    "metadata": {},
    "data": {"text/markdown": "**Answer.** 0.97", "text/plain": "<Markdown>"},
}
OUTPUTS = [stream("agree: True\n"), FIGURE, RESULT]
TEXT, FIG, RES = range(3)


def data(number, mime, content):
    return lambda outputs: outputs[number]["data"].update({mime: content})


def text(content):
    return lambda outputs: outputs[TEXT].update(text=content)


PICTURE_DIFFERS = "image/png shows another picture"
TAMPERINGS = {
    # texts
    "stream digit": (text("agree: true\n"), "text line 1 is 'agree: true"),
    "stream hidden by a carriage return": (text("no\ragree: True\n"), "text line 1 is 'no"),
    "stream hidden by backspaces": (text("x\bagree: True\n"), "text line 1 is 'x"),
    "stream hidden by an escape": (text("\x1b[8magree: True\n"), "text line 1 is '\\x1b"),
    "stream with a trailing space": (text("agree: True \n"), "text line 1 is 'agree: True "),
    "stream with another line": (text("agree: True\n97\n"), "line 2 is '97\\n', rerun: ''"),
    "stream renamed": (lambda o: o[TEXT].update(name="stderr"), "is stream stderr, rerun"),
    "result": (data(RES, "text/markdown", "**Answer.** 0.98"), "text/markdown line 1 is"),
    "result in plain text": (data(RES, "text/plain", "0.98"), "text/plain line 1 is '0.98'"),
    "result with a leading line": (data(RES, "text/markdown", "\n**Answer.** 0.97"), "line 1"),
    "result with HTML": (data(RES, "text/html", "<b>"), "is execute_result text/html text/m"),
    "result with a picture": (data(RES, "image/png", png()), "is execute_result image/png"),
    "result as display": (lambda o: o[RES].update(output_type="display_data"), "is display_data"),
    # pictures
    "svg": (data(FIG, "image/svg+xml", "<svg>97\n</svg>\n"), "image/svg+xml line 1 is '<svg>97"),
    "svg with a line": (data(FIG, "image/svg+xml", "<svg>\n</svg>\n\n"), "svg+xml line 3 is"),
    "svg removed": (lambda o: o[FIG]["data"].pop("image/svg+xml"), "is display_data application"),
    "pdf": (data(FIG, "application/pdf", "JVBERi0y"), "application/pdf line 1 is"),
    "png removed": (lambda o: o[FIG]["data"].pop("image/png"), "pdf image/svg+xml text/plain, r"),
    "png that is none": (data(FIG, "image/png", "AAAA"), PICTURE_DIFFERS),
    "png not in base64": (data(FIG, "image/png", "!" + png(compress_level=1)), PICTURE_DIFFERS),
    "png edited": (data(FIG, "image/png", png(drawn([9, 9, 9, 9], "red"))), PICTURE_DIFFERS),
    "png edited, paler": (data(FIG, "image/png", png(drawn([9, 9, 9, 9], "#fcfcfc"))), "another"),
    "png transparent": (data(FIG, "image/png", png(drawn([0, 0, 99, 99], "#fff0"))), "another"),
    "png larger": (data(FIG, "image/png", png(PICTURE.resize((140, 100)))), PICTURE_DIFFERS),
    "png one pixel wide": (data(FIG, "image/png", png(PICTURE.resize((1, 50)))), PICTURE_DIFFERS),
    "png in 16 bits": (data(FIG, "image/png", png(PICTURE.convert("I;16"))), PICTURE_DIFFERS),
    "png animated": (
        data(FIG, "image/png", png(save_all=True, append_images=[drawn([0, 0, 70, 50], "red")])),
        PICTURE_DIFFERS,
    ),
    "png of another format": (
        lambda o: o[FIG]["data"].update({"image/png": picture_as("tiff")}),
        PICTURE_DIFFERS,
    ),
    "png that is a bitmap": (
        lambda o: o[FIG]["data"].update({"image/png": picture_as("bmp")}),
        PICTURE_DIFFERS,
    ),
    "png with gamma": (
        data(FIG, "image/png", with_chunk(b"gAMA", (10).to_bytes(4))),
        PICTURE_DIFFERS,
    ),
    "png with hidden gamma": (data(FIG, "image/png", with_gamma_behind_a_comment()), "another"),
    "png rotated": (
        data(
            FIG, "image/png", with_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01")
        ),
        PICTURE_DIFFERS,
    ),
    "png of another resolution": (data(FIG, "image/png", png(dpi=(9000, 9000))), PICTURE_DIFFERS),
    "png with an unknown chunk": (data(FIG, "image/png", with_chunk(b"anYt", b"97")), "another"),
    "png with a chunk behind": (
        data(FIG, "image/png", with_chunk(b"gAMA", (10).to_bytes(4), in_front_of=b"IEND")),
        PICTURE_DIFFERS,
    ),
    "png with more behind": (
        data(FIG, "image/png", base64.b64encode(base64.b64decode(png()) + b"x").decode()),
        PICTURE_DIFFERS,
    ),
    "png with two heads": (data(FIG, "image/png", repeated(b"IHDR", png())), PICTURE_DIFFERS),
    "png with two transparencies": (
        data(FIG, "image/png", repeated(b"tRNS", png(PICTURE.convert("P"), transparency=3))),
        PICTURE_DIFFERS,
    ),
    # order, additions, removals, metadata
    "order": (lambda o: o.reverse(), "output 1 is execute_result text/markdown"),
    "removed": (
        lambda o: o.pop(),
        "output 3 (execute_result text/markdown text/plain) is in",
    ),
    "all removed": (lambda o: o.clear(), "output 1 (stream stdout) is in the rerun only"),
    "repeated": (lambda o: o.append(o[FIG]), "output 4 (display_data application/pdf"),
    "added": (lambda o: o.append(stream("passed")), "(stream stdout) is in the stored notebook o"),
    "added, empty": (
        lambda o: o.append({"output_type": "display_data", "data": {}, "metadata": {}}),
        "output 4 (display_data) is in the stored notebook only",
    ),
    "added, with a stream's name": (
        lambda o: o.append({**RESULT, "name": "x", "text": ""}),
        "output 4 (execute_result text/markdown text/plain) is in the stored notebook only",
    ),
    "isolated": (lambda o: o[RES]["metadata"].update(isolated=True), "is {'isolated': True}, r"),
    "width": (lambda o: o[FIG]["metadata"]["image/png"].update(width=1), "metadata is {'image"),
    "alt": (lambda o: o[FIG]["metadata"]["image/png"].update(alt="97"), "'alt': '97'}}, rerun"),
    "alt removed": (lambda o: o[FIG]["metadata"].clear(), "metadata is {}, rerun"),
}


def picture_as(kind, image=None):
    file = io.BytesIO()
    (image or PICTURE).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampered_output_is_named(name):
    tamper, words = TAMPERINGS[name]
    stored = copy.deepcopy(OUTPUTS)
    tamper(stored)
    assert words in "\n".join(output_differences(stored, OUTPUTS))


def test_equal_outputs_have_no_differences():
    assert output_differences(copy.deepcopy(OUTPUTS), OUTPUTS) == []


def test_streams_may_be_split_elsewhere():
    parts = [stream("agr"), stream("ee: "), stream("True\n")]
    assert (
        output_differences([*parts, FIGURE, *parts], [OUTPUTS[TEXT], FIGURE, OUTPUTS[TEXT]]) == []
    )


@pytest.mark.parametrize(
    "same",
    [
        png(compress_level=1),
        png().rstrip() + "\n",
        png(PICTURE.convert("RGB")),
        png(PICTURE.convert("P")),
        png(drawn([9, 9, 9, 9], "#fdfdfd")),
        with_chunk(b"tEXt", b"Software\0another"),
        png(dpi=None),
    ],
)
def test_picture_may_be_encoded_and_rounded_otherwise(same):
    assert same_picture(same, png())


def test_only_pngs_are_decoded(monkeypatch):
    opened = []
    monkeypatch.setattr(
        "PIL.Image.open", lambda *_, **options: opened.append(options.get("formats"))
    )
    postscript = base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n").decode()
    for other in (picture_as("gif"), picture_as("jpeg", PICTURE.convert("RGB")), postscript):
        assert not same_picture(other, png())
    assert set(opened) <= {("PNG",)}


@pytest.mark.parametrize("chunk", [b"PLTE", b"tRNS"])
def test_palette_and_transparency_may_be_there_once(chunk):
    picture = png(PICTURE.convert("P"), transparency=3)
    assert chunk in base64.b64decode(picture)
    assert same_picture(picture, png(PICTURE.convert("P"), transparency=3, compress_level=1))


def test_pictures_of_one_bit_are_compared_as_seen():
    bits = PICTURE.convert("1")
    assert same_picture(png(bits, compress_level=1), png(bits))


def test_large_pictures_cost_little():
    large = [png(Image.new("RGB", (4400, 4400)), compress_level=level) for level in (1, 9)]
    tracemalloc.start()
    assert same_picture(*large)
    assert tracemalloc.get_traced_memory()[1] < 10**7  # NumPy's arrays are counted
    tracemalloc.stop()


def test_pictures_too_large_to_compare_differ(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000_000)  # as for hand-ins
    assert not same_picture(*(png(Image.new("L", (5000, 5000)), compress_level=n) for n in (1, 9)))


def test_gifs_that_look_like_pngs_differ():
    def disguised(**options):
        file = io.BytesIO()
        PICTURE.save(file, "gif", **options)
        content = file.getvalue()
        return base64.b64encode(content[:12] + b"IDAT" + content[16:]).decode()

    film = disguised(save_all=True, append_images=[drawn([9, 9, 30, 30], "red")])
    assert not same_picture(film, disguised())


def test_many_pieces_of_a_stream_are_joined_at_once():
    pieces = [stream("x" * 200) for _ in range(20_000)]
    start = time.process_time()
    assert len(merge_streams(pieces)) == 1
    assert time.process_time() - start < 1


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_other_kinds_of_pictures_differ_as_pictures(kind):
    def shown(picture):
        data = {f"image/{kind}": picture_as(kind, picture)}
        return [{"output_type": "display_data", "data": data, "metadata": {}}]

    said = output_differences(shown(PICTURE), shown(drawn([9, 9, 30, 30], "red")))
    assert said == [f"output 1: image/{kind} shows another picture"]


def test_what_is_no_picture_may_be_the_same():
    assert same_picture("AAAA", "AAAA")


@pytest.mark.parametrize(
    ("stored", "rerun", "message"),
    [
        ([stream("a\nb\n")], [stream("a\nc\n")], r"output 1: text line 2 is 'b\n', rerun: 'c\n'"),
        ([stream("x" * 99)], [stream("x" * 98 + "y")], f"'{'x' * 31}', rerun: '{'x' * 30}y'"),
        ([stream("xy" + "z" * 99)], [stream("xx")], f"line 1 is 'xy{'z' * 49}', rerun: 'xx'"),
        ([stream("x" * 99 + "y")], [stream("x" * 99)], f"'{'x' * 30}y', rerun: '{'x' * 30}'"),
        ([stream("a")], [], "output 1 (stream stdout) is in the stored notebook only"),
        ([], [stream("a")], "output 1 (stream stdout) is in the rerun only"),
        ([stream("a")], [stream("a", "stderr")], "is stream stdout, rerun: stream stderr"),
        ([stream("a"), stream("b", "stderr")], [stream("ab")], "rerun: 'ab'"),
        ([stream("a"), FIGURE, stream("b")], [stream("ab"), FIGURE], "is 'a', rerun: 'ab'"),
    ],
)
def test_message_says_what_differs_and_where(stored, rerun, message):
    assert message in output_differences(stored, rerun)[0]


@pytest.mark.parametrize("number", [TEXT, FIG])
def test_lines_may_end_as_those_of_windows(number):
    stored = copy.deepcopy(OUTPUTS)
    parts = stored[number] if number == TEXT else stored[number]["data"]
    parts.update({k: v.replace("\n", "\r\n") for k, v in parts.items() if isinstance(v, str)})
    assert stored != OUTPUTS
    assert output_differences(stored, OUTPUTS) == []


@pytest.mark.parametrize("found", [{"tags": []}, {"scrolled": False, "needs_background": "light"}])
def test_an_editor_s_bookkeeping_is_no_difference(found):
    stored = copy.deepcopy(OUTPUTS)
    for output in stored[FIG:]:
        output["metadata"].update(found)
    assert output_differences([stream(""), *stored, stream("", "stderr")], OUTPUTS) == []


@pytest.mark.parametrize(
    "found", [{"tags": ["a"]}, {"scrolled": True}, {"needs_background": "dark"}, {"a": None}]
)
def test_what_may_hide_is_no_bookkeeping(found):
    stored = copy.deepcopy(OUTPUTS)
    stored[RES]["metadata"].update(found)
    (problem,) = output_differences(stored, OUTPUTS)
    assert problem == f"output 3: metadata is {found}, rerun: {{}}"

import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.figure import Figure

import utils
from utils import (
    DATA,
    batch_loader,
    load_full_mnist,
    load_unseen_mnist,
    plot_confusion,
    plot_images,
    plot_layers,
    plot_runs,
    plot_sweep,
    progress,
    read_idx,
    read_split,
    set_plain_log,
    table,
)


def idx(values):
    header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
CONTENT = idx(IMAGES)
DIGEST = sha256(CONTENT)
COMPRESSED = gzip.compress(CONTENT, mtime=0)


@pytest.fixture
def read_bytes(tmp_path):
    def read(file_content, digest=DIGEST):
        path = tmp_path / "images.gz"
        path.write_bytes(file_content)
        return read_idx(path, IMAGES.shape, digest)

    return read


# ---- the files


def test_read_idx_returns_the_bytes_in_order(read_bytes):
    read = read_bytes(COMPRESSED)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, IMAGES)


@given(arrays(np.uint8, array_shapes(max_dims=4, max_side=5)))
def test_read_idx_inverts_the_format(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "any.gz"
    path.write_bytes(gzip.compress(idx(values)))
    np.testing.assert_array_equal(read_idx(path, values.shape, sha256(idx(values))), values)
    path.unlink()


def corrupted(rng, content):
    # flipped, replaced, removed, inserted or repeated bytes, or only a part of them
    content = bytearray(content)
    start, stop = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    near = min(stop, start + 4)
    match rng.integers(7):
        case 0:
            content[min(start, len(content) - 1)] ^= 1 << int(rng.integers(8))
        case 1:
            content[start:near] = rng.bytes(near - start)
        case 2:
            del content[start:near]
        case 3:
            content[start:start] = rng.bytes(int(rng.integers(1, 5)))
        case 4:
            content[start:start] = content[start:stop]
        case 5:
            del content[start:]
        case 6:
            content += rng.bytes(int(rng.integers(1, 5)))
    return bytes(content)


@pytest.mark.parametrize("level", ["file", "content"])
def test_no_corrupted_file_is_accepted_or_crashes(tmp_path, level):
    rng, path = np.random.default_rng(1), tmp_path / "images.gz"
    messages = []
    for _ in range(5_000):
        content = corrupted(rng, CONTENT) if level == "content" else CONTENT
        packed = gzip.compress(content, 1, mtime=0)
        path.write_bytes(corrupted(rng, packed) if level == "file" else packed)
        try:
            read = read_idx(path, IMAGES.shape, DIGEST)
        except ValueError as error:
            messages.append(str(error))
        else:  # gzip's own header has bytes without meaning, such as the time of compression
            np.testing.assert_array_equal(read, IMAGES)
            assert level == "file" or content == CONTENT
        path.unlink()  # overwriting it instead would wait for the disk
    assert len(messages) > 4_000
    assert all(str(path) in message and "git checkout" in message for message in messages)


def test_read_idx_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.gz is missing.*git checkout"):
        read_idx(tmp_path / "absent.gz", (1,), "")


@pytest.mark.parametrize(
    "file_content",
    [b"", CONTENT, b"not gzip", COMPRESSED[:-1], COMPRESSED[:-9], COMPRESSED[:20], COMPRESSED[:1]],
)
def test_read_idx_rejects_what_is_not_a_whole_gzip_file(read_bytes, file_content):
    with pytest.raises(ValueError, match=r"images\.gz.*git checkout"):
        read_bytes(file_content)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (CONTENT[:2] + b"\x0d" + CONTENT[3:], "00000d03.*00000803"),  # floats
        (CONTENT[:3] + b"\x01" + CONTENT[4:], "00000801.*00000803"),  # labels
        (idx(IMAGES.reshape(5, 3, 4)), "00000003.*00000004"),
        (idx(IMAGES[:4]), "IDX header"),
        (CONTENT[:-1], "75 bytes, expected 76"),
        (CONTENT + b"\0", "more than 76 bytes, expected 76"),
        (CONTENT[:5], "IDX header"),
        (CONTENT[:-1] + b"\x01", "SHA-256"),
    ],
)
def test_read_idx_says_what_is_wrong_with_the_content(read_bytes, content, named):
    with pytest.raises(ValueError, match=rf"(?s)images\.gz.*{named}.*git checkout"):
        read_bytes(gzip.compress(content))


def test_read_idx_names_both_digests(read_bytes):
    with pytest.raises(ValueError, match=f"{DIGEST}, expected {'0' * 64}"):
        read_bytes(COMPRESSED, digest="0" * 64)


def test_read_split_flattens_row_by_row(tmp_path, monkeypatch):
    for name, values in [
        ("train-images-idx3-ubyte", IMAGES),
        ("train-labels-idx1-ubyte", IMAGES[:, 0, 0]),
    ]:
        monkeypatch.setitem(utils.MNIST_FILES, name, (values.shape, sha256(idx(values))))
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
    X, Y = read_split("train", tmp_path)
    assert X.tolist() == [[pixel for row in image for pixel in row] for image in IMAGES.tolist()]
    assert Y.tolist() == [[image[0][0]] for image in IMAGES.tolist()]


def test_loader_prints_the_shapes(loading):
    assert loading[1].splitlines() == [
        "Train shape: X: (20000, 784), Y: (20000, 1)",
        "Validation shape: X: (10000, 784), Y: (10000, 1)",
    ]


def test_loader_returns_bytes(mnist):
    assert [array.dtype for array in mnist] == [np.uint8] * 4
    assert [array.shape for array in mnist] == [(20000, 784), (20000, 1), (10000, 784), (10000, 1)]


# counted and hashed by a reader of its own (struct and a loop over bytes)
def test_labels_are_the_first_20000_and_all_of_the_test_set(mnist):
    train = [1994, 2281, 1929, 2076, 1945, 1775, 1971, 2093, 1922, 2014]
    val = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(mnist[1].ravel()).tolist() == train
    assert np.bincount(mnist[3].ravel()).tolist() == val


@pytest.mark.parametrize(
    ("index", "digest"),
    [
        (0, "0256de32dd5050b8dd6e2b05e1ae765ddfc4e4b1ee926076b40746b1fa882e29"),
        (1, "144ad3b0173ca5c3576c18ce96a30122a116dac67293af6b88c4f037dea66eb3"),
        (2, "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"),
        (3, "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"),
    ],
)
def test_loader_keeps_every_byte_in_order(mnist, index, digest):
    assert sha256(np.ascontiguousarray(mnist[index])) == digest


@pytest.mark.parametrize("split", ["train", "t10k"])
def test_labels_are_those_in_the_file(mnist, split):
    content = gzip.decompress((DATA / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    magic, count = struct.unpack(">II", content[:8])
    labels = mnist[1] if split == "train" else mnist[3]
    assert (magic, count) == (2049, len(content) - 8)
    assert labels.ravel().tolist() == list(content[8 : 8 + len(labels)])


def test_loader_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"idx\d-ubyte\.gz is missing"):
        load_full_mnist(tmp_path)


def test_train_labels_are_not_taken_for_test_labels(tmp_path):
    labels = (DATA / "train-labels-idx1-ubyte.gz").read_bytes()
    for name in utils.MNIST_FILES:
        (tmp_path / f"{name}.gz").write_bytes(labels)
    with pytest.raises(ValueError, match="IDX header"):
        read_split("t10k", tmp_path)


# ---- batches


def numbered(count):
    X = np.arange(3 * count).reshape(count, 3)
    return X, 10 * X[:, :1]


sizes = st.integers(1, 40).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count)))


@given(sizes, st.none() | st.integers(0, 2**32))
def test_batches_hold_each_example_once(count_and_size, seed):
    count, size = count_and_size
    rng = None if seed is None else np.random.default_rng(seed)
    X, _ = numbered(count)
    visited = np.concatenate([x[:, 0] // 3 for x, _ in batch_loader(*numbered(count), size, rng)])
    assert sorted(visited) == list(range(count))
    assert X.shape == (count, 3)


@given(sizes, st.none() | st.integers(0, 2**32))
def test_batches_keep_inputs_and_labels_together(count_and_size, seed):
    count, size = count_and_size
    rng = None if seed is None else np.random.default_rng(seed)
    for x, y in batch_loader(*numbered(count), size, rng):
        np.testing.assert_array_equal(10 * x[:, :1], y)


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(12, 4, [4, 4, 4]), (10, 4, [4, 4, 2]), (9, 4, [4, 4, 1]), (3, 3, [3]), (2, 1, [1, 1])],
)
@pytest.mark.parametrize("seed", [None, 0])
def test_only_the_last_batch_is_smaller(count, size, expected, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    assert [len(x) for x, _ in batch_loader(*numbered(count), size, rng)] == expected


def test_batches_are_in_order_without_a_generator():
    X, Y = numbered(10)
    batches = list(batch_loader(X, Y, 4))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), X)
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), Y)


def epoch(rng, count=12, size=4):
    return np.concatenate([y.ravel() // 30 for _, y in batch_loader(*numbered(count), size, rng)])


def test_equal_seeds_give_equal_orders_and_different_seeds_different_ones():
    first, again, other = (epoch(np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_each_epoch_draws_a_new_order():
    rng = np.random.default_rng(0)
    assert len({tuple(epoch(rng)) for _ in range(20)}) == 20


def test_every_example_comes_at_every_place_equally_often():
    # 6 places x 6 examples, 100 expected in each, standard deviation 9
    rng, counts = np.random.default_rng(0), np.zeros((6, 6))
    for _ in range(600):
        counts[np.arange(6), epoch(rng, 6, 2)] += 1
    assert np.abs(counts - 100).max() < 45


def test_shuffling_mixes_the_batches():
    # not only the order of the batches, nor only that within each of them
    rng = np.random.default_rng(0)
    together = {frozenset(epoch(rng, 6, 2)[:2].tolist()) for _ in range(300)}
    assert len(together) == 15


def test_batches_neither_read_nor_change_the_global_random_state():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = epoch(np.random.default_rng(0)).tolist()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert epoch(np.random.default_rng(0)).tolist() == first


def test_batches_leave_the_data_unchanged():
    X, Y = numbered(10)
    for _ in batch_loader(X, Y, 3, np.random.default_rng(0)):
        pass
    np.testing.assert_array_equal(X, numbered(10)[0])
    np.testing.assert_array_equal(Y, numbered(10)[1])


@pytest.mark.parametrize("size", [0, -1, 11])
def test_batch_size_must_be_from_1_to_the_number_of_examples(size):
    with pytest.raises(ValueError, match=f"batch_size is {size}, expected 1 to 10"):
        list(batch_loader(*numbered(10), size))


@pytest.mark.parametrize("labels", [9, 11, 1, 0])
def test_every_input_needs_a_label(labels):
    with pytest.raises(ValueError, match=f"10 inputs but {labels} labels, expected one"):
        list(batch_loader(numbered(10)[0], np.zeros((labels, 1)), 2))


# ---- what is shown


def test_progress_leaves_nothing_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(utils, "tqdm", partial(utils.tqdm, mininterval=0))
    with progress("networks", 9) as show:
        show(1, loss=0.5)
        show(3, loss=0.25)
    shown = capsys.readouterr()
    assert re.search("networks.* 0/9 .* 1/9 .*loss=0.5.* 3/9 .*loss=0.25", shown.err)
    assert shown.out == ""
    assert shown.err.rpartition("\r")[2].strip() == ""
    assert max(map(len, shown.err.split("\r"))) == 100


def test_progress_starts_and_ends_empty_in_a_notebook(monkeypatch):
    shown = []

    def display(data, raw, display_id):
        assert raw
        assert display_id
        shown.append(data)
        return SimpleNamespace(update=lambda data, raw: shown.append(data if raw else None))

    monkeypatch.setattr(utils, "get_ipython", lambda: SimpleNamespace(kernel=None))
    monkeypatch.setattr(utils, "display", display)
    with progress("a<b", 1) as show:
        for done in range(1000):
            show(done / 1000)
    assert len(shown) < 100  # drawn ten times a second, not each time
    texts = [data["text/html"] for data in shown]
    assert texts[0] == texts[-1] == ""
    assert any(text.startswith("<pre>a&lt;b") for text in texts)


def test_table_aligns_numbers():
    lines = table(["network", "loss"], [["a", 1], ["b", 0.5]]).data.splitlines()
    assert lines == ["| network | loss |", "| --- | ----: |", "| a | 1 |", "| b | 0.5 |"]


def test_columns_of_numbers_are_as_wide_as_these_and_text_half_as_wide():
    assert "| ---- | -----: |" in table(["", "n"], [["eight___", 12345]]).data


def test_the_narrowest_columns_have_the_dashes_that_markdown_asks_for():
    assert "| --- | --: |" in table(["", "n"], [["a", 1]]).data


def test_a_row_of_another_length_is_no_table():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        table(["network", "loss"], [["a"]])


# ---- figures


def test_a_slow_first_import_of_matplotlib_says_nothing(tmp_path):
    impatient = (
        "import threading\n"
        "class Timer(threading.Timer):\n"
        "    def __init__(self, seconds, *rest): super().__init__(0, *rest)\n"
        "threading.Timer = Timer\n"
        "import utils"
    )
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", impatient],
        cwd=Path(utils.__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert list(tmp_path.glob("fontlist*"))  # there was none before


def a_run(name, steps, *measures):
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    history = dict(zip(names, map(np.array, measures), strict=True))
    return SimpleNamespace(
        experiment=SimpleNamespace(label=f"{name} [4, 3]", line=("black", "--")),
        history=SimpleNamespace(steps=np.array(steps), **history),
    )


RUNS = {
    "a": [
        a_run("a", [5, 10, 15], [3, 2, 1.0], [0.1, 0.2, 0.3], [4, 3, 2.0], [0.4, 0.5, 0.6]),
        a_run("a", [5, 10], [1, 1.0], [0.3, 0.4], [2, 2.0], [0.6, 0.9]),
        a_run("a", [5, 10], [2, 1.5], [0.2, 0.3], [3.6, 2.5], [0.5, 0.7]),
    ],
    "b": [a_run("b", [5], [7.0], [0.8], [9.0], [0.7])],
}


@pytest.mark.parametrize(
    ("panel", "mean"),
    [(0, [2, 1.5]), (1, [3.2, 2.5]), (2, [0.2, 0.3]), (3, [0.5, 0.7])],
    ids=["training loss", "validation loss", "training accuracy", "validation accuracy"],
)
def test_curves_are_the_mean_over_the_seeds_up_to_the_first_stop(panel, mean):
    line = plot_runs(RUNS).axes[panel].lines[0]
    assert line.get_xdata().tolist() == [5, 10]
    np.testing.assert_allclose(line.get_ydata(), mean, rtol=1e-6)


def test_the_band_is_the_range_over_the_seeds():
    (band,) = plot_runs(RUNS, "a").axes[1].collections
    corners = band.get_paths()[0].vertices.tolist()
    assert all(corner in corners for corner in ([5, 2], [5, 4], [10, 2], [10, 3]))


def test_the_band_is_there_for_two_seeds_and_not_for_one():
    bands = [len(plot_runs({"a": RUNS["a"][:seeds]}).axes[1].collections) for seeds in (1, 2)]
    assert bands == [0, 1]


@pytest.mark.parametrize(("validations", "every"), [(1, 1), (15, 1), (20, 2), (110, 11)])
def test_marks_stand_about_ten_times_on_a_line(validations, every):
    values = np.ones(validations)
    run = a_run("a", range(validations), values, values, values, values)
    line = plot_runs({"a": [run]}).axes[0].lines[0]
    assert (line.get_markevery(), line.get_markersize()) == (every, 3)
    assert isinstance(line.get_markevery(), int)  # another number is a distance


def test_the_legend_names_the_topology_of_every_run_shown():
    def legend(*names):
        return [text.get_text() for text in plot_runs(RUNS, *names).legends[0].get_texts()]

    assert legend() == ["a [4, 3]", "b [4, 3]"]
    assert legend("b") == ["b [4, 3]"]


def test_curves_have_titles_axes_and_units():
    axes = plot_runs(RUNS).axes
    assert [ax.get_title() for ax in axes[:2]] == ["training", "validation"]
    assert "cross entropy" in axes[0].get_ylabel()
    assert "nats" in axes[0].get_ylabel()
    assert axes[2].get_ylabel() == "accuracy"
    assert [ax.get_xlabel() for ax in axes[2:]] == ["gradient steps"] * 2


def test_layers_are_numbered_from_one():
    panels = {"first": {"0 steps": [1, 2, 3], "9 steps": [4, 5, 6]}, "second": {"0 steps": [7, 8]}}
    figure = plot_layers(panels, "a statistic", "linear")
    first, second = figure.axes
    assert [line.get_xydata().tolist() for line in first.lines] == [
        [[1, 1], [2, 2], [3, 3]],
        [[1, 4], [2, 5], [3, 6]],
    ]
    assert second.lines[0].get_xydata().tolist() == [[1, 7], [2, 8]]
    assert [ax.get_title() for ax in figure.axes] == ["first", "second"]
    assert (first.get_xlabel(), first.get_ylabel()) == ("layer", "a statistic")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0 steps", "9 steps"]


def test_a_sweep_has_a_line_for_each_loss():
    losses = {4: {"training": 0.5, "validation": 0.7}, 8: {"training": 0.25, "validation": 0.6}}
    (ax,) = plot_sweep(losses, ["validation", "training"], "units").axes
    assert [line.get_label() for line in ax.lines] == ["validation", "training"]
    assert [line.get_xydata().tolist() for line in ax.lines] == [
        [[4, 0.7], [8, 0.6]],
        [[4, 0.5], [8, 0.25]],
    ]
    assert ax.get_xlabel() == "units"


def test_a_confusion_matrix_shades_the_errors_only():
    counts = np.array([[90, 2], [5, 70]])
    (ax,) = plot_confusion(counts).axes
    assert ax.collections[0].get_array().tolist() == [[0, 2], [5, 0]]
    assert [text.get_text() for text in ax.texts] == ["90", "2", "5", "70"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ax.yaxis_inverted()


@pytest.mark.parametrize(("count", "rows"), [(8, 1), (9, 2)])
def test_images_stand_in_rows_of_eight(count, rows):
    figure = plot_images(np.zeros((count, 784)), [f"image {n}" for n in range(count)])
    assert len(figure.axes) == 8 * rows
    assert sum(bool(ax.get_title()) for ax in figure.axes) == count


@pytest.mark.parametrize(("lowest", "limits"), [(-3.0, (-3, 3)), (-0.5, (-2, 2)), (0.0, (0, 2))])
def test_black_is_zero_and_grey_is_where_values_are_negative(lowest, limits):
    (image,) = plot_images(np.array([[lowest, 2.0] * 392]), ["image"]).axes[0].images
    assert image.get_clim() == limits


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.255, 1.245, [0.3, 0.5, 0.7, 1]),
        (1, 19.5, [1, 1.5, 2, 3, 5, 7, 10, 15]),
        (1, 20, [1, 2, 5, 10, 20]),
        (0.002, 2, [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]),
    ],
)
def test_a_logarithmic_axis_has_ticks_enough_and_not_too_many(low, high, ticks):
    ax = Figure().subplots()
    ax.set_ylim(low, high)
    set_plain_log(ax)
    shown = [round(tick, 9) for tick in ax.get_yticks() if low <= round(tick, 9) <= high]
    assert shown == ticks


def test_a_figure_is_shown_as_the_same_pictures_each_time_with_its_text(monkeypatch):
    shown = []
    monkeypatch.setattr(utils, "display", lambda data, **_: shown.append(data))
    for _ in range(2):
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([1, 2])
        utils.show(figure, "one line")
    assert shown[0] == shown[1]
    assert shown[0]["text/plain"] == "one line"
    assert shown[0]["image/svg+xml"].startswith("<?xml")
    assert shown[0]["image/png"].startswith(b"\x89PNG")
    assert shown[0]["application/pdf"].startswith(b"%PDF")


def test_a_picture_of_pixels_is_shown_as_such_only(monkeypatch):
    shown = []
    monkeypatch.setattr(utils, "display", lambda data, **_: shown.append(data))
    utils.show(Figure(figsize=(1, 1)), "grey", vector=False)
    assert shown[0].keys() == {"image/png", "text/plain"}


@pytest.mark.parametrize("end", [-np.inf, np.inf])
def test_the_last_bit_of_a_logarithm_does_not_show_in_a_figure(monkeypatch, end):
    shown, exact = [], np.log10
    monkeypatch.setattr(utils, "display", lambda data, **_: shown.append(data["image/svg+xml"]))
    for log10 in (exact, lambda *values, **options: np.nextafter(exact(*values, **options), end)):
        monkeypatch.setattr(np, "log10", log10)
        utils.show(plot_runs(RUNS), "two networks")
    assert shown[0] == shown[1]


# ---- the images that the assignment leaves out


def test_unseen_images_are_those_after_the_training_set(tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "NUM_TRAIN", 2)
    for name in utils.MNIST_FILES:
        values = IMAGES if "images" in name else IMAGES[:, 0, 0]
        monkeypatch.setitem(utils.MNIST_FILES, name, (values.shape, sha256(idx(values))))
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
    X_train, Y_train, _, _ = load_full_mnist(tmp_path)
    X, Y = load_unseen_mnist(tmp_path)
    np.testing.assert_array_equal(np.vstack([X_train, X]), IMAGES.reshape(5, -1))
    np.testing.assert_array_equal(np.vstack([Y_train, Y]), IMAGES[:, :1, 0])
    assert len(X_train) == 2

import gzip
import hashlib
import os
import re
import runpy
import struct
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import IPython
import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from nbclient import NotebookClient
from threadpoolctl import threadpool_limits

import task2a
import utils
from utils import (
    DATA,
    batch_loader,
    load_full_mnist,
    load_unseen_mnist,
    progress,
    read_idx,
    read_split,
    small_matrices,
)

ROOT = DATA.parent


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
        return read_idx(path, digest)

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
    np.testing.assert_array_equal(read_idx(path, sha256(idx(values))), values)
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
            read = read_idx(path, DIGEST)
        except ValueError as error:
            messages.append(str(error))
        else:  # gzip's own header has bytes without meaning, such as the time of compression
            np.testing.assert_array_equal(read, IMAGES)
            assert level == "file" or content == CONTENT
        path.unlink()  # overwriting it instead would wait for the disk
    assert len(messages) > 4_000
    assert all(str(path) in message and "git checkout" in message for message in messages)


ABSENT = None
found_instead = pytest.mark.parametrize(
    ("file_content", "found"),
    [
        (ABSENT, "FileNotFoundError"),
        (b"", f"SHA-256 {sha256(b'')}"),
        (CONTENT, "BadGzipFile"),
        (b"not gzip", "BadGzipFile"),
        (COMPRESSED[:1], "BadGzipFile|EOFError"),
        (COMPRESSED[:20], "EOFError"),
        (COMPRESSED[:-9], "EOFError"),
        (COMPRESSED[:-1], "EOFError"),
        (COMPRESSED[:-8] + bytes(8), "BadGzipFile.*CRC"),
        (COMPRESSED[:10] + b"\xff" * 9, "error.*invalid"),
        (gzip.compress(CONTENT[:-1]), f"SHA-256 {sha256(CONTENT[:-1])}"),
        (gzip.compress(CONTENT + b"\0"), f"SHA-256 {sha256(CONTENT + bytes(1))}"),
        (gzip.compress(idx(IMAGES.reshape(5, 3, 4))), r"SHA-256 \w{64}"),
    ],
)


@found_instead
def test_read_idx_names_file_what_was_found_and_expected_and_the_remedy(
    tmp_path, file_content, found
):
    path = tmp_path / "images.gz"
    if file_content is not ABSENT:
        path.write_bytes(file_content)
    named = rf"images\.gz: found ({found}).*, expected .*SHA-256 {DIGEST}: .*git checkout -- data"
    with pytest.raises(ValueError, match=named):
        read_idx(path, DIGEST)


def test_read_idx_names_both_digests(read_bytes):
    with pytest.raises(ValueError, match=f"SHA-256 {DIGEST}, expected .* SHA-256 {'0' * 64}"):
        read_bytes(COMPRESSED, digest="0" * 64)


def test_a_file_that_unpacks_without_end_is_not_read_to_its_end(read_bytes, monkeypatch):
    monkeypatch.setattr(utils, "LARGEST_FILE", len(CONTENT))
    np.testing.assert_array_equal(read_bytes(gzip.compress(CONTENT + bytes(9))), IMAGES)


def test_what_is_read_at_most_is_less_than_twice_the_largest_file():
    largest = 16 + 60_000 * 784
    assert largest < utils.LARGEST_FILE < 2 * largest


@pytest.mark.parametrize("load", [load_full_mnist, load_unseen_mnist])
def test_loaders_name_a_missing_file(tmp_path, load):
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz: found FileNotFoundError"):
        load(tmp_path)


def test_train_labels_are_not_taken_for_test_labels(tmp_path):
    labels = (DATA / "train-labels-idx1-ubyte.gz").read_bytes()
    for name in utils.MNIST_FILES:
        (tmp_path / f"{name}.gz").write_bytes(labels)
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz: found SHA-256 65a50cbb"):
        read_split("t10k", tmp_path)


def test_read_split_flattens_row_by_row(tmp_path, monkeypatch):
    for name, values in [
        ("train-images-idx3-ubyte", IMAGES),
        ("train-labels-idx1-ubyte", IMAGES[:, 0, 0]),
    ]:
        monkeypatch.setitem(utils.MNIST_FILES, name, sha256(idx(values)))
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


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)], ids=["in order", "shuffled"])
def test_changed_batches_leave_the_data_as_they_are(rng):
    X, Y = numbered(10)
    for x, y in batch_loader(X, Y, 4, rng):
        x -= 1
        y -= 1
    for array, expected in zip((X, Y), numbered(10), strict=True):
        np.testing.assert_array_equal(array, expected)


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


@pytest.mark.parametrize("seed", [1234, 99])
def test_batches_neither_read_nor_change_the_global_random_state(seed):
    expected = epoch(np.random.default_rng(0)).tolist()
    np.random.seed(seed)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert epoch(np.random.default_rng(0)).tolist() == expected
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_the_order_is_a_permutation_drawn_by_the_generator():
    order = np.random.default_rng(7).permutation(12)
    np.testing.assert_array_equal(epoch(np.random.default_rng(7)), order)


@pytest.mark.parametrize("seed", [None, 0])
def test_batches_visit_every_one_of_many_examples_once(seed):
    rng = None if seed is None else np.random.default_rng(seed)
    visited = epoch(rng, 20_001, 32)
    assert len(visited) == 20_001
    np.testing.assert_array_equal(np.sort(visited), np.arange(20_001))
    assert (visited[:-1] < visited[1:]).all() == (seed is None)


@pytest.mark.parametrize("seed", [None, 0])
def test_batches_keep_inputs_and_labels_of_many_examples_together(seed):
    rng = None if seed is None else np.random.default_rng(seed)
    xs, ys = zip(*batch_loader(*numbered(20_001), 32, rng), strict=True)
    np.testing.assert_array_equal(10 * np.concatenate(xs)[:, :1], np.concatenate(ys))


def test_shuffling_reaches_from_one_end_of_many_examples_to_the_other():
    # the mean place of a tenth of them, 0.5 expected, standard deviation 0.0065
    visited = epoch(np.random.default_rng(0), 20_000, 32) / 20_000
    tenths = visited.reshape(10, 2_000).mean(axis=1)
    assert np.abs(tenths - 0.5).max() < 0.03


def test_a_generator_goes_on_from_epoch_to_epoch_and_not_before_it_is_asked():
    rng, order = np.random.default_rng(3), np.random.default_rng(3)
    batch_loader(*numbered(6), 2)
    for _ in range(30):
        np.testing.assert_array_equal(epoch(rng, 6, 2), order.permutation(6))


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float32, np.float64])
def test_batches_keep_the_types_of_inputs_and_labels(dtype):
    X, Y = (array.astype(dtype) for array in numbered(5))
    ((x, y),) = batch_loader(X, Y, 5)
    assert x.dtype == y.dtype == dtype


def test_batches_leave_the_data_unchanged():
    X, Y = numbered(10)
    for _ in batch_loader(X, Y, 3, np.random.default_rng(0)):
        pass
    np.testing.assert_array_equal(X, numbered(10)[0])
    np.testing.assert_array_equal(Y, numbered(10)[1])


@pytest.mark.parametrize("size", [0, -1, 11, 2.5, None, "4"])
def test_batch_size_must_be_from_1_to_the_number_of_examples(size):
    with pytest.raises(ValueError, match=f"batch_size is {size}, expected 1 to 10"):
        batch_loader(*numbered(10), size)  # at once, not when it is iterated over


def test_batch_size_may_be_a_whole_number_of_numpy():
    assert [len(x) for x, _ in batch_loader(*numbered(10), np.int64(4))] == [4, 4, 2]


@pytest.mark.parametrize("labels", [9, 11, 1, 0])
def test_every_input_needs_a_label(labels):
    with pytest.raises(ValueError, match=f"10 inputs but {labels} labels, expected one"):
        batch_loader(numbered(10)[0], np.zeros((labels, 1)), 2)


# ---- what is shown


def test_progress_leaves_nothing_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(utils, "tqdm", partial(utils.tqdm, mininterval=0))
    with progress("networks", 9) as advance:
        advance(1, loss=0.5)
        advance(3, loss=0.25)
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

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=None))
    monkeypatch.setattr(IPython.display, "display", display)
    with progress("a<b", 1) as advance:
        for done in range(1000):
            advance(done / 1000)
    assert len(shown) < 100  # drawn ten times a second, not each time
    texts = [data["text/html"] for data in shown]
    assert texts[0] == texts[-1] == ""
    assert any(text.startswith("<pre>a&lt;b") for text in texts)


# ---- the images that the assignment leaves out


def test_the_unseen_are_the_last_40000_training_images(mnist):
    X, Y = load_unseen_mnist()
    all_X, all_Y = read_split("train")
    assert [array.shape for array in (X, Y)] == [(40_000, 784), (40_000, 1)]
    np.testing.assert_array_equal(np.vstack([mnist[0], X]), all_X)
    np.testing.assert_array_equal(np.vstack([mnist[1], Y]), all_Y)


def test_unseen_images_are_those_after_the_training_set(tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "NUM_TRAIN", 2)
    for name in utils.MNIST_FILES:
        values = IMAGES if "images" in name else IMAGES[:, 0, 0]
        monkeypatch.setitem(utils.MNIST_FILES, name, sha256(idx(values)))
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
    X_train, Y_train, _, _ = load_full_mnist(tmp_path)
    X, Y = load_unseen_mnist(tmp_path)
    np.testing.assert_array_equal(np.vstack([X_train, X]), IMAGES.reshape(5, -1))
    np.testing.assert_array_equal(np.vstack([Y_train, Y]), IMAGES[:, :1, 0])
    assert len(X_train) == 2


# ---- threads and imports


def test_small_matrices_take_one_blas_thread(blas_threads):
    with threadpool_limits(limits=2, user_api="blas"):
        with small_matrices():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {2}


KNOWN = "import threadpoolctl as t\nt._ALL_CONTROLLERS = "
STUBBORN = """
from threadpoolctl import OpenBLASController
OpenBLASController.set_num_threads = lambda self, number: None
OpenBLASController.get_num_threads = lambda self: """
OTHER_BLAS = {
    "none is known": f"{KNOWN}[]",
    "NumPy rests on another, such as Accelerate": f"{KNOWN}t._ALL_CONTROLLERS[1:]",
    "OpenMP alone is known": f"{KNOWN}[t.OpenMPController]",
    "it was built without threads": f"{STUBBORN}1",
    "it takes all threads whatever it is told": f"{STUBBORN}8",
    "it does not tell": f"{STUBBORN}None",
}


@pytest.mark.parametrize("blas", OTHER_BLAS)
def test_where_no_blas_can_be_limited_there_is_nothing_to_count(blas, tmp_path):
    (tmp_path / "no_blas.py").write_text(OTHER_BLAS[blas])
    files = [f"tests/test_{name}.py" for name in ("utils", "task2", "measures")]
    command = [sys.executable, "-m", "pytest", "-p", "no_blas", "-k", "blas_thread or threads_"]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [*command, *files],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout.decode()
    assert b"4 skipped" in run.stdout


def test_small_matrices_give_the_threads_back_after_an_error(blas_threads):
    with threadpool_limits(limits=2, user_api="blas"):
        with pytest.raises(ZeroDivisionError), small_matrices():
            raise ZeroDivisionError
        assert set(blas_threads()) == {2}


@pytest.mark.parametrize(
    "name", ["task4.py", "utils.py", "report/__init__.py", "tests/__init__.py"]
)
def test_the_notebook_finds_the_files_beside_it_before_others_of_their_names(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise ImportError('a foreign file')", encoding="utf-8")
    nb = nbformat.read(ROOT / "assignment2.ipynb", 4)
    first = next(cell.source for cell in nb.cells if cell.cell_type == "code")
    nb.cells = [nbformat.v4.new_code_cell(f"{first}\nimport tests")]
    client = NotebookClient(nb, resources={"metadata": {"path": str(ROOT)}})
    client.execute(env=os.environ | {"PYTHONPATH": str(tmp_path)})


def test_the_files_beside_come_before_those_of_whoever_was_first(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    runpy.run_path(str(ROOT / "utils.py"))
    assert sys.path[0] == str(ROOT)


def test_the_notebook_normalises_all_images_by_the_training_images(mnist):
    cells = nbformat.read(ROOT / "assignment2.ipynb", 4).cells
    source = next(cell.source for cell in cells if "pre_process_images(val" in cell.source)
    names = vars(task2a) | vars(utils)
    exec(source, names)
    mean, std = task2a.mean_X(mnist[0]), task2a.std_X(mnist[0])
    for name, images in (("X_train", mnist[0]), ("X_val", mnist[2])):
        expected = task2a.pre_process_images(images, mean, std)
        np.testing.assert_array_equal(names[name], expected)
    np.testing.assert_array_equal(names["Y_val"], task2a.one_hot_encode(mnist[3]))

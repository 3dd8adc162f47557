"""What the tasks need that is not the network: MNIST, batches, progress, arithmetic."""

import gzip
import hashlib
import html
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the files beside come before others of their names
DATA = HERE / "data"
NUM_TRAIN = 20_000
GRID_BITS = 19
GRID_STEP = 2.0**-GRID_BITS
# near it, doubles are GRID_STEP apart; as NumPy's own, it makes doubles of floats of less precision
GRID_SHIFT = np.float64(1.5 * 2.0 ** (52 - GRID_BITS))
EXACT_BELOW = 2.0 ** (53 - 2 * GRID_BITS)  # whole numbers of GRID_STEP**2 fit into 53 bits
# over ten times what comes of the 2 units in the last place that NumPy's own tests of accuracy and
# glibc's manual ("Known Maximum Errors in Math Functions") allow exp and tanh, for values up to 1;
# larger ones may be off by as many times more
DOUBT = 2.0**-47
LARGEST = 2.0**9  # of the values that are decided on
DECIDED = GRID_STEP / 2 - LARGEST * DOUBT  # none of them that is as near to the grid is a tie
DIGITS = 40

Array = npt.NDArray[np.float64]

MNIST_FILES = {  # name: SHA-256 of the uncompressed content
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
LARGEST_FILE = 2**26  # bytes; the largest of these has 47 million


def read_idx(path: Path, sha256: str) -> npt.NDArray[np.uint8]:
    """Read one gzipped IDX file of bytes (http://yann.lecun.com/exdb/mnist).

    Args:
        path: the file, `*.gz`.
        sha256: digest of its uncompressed content, header included.
    Returns:
        The values, uint8, of the shape in its header.
    Raises:
        ValueError: the file is missing, damaged, or another one.
    """
    try:
        with gzip.open(path) as file:
            content = file.read(LARGEST_FILE)
        found = f"SHA-256 {hashlib.sha256(content).hexdigest()}"
    except (OSError, EOFError, zlib.error) as error:
        found = f"{type(error).__name__}: {error}"
    if found != f"SHA-256 {sha256}":
        raise ValueError(
            f"{path}: found {found}, expected gzipped content with SHA-256 {sha256}: restore it "
            "with `git checkout -- data`, or put MNIST's own file there"
        )
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def read_split(
    split: str, directory: Path = DATA
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return all images [N, 784] and labels [N, 1] of MNIST's `"train"` or `"t10k"` files."""
    images, labels = (
        read_idx(Path(directory) / f"{name}.gz", MNIST_FILES[name])
        for name in (f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte")
    )
    return images.reshape(len(images), -1), labels.reshape(-1, 1)


def load_full_mnist(directory: Path = DATA) -> tuple[npt.NDArray[np.uint8], ...]:
    """Load the assignment's split and print its shapes; needs no network.

    Returns:
        X_train [20000, 784], Y_train [20000, 1], X_val [10000, 784], Y_val [10000, 1], all uint8:
        the first 20,000 training images, and MNIST's test images as the validation set.
    Raises:
        ValueError: a data file is missing or not MNIST's.
    """
    X_train, Y_train = (array[:NUM_TRAIN] for array in read_split("train", directory))
    X_val, Y_val = read_split("t10k", directory)
    print(f"Train shape: X: {X_train.shape}, Y: {Y_train.shape}")
    print(f"Validation shape: X: {X_val.shape}, Y: {Y_val.shape}")
    return X_train, Y_train, X_val, Y_val


def load_unseen_mnist(directory: Path = DATA) -> tuple[npt.NDArray[np.uint8], ...]:
    """Return the training images that the assignment leaves out, [40000, 784], and their labels.

    Raises:
        ValueError: a data file is missing or not MNIST's.
    """
    X, Y = (array[NUM_TRAIN:] for array in read_split("train", directory))
    return X, Y


def batch_loader(
    X: npt.NDArray, Y: npt.NDArray, batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[tuple[npt.NDArray, npt.NDArray]]:
    """Iterate once over all examples, in order or, given a generator, shuffled.

    Args:
        X: inputs [N, ...].
        Y: their labels [N, ...].
        batch_size: examples per batch; the last batch holds what is left.
        rng: draws the order.
    Returns:
        An iterator over batches (X [batch_size, ...], Y [batch_size, ...]).
    Raises:
        ValueError: as many labels as inputs are expected, and 1 <= batch_size <= N.
    """
    if len(X) != len(Y):
        raise ValueError(f"{len(X)} inputs but {len(Y)} labels, expected one label per input")
    if not isinstance(batch_size, int | np.integer) or not 1 <= batch_size <= len(X):
        raise ValueError(f"batch_size is {batch_size}, expected 1 to {len(X)}, the examples given")
    order = np.arange(len(X)) if rng is None else rng.permutation(len(X))
    batches = (order[i : i + batch_size] for i in range(0, len(X), batch_size))
    return ((X.take(batch, axis=0), Y.take(batch, axis=0)) for batch in batches)


class CellOutput(io.StringIO):
    """A file that shows its last line below the running notebook cell."""

    def __init__(self) -> None:
        from IPython.display import display  # a training in another process needs no IPython

        super().__init__()
        self.handle = display({"text/html": ""}, raw=True, display_id=True)

    def write(self, text: str) -> int:
        """Replace what is shown."""
        line = html.escape(text.strip())
        self.handle.update({"text/html": line and f"<pre>{line}</pre>"}, raw=True)
        return len(text)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[..., None]]:
    """Show a bar, in a notebook or a terminal, that leaves nothing behind.

    Args:
        description: what is counted.
        total: how many there are.
    Returns:
        A context whose value is a function `advance(done, **figures)`.
    """
    from IPython import get_ipython

    in_notebook = hasattr(get_ipython(), "kernel")
    place = {"file": CellOutput()} if in_notebook else {"disable": None}  # None: if no terminal
    with tqdm(total=total, desc=description, leave=False, ncols=100, **place) as bar:

        def advance(done: int, **figures: object) -> None:
            bar.set_postfix(figures, refresh=False)
            bar.update(done - bar.n)

        yield advance


@contextmanager
def small_matrices() -> Iterator[None]:
    """Compute with one BLAS thread, since matrices as small as these gain nothing from more."""
    np.empty(4_000_000)  # freed at once: from then on glibc keeps freed memory of up to this size
    with threadpool_limits(limits=1, user_api="blas"):
        yield


# What enters a matrix product of a training is a multiple of GRID_STEP, so that partial sums are
# whole numbers of GRID_STEP**2. As long as they stay below EXACT_BELOW no addition rounds, and then
# no order of summation, no processor and no library can change a bit.


def snap(values: Array) -> Array:
    """Round to the nearest multiple of GRID_STEP, halves to the even one."""
    snapped = values + GRID_SHIFT  # leaves no room for finer digits
    snapped -= GRID_SHIFT
    return snapped


def lifted(method: Callable[..., Decimal]) -> Callable[..., "Digits"]:
    """Return a method of Decimal that takes floats as well."""
    return lambda *numbers: Digits(method(*map(Decimal, numbers)))


class Digits(Decimal):
    """A number of many digits with what NumPy's functions of object arrays and floats ask for."""

    __neg__, __add__, __radd__ = map(lifted, (Decimal.__neg__, Decimal.__add__, Decimal.__radd__))
    __sub__, __rsub__ = map(lifted, (Decimal.__sub__, Decimal.__rsub__))
    __mul__, __rmul__ = map(lifted, (Decimal.__mul__, Decimal.__rmul__))
    __truediv__, __rtruediv__ = map(lifted, (Decimal.__truediv__, Decimal.__rtruediv__))
    __abs__, __pow__, __rpow__ = map(lifted, (abs, Decimal.__pow__, Decimal.__rpow__))
    exp, log, sqrt = map(lifted, (Decimal.exp, Decimal.ln, Decimal.sqrt))

    def expm1(self) -> "Digits":
        """Return exp(x) - 1."""
        return self.exp() - 1

    def log1p(self) -> "Digits":
        """Return ln(1 + x)."""
        return (1 + self).log()

    def tanh(self) -> "Digits":
        """Return the hyperbolic tangent."""
        return 1 - 2 / ((2 * self).exp() + 1)


def in_digits(numbers: Array) -> npt.NDArray[np.object_]:
    """Return numbers [units] with many digits, as one row [1, units]."""
    return np.array([[*map(Digits, numbers.tolist())]], object)


def settled(function: Callable[[Array], Array], z: Array) -> tuple[Array, Array]:
    """Return function(z) and `snap` of it, which is the same on every machine, for z [N, units].

    exp and tanh differ between machines in their last bits. Where a value, which must be below
    `LARGEST`, is so near to the middle between two neighbours on the grid that these decide, its
    row is computed with more digits.
    """
    values = function(z)
    snapped = snap(values)
    distances = values - snapped
    np.abs(distances, out=distances)
    if distances.item(distances.argmax()) > DECIDED:  # item of argmax is quicker than max
        doubtful = distances > GRID_STEP / 2 - DOUBT * np.maximum(1, np.abs(values))
        with localcontext(prec=DIGITS):
            for row in np.flatnonzero(doubtful.any(axis=1)):
                values[row] = function(in_digits(z[row]))
        snapped = snap(values)
    return values, snapped

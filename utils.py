"""What the tasks need that is not the network: MNIST, batches, progress, figures and tables."""

import gzip
import hashlib
import html
import io
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import typst
from IPython import get_ipython
from IPython.display import Markdown, display
from tqdm import tqdm

# a first import may take long to list the fonts, and would say so in an output of the notebook
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
from matplotlib import style  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator  # noqa: E402

DATA = Path(__file__).resolve().parent / "data"
NUM_TRAIN = 20_000

# shape and SHA-256 of the uncompressed content, header included
MNIST_FILES = {
    "train-images-idx3-ubyte": (
        (60_000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        (60_000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        (10_000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        (10_000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


FIGURE_STYLE = [
    "default",  # whatever the user's matplotlibrc says
    {
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 9,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "lines.linewidth": 1.4,
        "svg.hashsalt": "assignment2",  # the same identifiers in every run
    },
]


def read_idx(path: Path, shape: tuple[int, ...], sha256: str) -> npt.NDArray[np.uint8]:
    """Read one gzipped IDX file of bytes (http://yann.lecun.com/exdb/mnist).

    Args:
        path: the file, `*.gz`.
        shape: what its header must say.
        sha256: digest of its uncompressed content.
    Returns:
        The values [*shape], uint8.
    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not gzip, truncated, or not the content expected.
    """
    remedy = "restore it with `git checkout -- data`, or put MNIST's own file there"
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    size = len(header) + int(np.prod(shape))
    try:
        with gzip.open(path) as file:
            content = file.read(size + 1)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing, expected IDX data {shape}: {remedy}") from None
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is no complete gzip file ({error}): {remedy}") from error
    if content[: len(header)] != header:
        raise ValueError(
            f"{path} starts with {content[: len(header)].hex()}, expected the IDX header "
            f"{header.hex()} for bytes {shape}: {remedy}"
        )
    if len(content) != size:
        found = f"more than {size}" if len(content) > size else len(content)
        raise ValueError(f"{path} holds {found} bytes, expected {size}: {remedy}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ValueError(f"{path} has SHA-256 {digest}, expected {sha256}: {remedy}")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def read_split(
    split: str, directory: Path = DATA
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return all images [N, 784] and labels [N, 1] of MNIST's `"train"` or `"t10k"` files."""
    images, labels = (
        read_idx(Path(directory) / f"{name}.gz", *MNIST_FILES[name])
        for name in (f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte")
    )
    return images.reshape(len(images), -1), labels.reshape(-1, 1)


def load_full_mnist(directory: Path = DATA) -> tuple[npt.NDArray[np.uint8], ...]:
    """Load the assignment's split and print its shapes; needs no network.

    Returns:
        X_train [20000, 784], Y_train [20000, 1], X_val [10000, 784], Y_val [10000, 1], all uint8:
        the first 20,000 training images, and MNIST's test images as the validation set.
    Raises:
        FileNotFoundError, ValueError: a data file is missing or not MNIST's.
    """
    X_train, Y_train = (array[:NUM_TRAIN] for array in read_split("train", directory))
    X_val, Y_val = read_split("t10k", directory)
    print(f"Train shape: X: {X_train.shape}, Y: {Y_train.shape}")
    print(f"Validation shape: X: {X_val.shape}, Y: {Y_val.shape}")
    return X_train, Y_train, X_val, Y_val


def load_unseen_mnist(directory: Path = DATA) -> tuple[npt.NDArray[np.uint8], ...]:
    """Return the training images that the assignment leaves out, [40000, 784], and their labels.

    Raises:
        FileNotFoundError, ValueError: a data file is missing or not MNIST's.
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
        A context whose value is a function `show(done, **figures)`.
    """
    in_notebook = hasattr(get_ipython(), "kernel")
    place = {"file": CellOutput()} if in_notebook else {"disable": None}  # None: if no terminal
    with tqdm(total=total, desc=description, leave=False, ncols=100, **place) as bar:

        def show(done: int, **figures: object) -> None:
            bar.set_postfix(figures, refresh=False)
            bar.update(done - bar.n)

        yield show


def plot_runs(runs: Mapping[str, Sequence], *names: str) -> Figure:
    """Plot loss and accuracy, training beside validation, against the gradient steps.

    Args:
        runs: the `task2.Run`s of each experiment, one a seed. A line is their mean up to where
            the first of them stops, and its band their range.
        names: which of the experiments, all of them by default.
    """
    with style.context(FIGURE_STYLE):
        figure = Figure(figsize=(7, 5.2), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True)
        for row, measure in zip(axes, ("loss", "accuracy"), strict=True):
            for ax, split in zip(row, ("train", "val"), strict=True):
                for name in names or runs:
                    plot_band(ax, runs[name], f"{split}_{measure}")
        axes[0, 0].set(title="training", ylabel="cross entropy\nper example [nats]")
        axes[0, 1].set(title="validation")
        axes[1, 0].set(ylabel="accuracy")
        for ax in axes[0]:
            set_plain_log(ax)
        for ax in axes[1]:
            ax.set(xlabel="gradient steps", ylim=(0.8, 1.005))
            ax.xaxis.set_major_locator(MaxNLocator(5))
            ax.xaxis.set_major_formatter("{x:,.0f}")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, handlelength=3)
    return figure


def set_plain_log(ax: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers at it."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    few, many = (1, 2, 5), (1, 1.5, 2, 3, 5, 7)  # ticks a decade
    ax.yaxis.set_major_locator(LogLocator(subs=many if high < 20 * low else few))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())


def plot_band(ax: Axes, runs: Sequence, measure: str) -> None:
    """Plot the mean and the range over the seeds of one experiment's measure."""
    length = min(len(run.history.steps) for run in runs)
    steps = runs[0].history.steps[:length]
    values = np.round([getattr(run.history, measure)[:length] for run in runs], 6)
    (color, dash), label = runs[0].experiment.line, runs[0].experiment.label
    marks = {"markersize": 3, "markevery": max(1, length // 10)}
    ax.plot(steps, values.mean(axis=0), dash, color=color, label=label, **marks)
    if len(runs) > 1:
        ax.fill_between(steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, lw=0)


def plot_layers(
    panels: Mapping[str, Mapping[str, Sequence[float]]], label: str, scale: str
) -> Figure:
    """Plot one value a layer, a panel for each network and a line for each moment of training.

    Args:
        panels: values [layers] by panel title and line label.
        label: of the vertical axis.
        scale: of the vertical axis, "log" or "linear".
    """
    with style.context(FIGURE_STYLE):
        figure = Figure(figsize=(7, 3.2), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (title, lines) in zip(axes, panels.items(), strict=True):
            shades = np.linspace(0.75, 0, len(lines))
            for (name, values), marker, shade in zip(lines.items(), "os^D", shades, strict=False):
                layers = np.arange(1, len(values) + 1)
                ax.plot(layers, np.round(values, 12), f"{marker}-", ms=4, c=str(shade), label=name)
            ax.set(title=title, xlabel="layer", yscale=scale)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylabel(label)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def plot_sweep(
    measured: Mapping[float, Mapping[str, float]], names: Sequence[str], xlabel: str
) -> Figure:
    """Plot some losses against a number, both axes logarithmic.

    Args:
        measured: the losses, by name, for each value of the number.
        names: which of them.
        xlabel: what the number is.
    """
    with style.context(FIGURE_STYLE):
        figure = Figure(figsize=(7, 3), layout="constrained")
        ax = figure.subplots()
        for name, mark in zip(names, ("ko-", "s--", "^:"), strict=False):
            values = [round(losses[name], 6) for losses in measured.values()]
            ax.plot(list(measured), values, mark, label=name)
        ax.set_xscale("log", base=2)
        ax.set(xlabel=xlabel, ylabel="cross entropy per example [nats]")
        set_plain_log(ax)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_xticks(list(measured))
        ax.minorticks_off()
        ax.legend()
    return figure


def plot_images(images: npt.NDArray, titles: Sequence[str], columns: int = 8) -> Figure:
    """Plot images [N, 784] under their titles: black is zero, or grey where values are negative."""
    with style.context(FIGURE_STYLE):
        rows = -(-len(images) // columns)
        figure = Figure(figsize=(7, 1.05 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax in axes:
            ax.set_axis_off()
        for ax, image, title in zip(axes, images, titles, strict=False):
            limit = np.abs(image).max()
            lowest = -limit if (image < 0).any() else 0
            ax.imshow(np.round(image, 4).reshape(28, 28), cmap="gray", vmin=lowest, vmax=limit)
            ax.set_title(title, fontsize=7)
    return figure


def plot_confusion(counts: npt.NDArray[np.int64]) -> Figure:
    """Plot how often class k (row) was taken for class l (column), [K, K]."""
    with style.context([*FIGURE_STYLE, {"axes.grid": False}]):
        figure = Figure(figsize=(4.6, 4), layout="constrained")
        ax = figure.subplots()
        wrong = counts * (1 - np.eye(len(counts), dtype=int))
        ax.pcolormesh(wrong, cmap="Greys", vmax=2 * wrong.max())
        for (row, column), count in np.ndenumerate(counts):
            ax.text(column + 0.5, row + 0.5, count, ha="center", va="center", fontsize=7)
        ticks = np.arange(len(counts))
        ax.set_xticks(ticks + 0.5, ticks)
        ax.set_yticks(ticks + 0.5, ticks)
        ax.set(xlabel="predicted class", ylabel="true class")
        ax.invert_yaxis()
    return figure


# matplotlib's own PDF would hold ten digits of every place, more than all machines agree on
SVG_PAGE = b"""
#set document(date: none)
#set page(width: auto, height: auto, margin: 0pt)
#image(bytes(sys.inputs.svg))
"""


def settle(figure: Figure) -> None:
    """Fix the layout of a figure, at rounded places.

    Sizes of texts are multiples of a 64th, so the places found for the axes are often ties of the
    digits that an SVG has, of which the last bit of some sum would decide.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.set_position(np.round(ax.get_position().bounds, 4))


def show(figure: Figure, alt: str, vector: bool = True) -> None:
    """Display a figure as SVG, as PDF for nbconvert's LaTeX, and as PNG for all other viewers.

    Args:
        figure: what a plot function returned.
        alt: the text for who cannot see it.
        vector: leave SVG and PDF out where they would only wrap pixels.
    """
    svg, png = io.StringIO(), io.BytesIO()
    with style.context(FIGURE_STYLE):
        settle(figure)
        figure.savefig(svg, format="svg", metadata={"Date": None, "Title": alt})
        figure.savefig(png, format="png", dpi=144)
    width = round(figure.get_figwidth() * 96)  # CSS pixels
    data = {"image/png": png.getvalue(), "text/plain": alt}
    metadata = {"image/png": {"alt": alt, "width": width}}
    if vector:
        data["image/svg+xml"] = svg.getvalue()
        data["application/pdf"] = typst.compile(
            SVG_PAGE, sys_inputs={"svg": svg.getvalue()}, ignore_system_fonts=True
        )
        metadata["image/svg+xml"] = {"alt": alt}
    display(data, metadata=metadata, raw=True)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Markdown:
    """Return a Markdown table: the first column is text, the others are aligned as numbers."""
    columns = zip(header, *rows, strict=True)
    text, *numbers = (max(len(str(cell)) for cell in column) for column in columns)
    # pandoc, on its way to LaTeX, takes the widths of columns from these dashes; text may wrap
    dashes = ["-" * max(3, text // 2), *("-" * max(2, number) + ":" for number in numbers)]
    lines = [header, dashes, *rows]
    return Markdown("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))

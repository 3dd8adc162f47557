"""Figures: what is plotted, and how it is displayed the same on every machine."""

import io
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import typst
from IPython.display import Markdown, display

# a first import may take long to list the fonts, and would say so in an output of the notebook
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
from matplotlib import style  # noqa: E402
from matplotlib.artist import Artist  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator  # noqa: E402

from report.measures import labels  # noqa: E402
from task2 import Run  # noqa: E402
from task2a import Activation, Array  # noqa: E402

STYLE = [
    "default",  # whatever the user's matplotlibrc says
    {
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 9,
        "font.size": 9,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "lines.linewidth": 1.4,
        "svg.hashsalt": "assignment2",  # the same identifiers in every run
    },
]
# by an experiment's place in its figure; told apart without colour, too: the first four also by
# their shade of grey
LINES = (
    ("black", "-"),
    ("#E69F00", "--"),
    ("#2F8AC9", "-."),
    ("#6A1A4A", ":"),
    ("#117733", (0, (6, 2, 1, 2, 1, 2))),
    ("#CC79A7", (0, (1, 1))),
)
MARKS = "os^Dv*"
LOSS = "loss [nats]"
STEPS = "gradient steps"
LEAST_ERROR = 1e-4


def require_few(names: Collection[str]) -> None:
    """Raise a ValueError if there are more lines in one panel than can be told apart."""
    if len(names) > len(LINES):
        raise ValueError(
            f"{len(names)} lines are {', '.join(names)}, expected {len(LINES)} or fewer, which can "
            "be told apart: name some of them"
        )


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: object):
    """Return a figure of a size in inches, and its axes [rows, columns]."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def legend_below(figure: Figure, axes: Iterable[Axes], columns: int) -> None:
    """Put the legend of axes below the whole figure, each label once; long ones as a list."""
    named: dict[str, Artist] = {}
    for ax in axes:
        for handle, text in zip(*ax.get_legend_handles_labels(), strict=True):
            named.setdefault(text, handle)
    columns = columns if max(map(len, named)) < 50 else 1
    look = {"loc": "outside lower center", "ncols": columns, "handlelength": 3}
    figure.legend([*named.values()], [*named], **look)


def set_plain_log(ax: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers at it."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    by_range = {5: (1, 1.5, 2, 3, 5, 7), 20: (1, 2, 3, 5), 200: (1, 2, 5), np.inf: (1,)}
    ticks = next(ticks for ratio, ticks in by_range.items() if high < ratio * low)
    ax.yaxis.set_major_locator(LogLocator(subs=ticks))  # so many a decade
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())


def set_steps(ax: Axes) -> None:
    """Count gradient steps along the horizontal axis."""
    ax.set_xlabel(STEPS)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter("{x:,.0f}")


def curve(run: Run, measure: str) -> Array:
    """Return one of a run's curves [validations]: a loss, or an error rate, 1 - accuracy.

    No error at all has no place on a logarithmic axis, and is drawn as `LEAST_ERROR`.
    """
    if measure.endswith("error"):
        errors = 1 - getattr(run, measure.replace("error", "accuracy"))
        return np.round(np.maximum(errors, LEAST_ERROR), 6)
    return np.round(getattr(run, measure), 6)


def plot_band(ax: Axes, runs: Sequence[Run], measure: str, place: int, label: str) -> None:
    """Plot the mean and the range of one curve over the seeds, up to where the first run stops.

    Of a validation loss, the least one of each run is marked.

    Args:
        ax: where to plot.
        runs: of one experiment.
        measure: such as `val_loss` or `val_error`.
        place: of the experiment in its figure, from 0.
        label: for the legend.
    """
    (color, dash), mark = LINES[place], MARKS[place]
    length = min(len(run.steps) for run in runs)
    values = np.array([curve(run, measure)[:length] for run in runs])
    steps = min((run.steps for run in runs), key=len)
    ax.plot(steps, values.mean(axis=0), color=color, linestyle=dash, label=label)
    ax.fill_between(steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, lw=0)
    if measure == "val_loss":
        best = [(run.steps[run.best], curve(run, measure)[run.best]) for run in runs]
        ax.plot(*zip(*best, strict=True), mark, color=color, ms=4, mec="white", mew=0.6, zorder=3)


def plot_runs(runs: Mapping[str, Sequence[Run]], *names: str) -> Figure:
    """Plot loss and error rate of training and validation against the gradient steps.

    Args:
        runs: of each experiment, one a seed.
        names: which of the experiments, all of them by default. One of them gets its training and
            validation into one panel, several of them get a panel each.
    """
    chosen = {name: runs[name] for name in names or runs}
    require_few(chosen)
    texts = labels([of_one[0].experiment for of_one in chosen.values()])
    with style.context(STYLE):
        if len(chosen) > 1:
            figure, axes = new_figure(7, 3.7, rows=2, columns=2, sharex=True)
            for row, measure in zip(axes, ("loss", "error"), strict=True):
                for ax, split in zip(row, ("train", "val"), strict=True):
                    for place, (name, of_one) in enumerate(chosen.items()):
                        plot_band(ax, of_one, f"{split}_{measure}", place, texts[name])
            highest, lowest = axes
            for ax, title in zip(highest, ("training", "validation"), strict=True):
                ax.set_title(title)
            (loss, _), (error, _) = axes
        else:
            figure, (lowest,) = new_figure(7, 2.4, columns=2)
            ((_, of_one),) = chosen.items()
            for ax, measure in zip(lowest, ("loss", "error"), strict=True):
                plot_band(ax, of_one, f"train_{measure}", 0, "training")
                plot_band(ax, of_one, f"val_{measure}", 1, "validation")
            loss, error = lowest
        for ax in figure.axes:
            set_plain_log(ax)
        for ax in lowest:
            set_steps(ax)
        loss.set_ylabel(LOSS)
        error.set_ylabel("error rate")
        legend_below(figure, [loss], 2)
    return figure


def plot_activations(activations: Sequence[Activation]) -> Figure:
    """Plot activations, and their slopes, against the weighted sum."""
    require_few([f.name for f in activations])
    z = np.linspace(-4, 4, 161)
    with style.context(STYLE):
        figure, ((left, right),) = new_figure(7, 2.4, columns=2)
        for (color, dash), f in zip(LINES, activations, strict=False):
            a = f.function(z)
            left.plot(z, np.round(a, 6), c=color, ls=dash, label=f.name)
            right.plot(z, np.round(f.slope(a), 6), c=color, ls=dash)
        left.set(xlabel="weighted sum z", ylabel="activation f(z)")
        right.set(xlabel="weighted sum z", ylabel="slope f'(z)")
        legend_below(figure, [left], len(activations))
    return figure


def plot_layers(rows: Mapping[str, Mapping[str, Mapping[str, Array]]]) -> Figure:
    """Plot statistics by layer: a row a statistic, a column a network, a line a moment of training.

    Args:
        rows: values [layers] by statistic, network and moment; gaps are where a network has none.
            A statistic whose name begins with "share" has a linear axis from 0 to 1.
    """
    networks = list(next(iter(rows.values())))
    panels = [moments for columns in rows.values() for moments in columns.values()]
    moments = list(dict.fromkeys(moment for panel in panels for moment in panel))
    require_few(moments)
    shades = dict(zip(moments, np.linspace(0.72, 0, len(moments)), strict=True))
    marks = dict(zip(moments, MARKS, strict=False))
    with style.context(STYLE):
        height = 1.35 * len(rows) + 0.6
        figure, axes = new_figure(7, height, len(rows), len(networks), sharex=True, sharey="row")
        for line, (statistic, columns) in zip(axes, rows.items(), strict=True):
            for ax, panel in zip(line, columns.values(), strict=True):
                for moment, values in panel.items():
                    layers = np.arange(1, len(values) + 1)
                    look = {"marker": marks[moment], "ms": 3.5, "c": str(shades[moment])}
                    ax.plot(layers, np.round(values, 12), label=moment, **look)
            first, *_ = line
            if statistic.startswith("share"):
                first.set_ylim(-0.03, 1.03)
            else:
                first.set_yscale("log")
            first.set_ylabel(statistic)
        for ax, name in zip(axes[0], networks, strict=True):
            ax.set_title(name)
        for ax in axes[-1]:
            ax.set_xlabel("layer")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(figure, axes.flat, 4)
    return figure


def plot_against(
    panels: Mapping[str, Mapping[str, Mapping[float, Array]]], xlabel: str, ylabel: str = LOSS
) -> Figure:
    """Plot mean and range over seeds against a number, both axes logarithmic.

    Args:
        panels: values [seeds] by panel, line and number.
        xlabel: what the number is.
        ylabel: what the values are.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    require_few(names)
    looks = dict(zip(names, zip(LINES, MARKS, strict=True), strict=False))
    with style.context(STYLE):
        figure, (row,) = new_figure(7, 2.3, columns=len(panels), sharey=True)
        for ax, (title, lines) in zip(row, panels.items(), strict=True):
            for name, points in lines.items():
                (color, dash), mark = looks[name]
                look = {"color": color, "linestyle": dash, "marker": mark, "ms": 3.5}
                low, mean, high = (
                    [round(float(statistic(values)), 6) for values in points.values()]
                    for statistic in (np.min, np.mean, np.max)
                )
                ax.plot(list(points), mean, label=name, **look)
                ax.fill_between(list(points), low, high, color=color, alpha=0.2, lw=0)
            ax.set_xscale("log")
            ax.set(title=title, xlabel=xlabel)
            ticks = sorted({number for points in lines.values() for number in points})
            ax.xaxis.set_major_locator(FixedLocator(ticks))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter("{x:g}")
        first, *_ = row
        set_plain_log(first)
        first.set_ylabel(ylabel)
        legend_below(figure, row, 4)
    return figure


def plot_network(sizes: Sequence[str], symbols: Sequence[str]) -> Figure:
    """Draw a network of three layers with its indices.

    Args:
        sizes: what stands below each layer.
        symbols: TeX of what a unit of each layer holds.
    """
    with style.context(STYLE):
        figure, ((ax,),) = new_figure(5, 2.1)
        ax.set_axis_off()
        units = [np.linspace(-1, 1, n) for n in (5, 4, 3)]
        for column, (left, right) in enumerate(pairwise(units)):
            for y in left:
                for target in right:
                    ax.plot((column, column + 1), (y, target), c="0.8", lw=0.7, zorder=1)
        for column, (ys, size, symbol) in enumerate(zip(units, sizes, symbols, strict=True)):
            ax.scatter([column] * len(ys), ys, s=230, c="white", ec="black")
            ax.text(column, ys[0], symbol, ha="center", va="center", fontsize=8)
            ax.text(column, -1.45, size, ha="center", va="center")
        for column, weight in enumerate(("$w_{ji}$", "$w_{kj}$")):
            ax.text(column + 0.5, 1.1, weight, ha="center")
        ax.set(xlim=(-0.4, 2.4), ylim=(-1.7, 1.4))
    return figure


def plot_images(images: npt.NDArray, titles: Sequence[str], columns: int = 8) -> Figure:
    """Plot images [N, 784] under their titles: black is zero, or grey where values are negative."""
    with style.context(STYLE):
        rows = -(-len(images) // columns)
        figure, axes = new_figure(7, 1.05 * rows, rows, columns)
        for ax in axes.flat:
            ax.set_axis_off()
        titled = zip(images, titles, strict=True)
        for ax, (image, title) in zip(axes.flat, titled, strict=False):
            limit = np.abs(image).max()
            lowest = -limit if (image < 0).any() else 0
            ax.imshow(np.round(image, 4).reshape(28, 28), cmap="gray", vmin=lowest, vmax=limit)
            ax.set_title(title, fontsize=7)
    return figure


def plot_confusion(counts: npt.NDArray[np.int64]) -> Figure:
    """Plot how often class k (row) was wrongly taken for class l (column), [K, K]."""
    with style.context([*STYLE, {"axes.grid": False}]):
        figure, ((ax,),) = new_figure(4, 3.1)
        wrong = counts * (1 - np.eye(len(counts), dtype=int))
        ax.pcolormesh(wrong, cmap="Greys", vmax=2 * wrong.max())
        for (row, column), number in np.ndenumerate(wrong):
            text = number if row != column else "-"
            ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7)
        ticks = np.arange(len(counts))
        ax.set_xticks(ticks + 0.5, ticks)
        ax.set_yticks(ticks + 0.5, ticks)
        ax.set(xlabel="taken for", ylabel="true class")
        ax.invert_yaxis()
    return figure


# matplotlib's own PDF would hold ten digits of every place, more than all machines agree on
SVG_PAGE = b"""
#set document(date: none)
#set page(width: auto, height: auto, margin: 0pt)
#image(bytes(sys.inputs.svg))
"""


def settle_layout(figure: Figure) -> None:
    """Fix the layout of a figure, at rounded places.

    Sizes of texts are multiples of a 64th, so the places found for the axes are often ties of the
    digits that an SVG has, of which the last bit of some sum would decide.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.set_position(np.round(ax.get_position().bounds, 4))


def show(figure: Figure, number: int, caption: str, alt: str = "", vector: bool = True) -> None:
    """Display a figure and its caption: as SVG, as PDF for LaTeX, as PNG for all other viewers.

    Args:
        figure: what a plot function returned.
        number: of the figure in the report.
        caption: what it shows.
        alt: what is drawn, for who cannot see it; the caption by default.
        vector: leave SVG and PDF out where they would only wrap pixels.
    """
    svg, png = io.StringIO(), io.BytesIO()
    alt = alt or caption
    with style.context(STYLE):
        settle_layout(figure)
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
    display(Markdown(f"**Figure {number}.** {caption}"))

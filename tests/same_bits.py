"""Train under other processors' arithmetic, and compare all bits of the weights.

    python tests/same_bits.py

trains every network of the report with one seed to its end under each of the settings, which takes
some minutes for each, and fails if a digest differs. What this processor cannot execute is named
and left out. `--epochs N` ends sooner, `--short` takes a few steps of two networks.
`--cost` trains over ten seeds with and without the grid, and says what it changes.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from joblib import Parallel, delayed  # noqa: E402
from numpy._core import _multiarray_umath as numpy_core  # noqa: E402

import task2  # noqa: E402
from report.bits import weights_digest  # noqa: E402
from task2 import TASK_2C, Experiment, train  # noqa: E402
from task2a import Array, mean_X, one_hot_encode, pre_process_images, std_X  # noqa: E402
from task3 import TASK_3A, TASK_3B, TASK_3C  # noqa: E402
from task4 import TASK_4A, TASK_4B, TASK_4E, TASK_4F, TASK_4F_DEEP, he_normal  # noqa: E402
from utils import NUM_TRAIN, read_split  # noqa: E402

TASK_4D = TASK_3C._replace(name="Task 4d", neurons_per_layer=(59, 59, 10))
HE = TASK_4F_DEEP._replace(name="4f deep, He", draw=he_normal)
NETWORKS = (TASK_2C, TASK_3A, TASK_3B, TASK_3C, TASK_4A, TASK_4B, TASK_4D)
NETWORKS += (TASK_4E, TASK_4F, TASK_4F_DEEP, HE)
COMPARED = (TASK_2C, TASK_3C, TASK_4E, TASK_4F)
SHORT = tuple(experiment._replace(epochs=2) for experiment in (TASK_3C, TASK_4E))

AVX512 = [name for name in numpy_core.__cpu_dispatch__ if "512" in name or name == "X86_V4"]
AVX2 = [name for name in numpy_core.__cpu_dispatch__ if name in ("X86_V3", "AVX2", "FMA3")]
KERNELS = {  # of OpenBLAS, and what a processor must have to execute them
    "SSE3 kernels": ("Prescott", "SSE3"),
    "AVX2 kernels": ("Haswell", "X86_V3"),
    "AVX-512 kernels": ("SkylakeX", "X86_V4"),
}


def settings(features: Mapping[str, bool]) -> dict[str, dict[str, str]]:
    """Return the environment variables of each setting that differs on such a processor."""

    def disabled(names: Sequence[str]) -> dict[str, str]:
        return {"NPY_DISABLE_CPU_FEATURES": " ".join(n for n in names if features.get(n))}

    found = {
        "this machine": {},
        **{
            name: {"OPENBLAS_CORETYPE": kernel}
            for name, (kernel, feature) in KERNELS.items()
            if features.get(feature)
        },
        "two threads": {"OPENBLAS_NUM_THREADS": "2"},
        "NumPy without AVX-512": disabled(AVX512),
        "NumPy without AVX2": disabled(AVX512 + AVX2),
    }
    return {name: setting for name, setting in found.items() if all(setting.values())}


SETTINGS = settings(numpy_core.__cpu_features__)


def load(short: bool) -> list[Array]:
    """Return preprocessed inputs and labels for training and validation; few of them if short."""
    images, labels = read_split("train")
    val_images, val_labels = read_split("t10k")
    size, val_size = (960, 200) if short else (NUM_TRAIN, len(val_images))
    images, labels = images[:size], labels[:size]
    mean, std = mean_X(images), std_X(images)
    data = [pre_process_images(images, mean, std), one_hot_encode(labels)]
    data += [pre_process_images(val_images[:val_size], mean, std)]
    return [*data, one_hot_encode(val_labels[:val_size])]


def digests(experiments: Sequence[Experiment], *, short: bool) -> dict[str, str]:
    """Return each network's digest, trained in this very process, which the settings are for."""
    data = load(short)
    return {e.name: weights_digest([train(e, *data, seed=1)]) for e in experiments}


def digests_under(setting: Mapping[str, str], options: Sequence[str]) -> dict[str, str]:
    """Return `digests`, computed in a process of its own, since NumPy reads a setting at import."""
    command = [sys.executable, __file__, "--print", *options]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **setting}
    return json.loads(subprocess.check_output(command, env=environment))


def digests_under_all(options: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each setting's name and its digests, computed side by side."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda setting: digests_under(setting, options), SETTINGS.values())
        yield from zip(SETTINGS, found, strict=True)


def best_of(
    experiment: Experiment, data: list[Array], seed: int, *, grid: bool
) -> tuple[float, ...]:
    """Return the least validation loss of a training and the accuracy there."""
    snap, settled = task2.snap, task2.settled
    if not grid:
        snap, settled = lambda values: values, lambda f, z: (values := f(z), values)
    with patch.multiple(task2, snap=snap, settled=settled):
        run = train(experiment, *data, seed)
    return run.val_loss[run.best], run.val_accuracy[run.best]


def print_cost(experiments: Sequence[Experiment], seeds: int) -> None:
    """Print losses and accuracies with the grid and without it, mean and standard deviation."""
    data = load(short=False)
    for experiment in experiments:
        found = Parallel(-1)(
            delayed(best_of)(experiment, data, seed, grid=grid)
            for grid in (True, False)
            for seed in range(1, seeds + 1)
        )
        with_grid, without = np.array(found).reshape(2, seeds, 2)
        for k, measure in enumerate(("validation loss", "validation accuracy")):
            columns = with_grid[:, k], without[:, k], with_grid[:, k] - without[:, k]
            spreads = [f"{c.mean():8.5f} ± {c.std(ddof=1):.5f}" for c in columns]
            lower = np.count_nonzero(columns[2] < 0)
            print(
                f"{experiment.name:12} {measure:20} with {spreads[0]}, without {spreads[1]}, "
                f"difference {spreads[2]}, lower with it in {lower} of {seeds} seeds",
                flush=True,
            )


def main() -> None:
    """Print a line for each setting and network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a few steps of two networks only")
    parser.add_argument("--epochs", type=int, help="end every training after so many")
    parser.add_argument("--print", action="store_true", help="digests of this process, as JSON")
    parser.add_argument("--cost", action="store_true", help="with the grid against without it")
    parser.add_argument("--seeds", type=int, default=10, help="of --cost")
    options = parser.parse_args()
    experiments = COMPARED if options.cost else SHORT if options.short else NETWORKS
    if options.epochs:
        experiments = [experiment._replace(epochs=options.epochs) for experiment in experiments]
    if options.cost:
        print_cost(experiments, options.seeds)
        return
    if options.print:
        print(json.dumps(digests(experiments, short=options.short)))
        return
    if missing := KERNELS.keys() - SETTINGS.keys():
        print(f"this processor cannot execute: {', '.join(sorted(missing))}")
    here, same = {}, True
    for name, found in digests_under_all(sys.argv[1:]):
        here = here or found
        same = same and found == here
        for network, sha in found.items():
            verdict = "same" if sha == here[network] else "DIFFERS"
            print(f"{name:22} {network:14} {sha[:16]} {verdict}", flush=True)
    if not same:
        sys.exit("the weights depend on the machine")


if __name__ == "__main__":
    main()

"""Train under other processors' arithmetic, and compare all bits of the weights.

    python tests/same_bits.py

trains every network of the report with its first seed under each of the settings, which takes some
minutes for each, and fails if a digest differs. What this processor cannot execute is named and
left out. `--short` takes a few steps of two networks.
`--cost` trains with and without rounding the gradients, and says what that changes.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from numpy._core import _multiarray_umath as numpy_core  # noqa: E402

import task2  # noqa: E402
from task2 import train_all, weights_digest  # noqa: E402
from task2a import Array, mean_X, one_hot_encode, pre_process_images, std_X  # noqa: E402
from task3 import TASK_3, compare, measure_all  # noqa: E402
from task4 import DEEP, TASK_3C, TASK_4  # noqa: E402
from utils import NUM_TRAIN, read_split  # noqa: E402

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


def digests(short: bool) -> dict[str, str]:
    """Return the digest of the weights of each network; short runs train on few images."""
    experiments = [e._replace(epochs=2) for e in (TASK_3C, DEEP)] if short else [*TASK_3, *TASK_4]
    # in this process, which NumPy's settings are for; a training itself takes one BLAS thread
    runs = train_all(experiments, *load(short), seeds=[1], jobs=1)
    return {name: weights_digest(run) for name, (run,) in runs.items()}


def digests_under(setting: Mapping[str, str], short: bool) -> dict[str, str]:
    """Return `digests`, computed in a process of its own, since NumPy reads a setting at import."""
    command = [sys.executable, __file__, "--print", *(["--short"] if short else [])]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **setting}
    return json.loads(subprocess.check_output(command, env=environment))


def digests_under_all(short: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each setting's name and its digests, computed side by side."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda setting: digests_under(setting, short), SETTINGS.values())
        yield from zip(SETTINGS, found, strict=True)


def print_cost() -> None:
    """Print how the results differ, seed by seed, from those without rounding."""
    data = load(short=False)
    measured = []
    for rounding in (task2.snap, lambda values, **_: values):
        task2.snap = rounding  # in this process only, so that there is one job
        runs = train_all([TASK_3C, DEEP], *data, seeds=range(1, 11), jobs=1)
        measured.append(measure_all(runs, data[2]))
    snapped, exact = measured
    for name in snapped:
        for figure in ("validation loss", "validation accuracy"):
            print(f"{name}, with rounding: {compare(snapped[name], exact[name], figure)}")


def main() -> None:
    """Print a line for each setting and network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a few steps of two networks only")
    parser.add_argument("--print", action="store_true", help="digests of this process, as JSON")
    parser.add_argument("--cost", action="store_true", help="with rounding against without")
    options = parser.parse_args()
    if options.cost:
        print_cost()
        return
    if options.print:
        print(json.dumps(digests(options.short)))
        return
    if missing := KERNELS.keys() - SETTINGS.keys():
        print(f"this processor cannot execute: {', '.join(sorted(missing))}")
    here, same = {}, True
    for name, found in digests_under_all(options.short):
        here = here or found
        same = same and found == here
        for network, digest in found.items():
            verdict = "same" if digest == here[network] else "DIFFERS"
            print(f"{name:22} {network:14} {digest[:16]} {verdict}", flush=True)
    if not same:
        sys.exit("the weights depend on the machine")


if __name__ == "__main__":
    main()

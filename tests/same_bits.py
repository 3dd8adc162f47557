"""Train under other processors' arithmetic, and compare all bits of the weights.

    python tests/same_bits.py

trains every network of the report with its first seed under each of the settings, which takes some
minutes for each, and fails if a digest differs. `--short` takes a few steps of two networks.
`--cost` trains with and without rounding the gradients, and says what that changes.
"""

import argparse
import json
import os
import subprocess
import sys
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


def disable(features: list[str]) -> dict[str, str]:
    """Return the setting that keeps NumPy from using what this processor has of the features."""
    present = [name for name in features if numpy_core.__cpu_features__.get(name)]
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(present)}


SETTINGS = {
    "this machine": {},
    "SSE3 kernels": {"OPENBLAS_CORETYPE": "Prescott"},
    "AVX2 kernels": {"OPENBLAS_CORETYPE": "Haswell"},
    "AVX-512 kernels": {"OPENBLAS_CORETYPE": "SkylakeX"},
    "two threads": {"OPENBLAS_NUM_THREADS": "2"},
    "NumPy without AVX-512": disable(AVX512),
    "NumPy without AVX2": disable(AVX512 + AVX2),
}


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
    # in this process, so that the number of BLAS threads is the setting's
    runs = train_all(experiments, *load(short), seeds=[1], jobs=1)
    return {name: weights_digest(run) for name, (run,) in runs.items()}


def digests_under(setting: dict[str, str], short: bool) -> dict[str, str]:
    """Return `digests`, computed in a process of its own, since NumPy reads a setting at import."""
    command = [sys.executable, __file__, "--print", *(["--short"] if short else [])]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **setting}
    return json.loads(subprocess.check_output(command, env=environment))


def print_cost() -> None:
    """Print how the results differ, seed by seed, from those without rounding."""
    data = load(short=False)
    measured = []
    for rounding in (task2.snap, lambda gradient: gradient):
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
    found = {}
    for name, setting in SETTINGS.items():
        found[name] = digests_under(setting, options.short)
        for network, digest in found[name].items():
            verdict = "same" if digest == found["this machine"][network] else "DIFFERS"
            print(f"{name:22} {network:14} {digest[:16]} {verdict}", flush=True)
    if any(digests != found["this machine"] for digests in found.values()):
        sys.exit("the weights depend on the machine")


if __name__ == "__main__":
    main()

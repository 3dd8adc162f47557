"""Finished trainings, and what was measured of them, in the user's cache folder.

Equal bits make it safe to take them again.

On the disk are arrays and no pickles, so that reading them executes nothing. Under `pytest` none
are read or written, see conftest.py.
"""

import hashlib
import io
import os
import platform
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import cloudpickle
import joblib
import numpy as np
import numpy.typing as npt

import task2
from report import trainings_folder
from task2 import Experiment, Run
from task2a import Array, Weights

LIMIT = 2**30  # bytes of the folder
VARIABLE = "REMEMBERED_TRAININGS"  # of the environment: "renew" reads none, "leave" nor writes any
CURVES = ("steps", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
WEIGHTS = ("best_weights", "last_weights")
NEEDED = {"epochs", *CURVES, *(f"{name} 0" for name in WEIGHTS)}


def sources() -> dict[str, bytes]:
    """Return the files that a training is made of, by name."""
    directory = Path(task2.__file__).parent
    paths = sorted([*directory.glob("task*.py"), directory / "utils.py"])
    return {path.name: path.read_bytes() for path in paths}


IMPORTED = sources()  # what this process executes, whatever is edited later
TASK_FILES = {Path(name).stem for name in IMPORTED}
KNOWN = TASK_FILES | sys.stdlib_module_names | {"__main__", "numpy", "cloudpickle"}


def unnamed(value: object) -> object:
    """Return tuples without names, since a class of the notebook is another one each time."""
    return tuple(map(unnamed, value)) if isinstance(value, tuple) else value


def described(*values: object) -> bytes | None:
    """Return bytes that are equal only for equal values, or None if that cannot be told.

    Functions count by their code and by all that it refers to, as far as that is NumPy's, Python's,
    or in the task files or the notebook.
    """
    packages = set()  # of all that is referred to

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, obj: object) -> object:
            module = obj.__name__ if isinstance(obj, ModuleType) else None
            module = module or getattr(obj, "__module__", None) or type(obj).__module__
            packages.add(module.partition(".")[0])
            return super().reducer_override(obj)

    content = io.BytesIO()
    Pickler(content).dump(values)
    return None if packages - KNOWN else content.getvalue()


def common(*values: object) -> str | None:
    """Return a digest of values, task files and versions; None if nothing is to be remembered."""
    if os.environ.get(VARIABLE) == "leave" or sources() != IMPORTED:
        return None
    versions = np.__version__, platform.python_version(), platform.machine()
    return joblib.hash((IMPORTED, versions, *values), hash_name="sha1")


def named(folder: Path, shared: str, text: bytes | None) -> Path | None:
    """Return the file of a folder that a digest and bytes name together; None if there are none."""
    return text and folder / (hashlib.sha256(shared.encode() + text).hexdigest() + ".npz")


def places(
    trainings: Iterable[tuple[Experiment, int]], data: Collection[Array], keep_at: Collection[int]
) -> list[Path | None]:
    """Return the file of every training; None for one that is neither looked up nor stored.

    The name of a file tells all that can change a result: the files with the code, the versions of
    Python and NumPy, the kind of processor, the data, the seed, and all settings but the name.

    Args:
        trainings: experiment and seed of each.
        data, keep_at: as for `train`.
    """
    trainings = list(trainings)
    shared = common(tuple(data), sorted(keep_at))
    if shared is None:
        return [None] * len(trainings)
    folder = trainings_folder()
    return [named(folder, shared, described(unnamed(e[1:]), seed)) for e, seed in trainings]


def places_of_measures(
    function: Callable, runs: Iterable[Run], data: Collection[Array]
) -> list[Path | None]:
    """Return the file of what a function finds of every run; None if it is not to be remembered.

    Args:
        function: it counts by its name and by the `SOURCE` of its module, which uses no others but
            the task files and `utils`; one that has none, or is not found there, is not remembered.
        runs: all that they hold counts, but for their names and seeds.
        data: the other arguments of the function.
    """
    runs, module = list(runs), vars(sys.modules[function.__module__])
    source = module.get("SOURCE") if module.get(function.__name__) is function else None
    shared = common(function.__name__, source, tuple(data))
    if source is None or shared is None:
        return [None] * len(runs)
    folder = trainings_folder().with_name("measures")
    contents = ({name: a.copy() for name, a in arrays_of(run).items()} for run in runs)
    return [
        named(folder, shared, described(unnamed(run.experiment[1:]), joblib.hash(content)))
        for run, content in zip(runs, contents, strict=True)
    ]


def load(path: Path | None) -> dict[str, npt.NDArray] | None:
    """Return the arrays of a file that `store` wrote, or None if there is none to be believed."""
    if path is None or os.environ.get(VARIABLE) == "renew":
        return None
    try:
        about = path.parent.stat()
        if os.name == "posix" and (about.st_uid != os.getuid() or about.st_mode & 0o022):
            return None  # others could have put it there
        with np.load(path) as file:  # which compares checksums
            arrays = dict(file)
        os.utime(path)
        return arrays if str(arrays.pop("name")) == path.name else None
    except Exception:  # whatever a damaged file can raise
        return None


def store(path: Path | None, arrays: Mapping[str, object]) -> None:
    """Write arrays to a file of which `load` can read them, if the folder can be written to."""
    if path is None:
        return
    new = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with new.open("wb") as file:
            np.savez(file, name=path.name, **arrays)
        new.replace(path)
        thin(path.parent)
    except OSError:  # then it is made anew the next time
        with suppress(OSError):
            new.unlink()


def arrays_of(run: Run) -> dict[str, npt.NDArray]:
    """Return all that a run holds but its experiment and seed, as arrays with names."""
    weights = {name: getattr(run, name) for name in WEIGHTS} | run.kept_weights
    matrices = {f"{name} {layer}": w for name, ws in weights.items() for layer, w in enumerate(ws)}
    return matrices | {name: np.asarray(getattr(run, name)) for name in ("epochs", *CURVES)}


def recall(path: Path | None, experiment: Experiment, seed: int) -> Run | None:
    """Return the run in a file, or None if there is none that can be believed.

    Args:
        path: what `places` returned for the training.
        experiment, seed: whose it is.
    """
    arrays = load(path)
    if arrays is None or not arrays.keys() >= NEEDED:
        return None
    epochs, *curves = arrays.pop("epochs").item(), *map(arrays.pop, CURVES)
    matrices: dict[str, Weights] = {}
    for name, w in arrays.items():
        matrices.setdefault(name.partition(" ")[0], []).append(w)
    best, last = map(matrices.pop, WEIGHTS)
    kept = {int(step): ws for step, ws in matrices.items()}
    return Run(experiment, seed, epochs, *curves, best, last, kept)


def thin(directory: Path, limit: int = LIMIT) -> None:
    """Delete what was not used for longest until the files have no more than `limit` bytes."""
    files = [(path, path.stat()) for path in directory.iterdir()]
    size = 0
    for path, about in sorted(files, key=lambda file: -file[1].st_mtime_ns):
        size += about.st_size
        if size > limit:
            path.unlink(missing_ok=True)

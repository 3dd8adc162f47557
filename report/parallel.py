"""Runs side by side, each in a process of its own with one BLAS thread."""

import os
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread
from time import sleep

from cloudpickle import register_pickle_by_value, unregister_pickle_by_value
from joblib import Parallel, delayed, parallel_config, wrap_non_picklable_objects
from joblib.externals.loky import get_reusable_executor

from report import remembered
from task2 import Experiment, Run, train
from task2a import Array
from utils import progress

LONGEST = 200  # characters of a temporary folder, of the 512 that joblib's tracker takes in all


def end_with_parent() -> None:
    """Have this worker end soon after the process that started it, however that ended."""
    parent = parent_process()

    def watch() -> None:
        if os.name == "nt":  # where the parent's number stays, and there is a handle to wait for
            parent.join()
        else:
            while os.getppid() == parent.pid:
                sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def sent_by_value() -> Iterator[None]:
    """Send workers the functions of this folder as they are here.

    By name they would look for files, and may find others: older ones on PYTHONPATH, or newer than
    what this process has imported.
    """
    here = Path(__file__).resolve().parent
    files = {name: getattr(module, "__file__", None) for name, module in [*sys.modules.items()]}
    names = [name for name, file in files.items() if isinstance(file, str)]
    beside = [n for n in names if Path(files[n]).resolve().parent in (here, here.parent)]
    ours = [sys.modules[name] for name in beside if sys.modules[name].__name__ == name]
    for module in ours:
        register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in ours:
            unregister_pickle_by_value(module)


@contextmanager
def stderr_of_workers_nowhere() -> Iterator[None]:
    """In a notebook, keep what the system and started processes write to stderr out of the cell."""
    kept = None
    if sys.stderr is not sys.__stderr__:  # that of a terminal disturbs no report
        with suppress(OSError):  # a kernel without any
            kept = os.dup(2)
    if kept is None:
        yield
        return
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def shared_memory() -> dict[str, str | None]:
    """Return where joblib can share arrays with workers, and whether it can at all.

    The name of the folder must be one that joblib's tracker can spell: ASCII, and not too long.
    """
    wanted = os.environ.get("JOBLIB_TEMP_FOLDER") or tempfile.gettempdir()
    if can_be_spelt(str(Path(wanted).expanduser().absolute())):
        return {}
    for folder in filter(None, ("/tmp", "/var/tmp", os.environ.get("PUBLIC"))):
        if os.access(folder, os.W_OK) and can_be_spelt(folder):
            return {"temp_folder": folder}
    return {"temp_folder": os.sep, "max_nbytes": None}  # nothing is written to it


def can_be_spelt(folder: str) -> bool:
    """Tell whether joblib's tracker of temporary files can take this name in a line."""
    return folder.isascii() and folder.isprintable() and len(folder) <= LONGEST


def trained(experiment: Experiment, *data: Array, **options: object) -> tuple:
    """Return what `train` finds but for the experiment, whose functions stay where they are."""
    return train(experiment, *data, **options)[1:]


def train_all(
    experiments: Sequence[Experiment],
    *data: Array,
    seeds: Iterable[int],
    keep_at: Collection[int] = (),
    jobs: int = -1,
) -> dict[str, list[Run]]:
    """Train every experiment once a seed, side by side.

    Those that were trained before, with the same code, are taken from `remembered`. At the end
    joblib's workers, which are shared by all of this process, are ended.

    Args:
        experiments: of different names.
        data, keep_at: as for `train`, shared by all of them.
        seeds: one for each run of an experiment.
        jobs: processes, as joblib counts them: -1 is one a core; 1 trains in this process.
    Returns:
        The runs of each experiment's name, in the order of the seeds; they do not depend on `jobs`.
    Raises:
        ValueError: two experiments have one name, or there is no seed.
        FloatingPointError: one of them diverged.
    """
    runs: dict[str, list[Run]] = {experiment.name: [] for experiment in experiments}
    if len(runs) < len(experiments):
        raise ValueError(
            f"experiments are {[e.name for e in experiments]}, expected a different name for each"
        )
    seeds = list(seeds)  # to go through once for each experiment
    if not seeds:
        raise ValueError("seeds are [], expected one or more, one for each run")
    largest_first = sorted(experiments, key=lambda e: -sum(e.neurons_per_layer))  # fills the end
    asked = [(experiment, seed) for experiment in largest_first for seed in seeds]
    places = remembered.places(asked, data, keep_at)
    found = [remembered.recall(place, *one) for place, one in zip(places, asked, strict=True)]
    missing = [i for i, run in enumerate(found) if run is None]
    trainings = [
        delayed(wrap_non_picklable_objects(partial(trained, e)))(*data, seed=seed, keep_at=keep_at)
        for e, seed in (asked[i] for i in missing)
    ]
    try:
        with (
            sent_by_value(),
            stderr_of_workers_nowhere(),
            parallel_config(**shared_memory()),
            progress("runs", len(asked)) as advance,
        ):
            advance(done := len(asked) - len(missing))
            finished = Parallel(jobs, return_as="generator", initializer=end_with_parent)(trainings)
            for i, result in zip(missing, finished, strict=True):
                found[i] = run = Run(asked[i][0], *result)
                remembered.store(places[i], remembered.arrays_of(run))
                done += 1
                advance(done, last=run.experiment.name, loss=run.val_loss[run.best])
    finally:  # an idle worker would keep the task files as they were, whatever is edited since
        if jobs != 1:
            get_reusable_executor(reuse=True).shutdown(kill_workers=True)
    for (experiment, _), run in zip(asked, found, strict=True):
        runs[experiment.name].append(run)
    return runs

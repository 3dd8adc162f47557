"""Runs side by side, each in a process of its own with one BLAS thread."""

import os
from collections.abc import Collection, Iterable, Sequence
from multiprocessing import parent_process
from threading import Thread
from time import sleep

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from task2 import Experiment, Run, train
from task2a import Array
from utils import progress


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


def train_all(
    experiments: Sequence[Experiment],
    *data: Array,
    seeds: Iterable[int],
    keep_at: Collection[int] = (),
    jobs: int = -1,
) -> dict[str, list[Run]]:
    """Train every experiment once a seed, side by side.

    At the end joblib's workers, which are shared by all of this process, are ended.

    Args:
        experiments: of different names.
        data, keep_at: as for `train`, shared by all of them.
        seeds: one for each run of an experiment; without any there are none.
        jobs: processes, as joblib counts them: -1 is one a core; 1 trains in this process.
    Returns:
        The runs of each experiment's name, in the order of the seeds; they do not depend on `jobs`.
    Raises:
        ValueError: two experiments have one name.
        FloatingPointError: one of them diverged.
    """
    runs: dict[str, list[Run]] = {experiment.name: [] for experiment in experiments}
    if len(runs) < len(experiments):
        raise ValueError(
            f"experiments are {[e.name for e in experiments]}, expected a different name for each"
        )
    seeds = list(seeds)  # to go through once for each experiment
    largest_first = sorted(experiments, key=lambda e: -sum(e.neurons_per_layer))  # fills the end
    trainings = [delayed(train)(e, *data, s, keep_at) for e in largest_first for s in seeds]
    try:
        with progress("runs", len(trainings)) as advance:
            finished = Parallel(jobs, return_as="generator", initializer=end_with_parent)(trainings)
            for done, run in enumerate(finished, start=1):
                runs[run.experiment.name].append(run)
                advance(done, last=run.experiment.name, loss=run.val_loss[run.best])
    finally:  # an idle worker would keep the task files as they were, whatever is edited since
        if jobs != 1:
            get_reusable_executor(reuse=True).shutdown(kill_workers=True)
    return runs

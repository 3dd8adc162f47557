import gc
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace

import nbformat
import numpy as np
import psutil
import pytest
from cloudpickle import list_registry_pickle_by_value
from joblib import _memmapping_reducer
from nbclient import NotebookClient

from report import parallel
from report.bits import weights_digest
from report.parallel import train_all
from task2 import Experiment, train
from task3 import TASK_3C

ROOT = Path(__file__).resolve().parent.parent
SMALL = Experiment("small", neurons_per_layer=(8, 3), learning_rate=2.0, batch_size=4, epochs=3)
DEEP = TASK_3C._replace(name="deep", neurons_per_layer=(9, 4, 3), batch_size=8, epochs=4)


def data(seed=0):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(60, 6)), np.eye(3)[rng.integers(0, 3, 60)]
    return X[:40], Y[:40], X[40:], Y[40:]


def assert_equal_runs(run, other):
    assert (run.experiment, run.seed, run.epochs) == (other.experiment, other.seed, other.epochs)
    np.testing.assert_array_equal(run[3:8], other[3:8])
    for ws, others in [
        (run.best_weights, other.best_weights),
        (run.last_weights, other.last_weights),
        *((run.kept_weights[step], other.kept_weights[step]) for step in run.kept_weights),
    ]:
        for w, v in zip(ws, others, strict=True):
            np.testing.assert_array_equal(w, v)
    assert list(run.kept_weights) == list(other.kept_weights)


@pytest.mark.parametrize("jobs", [1, 2])
def test_runs_are_those_of_train_whatever_the_number_of_processes(jobs):
    runs = train_all([SMALL, DEEP], *data(), seeds=[2, 1, 7], keep_at=[0, 2], jobs=jobs)
    assert list(runs) == ["small", "deep"]
    for experiment in (SMALL, DEEP):
        for run, seed in zip(runs[experiment.name], [2, 1, 7], strict=True):
            assert_equal_runs(run, train(experiment, *data(), seed, keep_at=[0, 2]))


def test_seeds_may_come_from_an_iterator():
    few = SMALL._replace(epochs=1)
    runs = train_all([few, few._replace(name="b")], *data(), seeds=iter([2, 1]), jobs=1)
    seeds = {name: [run.seed for run in of_one] for name, of_one in runs.items()}
    assert seeds == {"small": [2, 1], "b": [2, 1]}


@pytest.mark.parametrize("none", [[], iter([])])
def test_without_a_seed_there_is_nothing_to_train(none):
    with pytest.raises(ValueError, match=r"^seeds are \[\], expected one or more"):
        train_all([SMALL], *data(), seeds=none)


def test_experiments_of_one_name_are_refused():
    named = r"experiments are \['small', 'deep', 'small'\], expected a different name for each"
    with pytest.raises(ValueError, match=named):
        train_all([SMALL, DEEP, SMALL._replace(epochs=9)], *data(), seeds=[0], jobs=1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("jobs", [1, 2])
def test_one_diverging_run_is_an_error(jobs):
    wild = SMALL._replace(name="wild", learning_rate=1e200)
    with pytest.raises(FloatingPointError, match=r"wild: sums reach .* learning rate 1e\+200"):
        train_all([SMALL, wild], *data(), seeds=[0], jobs=jobs)


def test_runs_use_all_cores_largest_first_and_are_announced(monkeypatch):
    noted = []

    def engine(jobs, return_as, initializer):
        noted.append((jobs, return_as, initializer))
        return lambda trainings: (function(*args, **kw) for function, args, kw in trainings)

    @contextmanager
    def progress(description, total):
        noted.append((description, total))
        yield lambda done, **figures: noted.append((done, figures))

    monkeypatch.setattr(parallel, "Parallel", engine)
    monkeypatch.setattr(parallel, "progress", progress)
    large = SMALL._replace(name="large", neurons_per_layer=(4,) * 9 + (3,), epochs=1)
    runs = train_all([SMALL, large, DEEP], *data(), seeds=[0])
    assert list(runs) == ["small", "large", "deep"]
    begun = ["large", "deep", "small"]
    shown = [{"last": name, "loss": runs[name][0].val_loss.min()} for name in begun]
    expected = [("runs", 3), (0, {}), (-1, "generator", parallel.end_with_parent)]
    assert noted == [*expected, *enumerate(shown, start=1)]


@pytest.mark.parametrize(("jobs", "ended"), [(1, 0), (2, 1), (-1, 1)])
def test_workers_are_ended_if_there_are_any(jobs, ended, monkeypatch):
    shutdowns = []
    executor = SimpleNamespace(shutdown=lambda kill_workers: shutdowns.append(kill_workers))
    result = train(SMALL, *data(), 0)[1:]
    monkeypatch.setattr(parallel, "Parallel", lambda *_, **__: lambda trainings: [result])
    monkeypatch.setattr(parallel, "get_reusable_executor", lambda **_: executor)
    train_all([SMALL], *data(), seeds=[0], jobs=jobs)
    assert shutdowns == [True] * ended


# ---- the code that workers run, and where they meet


OTHER = {  # of the same names, elsewhere
    "task2a.py": "raise ImportError('another task2a.py')",
    "utils.py": "def small_matrices(): ...\n",
    "task2.py": "def train(*args, **options): return list(range(11))\n",
    "sitecustomize.py": "import os, sys\nif 'loky' in str(sys.orig_argv): os.write(2, b'chatter')",
}
IN_A_KERNEL = """
%run utils.py
%run task2.py
%run task3.py
from report.parallel import train_all
small = TASK_3C._replace(neurons_per_layer=(8, 3), epochs=2)
X, Y = np.ones((60, 6)), np.eye(3)[np.arange(60) % 3]
here, there = (train_all([small], X, Y, X, Y, seeds=[1, 2], jobs=jobs) for jobs in (1, 2))
for run, other in zip(here["Task 3c"], there["Task 3c"]):
    print((run.val_loss == other.val_loss).all(), run.experiment is other.experiment)
"""


def shown_by_kernel(source, folder, **variables):
    """Return what a cell shows of itself in a kernel that takes itself for a reader's."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    hidden = "PYTEST_CURRENT_TEST"  # with which it would not show what reaches stderr
    untold = {name: value for name, value in os.environ.items() if name != hidden}
    client = NotebookClient(notebook, resources={"metadata": {"path": folder}})
    client.execute(env=untold | variables)
    return "".join(output.get("text", "") for output in notebook.cells[0].outputs)


@pytest.mark.parametrize("names", [["task2a.py"], ["utils.py", "task2.py"], ["sitecustomize.py"]])
def test_the_path_changes_neither_what_workers_run_nor_what_is_shown(names, tmp_path):
    for name in names:
        (tmp_path / name).write_text(OTHER[name])
    shown = shown_by_kernel(IN_A_KERNEL, ROOT, PYTHONPATH=str(tmp_path))
    assert shown == "True True\n" * 2


def test_workers_run_what_was_imported_though_the_file_is_another_since(tmp_path):
    for path in [*ROOT.glob("*.py"), *ROOT.glob("report/*.py")]:
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    edit = "from pathlib import Path\nPath('task2a.py').write_text('raise ImportError')\nsmall ="
    shown = shown_by_kernel(IN_A_KERNEL.replace("small =", edit, 1), tmp_path)
    assert shown == "True True\n" * 2


def test_what_draw_writes_to_stderr_in_a_worker_is_not_shown_by_the_cell():
    draw = "def draw(rng, shape):\n    import os\n    os.write(2, b'chatter')\n"
    draw += "    return np.zeros(shape)\nsmall = TASK_3C._replace(draw=draw, "
    source = IN_A_KERNEL.replace("small = TASK_3C._replace(", draw).replace("(1, 2)", "(2, 2)")
    assert shown_by_kernel(source, ROOT) == "True True\n" * 2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rate", [0.1, 1e200], ids=["finished", "failed"])
def test_a_training_leaves_stderr_and_what_is_sent_by_value_as_they_were(rate, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # as in a notebook
    stderr = os.fstat(2)
    with suppress(FloatingPointError):
        train_all([SMALL._replace(learning_rate=rate)], *data(), seeds=[0], jobs=1)
    assert os.path.samestat(os.fstat(2), stderr)
    assert not list_registry_pickle_by_value()


@pytest.mark.parametrize("alias", ["an_alias", "zz_alias"])
def test_a_module_of_two_names_is_sent_once(alias, monkeypatch):
    monkeypatch.setitem(sys.modules, alias, sys.modules["task2"])
    with parallel.sent_by_value():
        assert {"task2", "report.parallel"} <= list_registry_pickle_by_value()
    assert not list_registry_pickle_by_value()


def open_files():
    """How many files this process has open, without those that only wait to be collected."""
    gc.collect()
    count = 0
    for number in range(1024):
        with suppress(OSError):
            os.fstat(number)
            count += 1
    return count


def test_a_training_closes_what_it_opens(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # as in a notebook
    opened = []
    for _ in range(11):  # other things may open or close a file now and then
        train_all([SMALL._replace(epochs=1)], *data(), seeds=[0], jobs=1)
        opened.append(open_files())
    assert opened[-1] - opened[0] < 10


FOLDERS = ["Ø", "папка", f"{'x' * 200}/{'y' * 200}", "a new\nline: '\"%~"]


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("variable", ["TMPDIR", "JOBLIB_TEMP_FOLDER"])
def test_a_temporary_folder_of_any_name_will_do(variable, name, tmp_path, monkeypatch):
    (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(_memmapping_reducer, "SYSTEM_SHARED_MEM_FS_MIN_SIZE", math.inf)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv(variable, str(tmp_path / name))
    X, Y = np.ones((200_000, 6)), np.eye(3)[np.zeros(200_000, int)]  # large enough to be shared
    shallow = SMALL._replace(neurons_per_layer=(3,), batch_size=100_000, epochs=1)
    (run,) = train_all([shallow], X, Y, X[:9], Y[:9], seeds=[1], jobs=2)["small"]
    assert_equal_runs(run, train(shallow, X, Y, X[:9], Y[:9], 1))
    assert list((tmp_path / name).iterdir()) == []


@pytest.mark.parametrize("length", [1, 199, 200, 201])
def test_arrays_are_shared_in_a_folder_that_can_be_spelt(length, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", f"/{'x' * (length - 1)}")
    monkeypatch.setattr(os, "access", lambda folder, _: folder == "/var/tmp")
    assert parallel.shared_memory() == ({} if length <= 200 else {"temp_folder": "/var/tmp"})


def test_without_any_folder_that_can_be_spelt_arrays_are_not_shared(monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", "/Ø")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert parallel.shared_memory() == {"temp_folder": os.sep, "max_nbytes": None}
    runs = train_all([SMALL], *data(), seeds=[1], jobs=2)
    assert_equal_runs(runs["small"][0], train(SMALL, *data(), 1))


# ---- processes


def running(pids):
    """Those of the processes that run, a zombie's number being all that is left of it."""
    alive = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
        except psutil.NoSuchProcess:
            pass
    return alive


def still_running(pids, seconds):
    """Those that run even after so many seconds, which are then killed."""
    end = monotonic() + seconds
    while running(pids) and monotonic() < end:
        sleep(0.1)
    left = running(pids)
    for pid in left:
        psutil.Process(pid).kill()
    return left


HEAVY = {"matplotlib", "typst", "IPython", "ipykernel", "pandas", "PIL", "nbformat", "handin"}
# every worker tells its number and what it has imported, when it draws the first weights
REPORTING = """
import json, os, sys
import numpy as np
from report.parallel import train_all
from task2 import Experiment
here = sorted(NAMED & set(sys.modules))
def draw(rng, shape):
    line = json.dumps([os.getpid(), sorted(NAMED & set(sys.modules))])
    os.write(1, f"{line}\\n".encode())  # at once: the other one writes, too
    return np.zeros(shape)
X, Y = np.zeros((1000, 785)), np.eye(10)[[0] * 1000]
experiment = Experiment("long", (10,), draw=draw, epochs=EPOCHS)
if __name__ == "__main__":
    train_all([experiment], X, Y, X, Y, seeds=[1, 2], jobs=2)
    print(json.dumps([os.getpid(), here]), flush=True)
    input()
"""


def start(epochs):
    code = REPORTING.replace("EPOCHS", str(epochs)).replace("NAMED", str(HEAVY | {"task2"}))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes)


@pytest.fixture(scope="module")
def reports():
    """Numbers and modules of two workers and of their parent, and which of them live on."""
    with start(epochs=1) as process:
        found = [json.loads(process.stdout.readline()) for _ in range(3)]
        pids = [pid for pid, _ in found]
        alive = [process.pid, *still_running([pid for pid in pids if pid != process.pid], 5)]
        process.communicate("\n")
    return [*found, alive]


def test_workers_import_nothing_that_draws_or_exports_and_no_task_file(reports):
    *workers, (parent, _), _ = reports
    assert parent not in [pid for pid, _ in workers]
    for _, imported in workers:
        assert imported == []


def test_who_starts_them_imports_nothing_that_draws_or_exports(reports):
    *_, (_, imported), _ = reports
    assert imported == ["task2"]


@pytest.mark.parametrize("module", ["utils", "task2a", "task2", "task3", "task4"])
def test_a_task_file_imports_only_what_is_below_it(module):
    code = f"import sys, {module}; print(*sys.modules)"
    imported = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split()
    ours = {"utils", "task2a", "task2", "task3", "task4", "report", "handin"} & set(imported)
    below = {
        "utils": {"utils"},
        "task2a": {"task2a"},
        "task2": {"utils", "task2a", "task2"},
        "task3": {"utils", "task2a", "task2", "task3"},
        "task4": {"utils", "task2a", "task2", "task3", "task4"},
    }
    assert ours <= below[module]
    assert not (HEAVY | {"joblib"}) & set(imported)


def test_idle_workers_are_ended(reports):
    *found, (parent, _), alive = reports
    assert len({pid for pid, _ in found}) >= 1
    assert alive == [parent]


def test_no_training_outlives_the_process_that_wants_it():
    with start(epochs=10**6) as process:
        pids = {json.loads(process.stdout.readline())[0] for _ in range(2)}
        assert running(pids) == list(pids)
        process.kill()
        assert still_running(pids, seconds=10) == []


CLUSTER = """
import json, sys
import distributed, joblib
from report.bits import weights_digest
from report.parallel import train_all
from tests.test_parallel import DEEP, SMALL, data
settings = {"threads_per_worker": 1, "dashboard_address": None, "local_directory": sys.argv[1]}
if __name__ == "__main__":
    with (
        distributed.LocalCluster(n_workers=2, **settings) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        runs = train_all([SMALL, DEEP], *data(), seeds=[2, 1])
        files = client.run(lambda: [name for name in sys.modules if name in ("utils", "task2")])
        tasks = client.run(lambda dask_worker: dask_worker.state.log)
    digests = {name: weights_digest(of_one) for name, of_one in runs.items()}
    print(json.dumps([digests, [*files.values()], any(tasks.values())]))
"""


def test_a_cluster_trains_the_same_without_a_change_of_code(tmp_path):
    # in a process of its own: its scheduler makes the classes that are sent by value anew
    command = [sys.executable, "-c", CLUSTER, tmp_path]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    digests, files, busy = json.loads(shown)
    assert (files, busy) == ([[], []], True)
    for experiment in (SMALL, DEEP):
        runs = [train(experiment, *data(), seed) for seed in (2, 1)]
        assert digests[experiment.name] == weights_digest(runs)

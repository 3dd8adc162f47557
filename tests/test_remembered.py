import os
import subprocess
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import task2
from report import measures, parallel, remembered, trainings_folder
from report.measures import accuracies, accuracy_of, measure_all, measures_of
from report.parallel import train_all
from task2 import Run
from task2a import SIGMOID, Activation
from task3 import IMPROVED_SIGMOID, fan_in_normal, momentum
from tests.test_parallel import DEEP, SMALL, assert_equal_runs, data

ROOT = Path(__file__).resolve().parent.parent
DATA = data()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Trainings are remembered in here."""
    monkeypatch.delenv(remembered.VARIABLE)
    monkeypatch.setattr(remembered, "trainings_folder", lambda: tmp_path / "cache" / "trainings")
    return tmp_path / "cache" / "trainings"


def trained(experiments=(SMALL, DEEP), seeds=(1, 2), of=DATA, **options):
    """Return the runs, and how many of them had to be trained."""
    counted = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            parallel, "trained", lambda *args, **kw: counted.append(args) or train(*args, **kw)
        )
        runs = train_all(experiments, *of, seeds=seeds, jobs=1, **options)
    return runs, len(counted)


def train(experiment, *args, **options):
    return task2.train(experiment, *args, **options)[1:]


def place(experiment=SMALL, seed=0, of=DATA, keep_at=()):
    return remembered.places([(experiment, seed)], of, keep_at)[0]


def test_a_training_done_before_is_not_done_again(folder):
    first, begun = trained(keep_at=[0, 2])
    again, begun_again = trained(keep_at=[0, 2])
    assert (begun, begun_again) == (4, 0)
    assert list(again) == ["small", "deep"]
    for name in first:
        for run, other in zip(first[name], again[name], strict=True):
            assert_equal_runs(run, other)


def test_twelve_layers_and_steps_of_any_number_of_digits_come_back_in_order(folder):
    long = SMALL._replace(neurons_per_layer=(4,) * 11 + (3,), epochs=6)
    (first,), (again,) = (trained([long], [1], keep_at=[0, 8, 10])[0]["small"] for _ in range(2))
    assert list(again.kept_weights) == [0, 8, 10]
    assert_equal_runs(first, again)


def test_only_what_is_missing_is_trained_in_its_place(folder):
    trained(seeds=[2])
    runs, begun = trained(seeds=[1, 2, 3])
    assert begun == 4
    for experiment in (SMALL, DEEP):
        for run, seed in zip(runs[experiment.name], [1, 2, 3], strict=True):
            assert_equal_runs(run, task2.train(experiment, *DATA, seed))


def test_what_is_remembered_counts_as_done_from_the_start(folder, monkeypatch):
    @contextmanager
    def progress(_, total):
        yield lambda done, **_: noted.append((done, total))

    noted = []
    monkeypatch.setattr(parallel, "progress", progress)
    trained([SMALL], [1, 2])
    trained([DEEP, SMALL], [3, 2, 1])
    assert noted == [(0, 2), (1, 2), (2, 2), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]


def test_remembered_runs_come_with_workers_too(folder):
    first = train_all([SMALL, DEEP], *DATA, seeds=[1, 2], jobs=2)
    again, begun = trained()
    assert begun == 0
    for name in first:
        for run, other in zip(first[name], again[name], strict=True):
            assert_equal_runs(run, other)


def test_another_name_is_the_same_training(folder):
    trained()
    renamed = [e._replace(name=e.name + " again") for e in (SMALL, DEEP)]
    runs, begun = trained(renamed)
    assert begun == 0
    assert [runs[e.name][0].experiment for e in renamed] == renamed


OTHER = {
    "neurons_per_layer": (9, 3),
    "draw": fan_in_normal,
    "activation": IMPROVED_SIGMOID,
    "update": momentum,
    "learning_rate": 2.5,
    "batch_size": 5,
    "epochs": 4,
}


def test_the_settings_are_all_there():
    assert ["name", *OTHER] == list(SMALL._fields)


@pytest.mark.parametrize("setting", OTHER)
def test_another_setting_is_another_training(folder, setting):
    assert place(SMALL._replace(**{setting: OTHER[setting]})) != place()


@pytest.mark.parametrize("part", ["function", "slope"])
def test_another_part_of_the_activation_is_another_training(folder, part):
    other = SIGMOID._replace(**{part: getattr(IMPROVED_SIGMOID, part)})
    assert place(SMALL._replace(activation=other)) != place()


def test_another_seed_or_weights_to_keep_are_another_training(folder):
    assert len({place(), place(seed=1), place(keep_at=[0]), place(keep_at=[0, 2])}) == 4
    assert place(keep_at=[0, 2]) == place(keep_at=(2, 0))


@pytest.mark.parametrize("changed", range(4))
@pytest.mark.parametrize("change", [lambda x: x + 2.0**-40, lambda x: x[:-1], np.float32])
def test_other_data_are_another_training(folder, changed, change):
    other = [change(x) if i == changed else x for i, x in enumerate(DATA)]
    assert place(of=other) != place()


@pytest.mark.parametrize(
    ("version", "other"),
    [
        ("numpy.__version__", np.__version__ + ".1"),
        ("platform.python_version", lambda: f"{sys.version.split()[0]}.1"),
        ("platform.machine", lambda: "another"),
    ],
)
def test_another_version_is_another_training_however_near(folder, version, other, monkeypatch):
    before = place()
    monkeypatch.setattr(version, other)
    assert place() != before


@pytest.mark.parametrize("name", ["utils.py", "task2a.py", "task2.py", "task3.py", "task4.py"])
def test_other_code_is_another_training(folder, name, monkeypatch):
    before, files = place(), remembered.sources()
    files[name] += b"\n"
    monkeypatch.setattr(remembered, "sources", lambda: files)
    assert place() is None  # this process has imported what the files were
    monkeypatch.setattr(remembered, "IMPORTED", files)
    assert place() not in (None, before)


def with_activation(source, **names):
    """Return an experiment whose activation is the function `f` that a notebook defines."""
    names |= {"__name__": "__main__", "np": np}
    exec(source, names)
    activation = Activation("", names["f"], SIGMOID.slope)
    return SMALL._replace(activation=activation, learning_rate=0.1)


FUNCTIONS = [
    "def f(z): return 2 * z",
    "def f(z, by=3): return by * z",
    "def f(z, by=4): return by * z",
    "def f(z, *, by=4): return by * z",
    "by = 3\ndef f(z): return by * z",
    "by = 4\ndef f(z): return by * z",
    "def f(z): return np.sin(z)",
    "def f(z): return np.cos(z)",
    "def g(z): return z + 1\ndef f(z): return g(z)",
    "def g(z): return z + 2\ndef f(z): return g(z)",
    "def g(z): return z + 2\ndef f(z): return [g(x) for x in z]",
    "def g(z): return z + 3\ndef f(z): return [g(x) for x in z]",
    "f = (lambda by: lambda z: by * z)(3)",
    "f = (lambda by: lambda z: by * z)(4)",
    "from functools import partial\nf = partial(np.clip, -1, 1)",
    "from functools import partial\nf = partial(np.clip, -1, 2)",
    "table = {1: 2.0}\ndef f(z): return table[1] * z",
    "table = {1: 3.0}\ndef f(z): return table[1] * z",
    "table = np.arange(3)\ndef f(z): return table[1] * z",
    "table = np.arange(4)\ndef f(z): return table[1] * z",
]


@pytest.mark.parametrize("source", FUNCTIONS)
def test_functions_of_the_notebook_count_by_all_that_they_do(folder, source):
    equal = [place(with_activation(source)) == place(with_activation(f)) for f in FUNCTIONS]
    assert equal == [f == source for f in FUNCTIONS]
    assert place(with_activation(source))


@pytest.mark.parametrize("source", ["f = m.f", "def f(z): return m.f(z)", "def f(z): return g(z)"])
def test_functions_of_other_packages_are_not_remembered(folder, source, monkeypatch):
    module = types.ModuleType("of_somebody")
    exec("import numpy as np\ndef f(z): return 1 / (1 + np.exp(-z))", vars(module))
    monkeypatch.setitem(sys.modules, "of_somebody", module)
    other = with_activation(source, m=module, g=module.f)
    assert place(other) is None
    assert trained([other])[1] == trained([other])[1] == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda file, other: b"",
        lambda file, other: file[: len(file) // 2],
        lambda file, other: file[:-1],
        lambda file, other: file[:2000] + bytes([file[2000] ^ 1]) + file[2001:],
        lambda file, other: bytes(len(file)),
        lambda file, other: other,
    ],
    ids=["empty", "half", "short", "a bit", "zeros", "another's"],
)
def test_what_is_damaged_or_of_another_training_is_trained_anew(folder, damage):
    first, _ = trained([SMALL], [1])
    (mine,) = folder.iterdir()
    trained([SMALL], [2])
    (other,) = set(folder.iterdir()) - {mine}
    mine.write_bytes(damage(mine.read_bytes(), other.read_bytes()))
    again, begun = trained([SMALL], [1])
    assert begun == 1
    assert_equal_runs(first["small"][0], again["small"][0])
    assert trained([SMALL], [1])[1] == 0


def test_trainings_that_changed_places_are_trained_anew(folder):
    trained([SMALL], [1, 2])
    one, other = folder.iterdir()
    contents = one.read_bytes(), other.read_bytes()
    other.write_bytes(contents[0])
    one.write_bytes(contents[1])
    assert trained([SMALL], [1, 2])[1] == 2


def test_a_single_layer_comes_back(folder):
    shallow = SMALL._replace(neurons_per_layer=(3,))
    (first,), (again,) = (trained([shallow], [1])[0]["small"] for _ in range(2))
    assert_equal_runs(first, again)
    assert trained([shallow], [1])[1] == 0


def test_a_changed_byte_changes_no_run(folder):
    first = trained([SMALL], [1])[0]["small"][0]
    (mine,) = folder.iterdir()
    content = mine.read_bytes()
    for place in np.random.default_rng(0).integers(len(content), size=200):
        mine.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        run = remembered.recall(mine, SMALL, 1)
        assert run is None or assert_equal_runs(run, first) is None


@pytest.mark.parametrize("missing", ["epochs", "steps", "val_loss", "best_weights 0"])
def test_a_file_that_lacks_something_is_trained_anew(folder, missing):
    trained([SMALL], [1])
    (mine,) = folder.iterdir()
    with np.load(mine) as file:
        arrays = {name: file[name] for name in file if not name.startswith(missing[:12])}
    with mine.open("wb") as file:
        np.savez(file, **arrays)
    assert trained([SMALL], [1])[1] == 1


class Executed:
    def __reduce__(self):
        return os._exit, (3,)


def test_reading_executes_nothing(folder):
    trained([SMALL], [1])
    (mine,) = folder.iterdir()
    with mine.open("wb") as file:
        np.savez(file, name=mine.name, steps=np.array([Executed()]))
    assert trained([SMALL], [1])[1] == 1


@pytest.mark.skipif(os.name != "posix", reason="folders have owners there")
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_can_write_to_is_not_believed(folder, mode):
    trained([SMALL], [1])
    folder.chmod(mode)
    assert trained([SMALL], [1])[1] == 1


@pytest.mark.skipif(os.name != "posix", reason="folders have owners there")
def test_a_folder_is_its_owners_and_others_may_only_look_in(folder):
    trained([SMALL], [1])
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert trained([SMALL], [1])[1] == 0


@pytest.mark.parametrize("system", ["another", "some other"])
def test_without_posix_folders_have_no_owners(folder, monkeypatch, system):
    trained([SMALL], [1])
    folder.chmod(0o770)
    monkeypatch.setattr(os, "name", system)
    assert trained([SMALL], [1])[1] == 0


@pytest.mark.parametrize("beside", [-1, 1])
def test_a_folder_of_somebody_else_is_not_believed(folder, monkeypatch, beside):
    trained([SMALL], [1])
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + beside, raising=False)
    assert trained([SMALL], [1])[1] == (os.name == "posix")


def test_pytest_neither_reads_nor_writes(folder, monkeypatch):
    trained([SMALL], [1])
    monkeypatch.undo()
    monkeypatch.setattr(remembered, "trainings_folder", lambda: folder)
    assert os.environ[remembered.VARIABLE] == "leave"
    assert trained([SMALL], [1, 2])[1] == 2
    assert len(list(folder.iterdir())) == 1


def test_renewed_trainings_replace_what_is_remembered(folder, monkeypatch):
    trained([SMALL], [1])
    (mine,) = folder.iterdir()
    mine.write_bytes(b"")
    monkeypatch.setenv(remembered.VARIABLE, "renew")
    assert [trained([SMALL], [1])[1] for _ in range(2)] == [1, 1]
    monkeypatch.delenv(remembered.VARIABLE)
    assert trained([SMALL], [1])[1] == 0


def test_without_a_folder_all_is_trained(folder):
    folder.parent.write_text("a file where a folder should be")
    assert [trained([SMALL], [1])[1] for _ in range(2)] == [1, 1]


def test_what_is_finished_is_kept_when_another_fails(folder):
    wild = SMALL._replace(name="wild", learning_rate=1e200)
    with pytest.raises(FloatingPointError), np.errstate(all="ignore"):
        trained([SMALL, wild], [1])
    assert trained([SMALL], [1])[1] == 0


def test_what_was_not_used_for_longest_goes_first(folder):
    trained([SMALL], [1, 2, 3])
    sizes = {path: path.stat().st_size for path in folder.iterdir()}
    for age, path in enumerate(places := [place(seed=seed) for seed in (2, 3, 1)]):
        os.utime(path, (10**9 - age, 10**9 - age))
    assert trained([SMALL], [1])[1] == 0  # and is the youngest now
    remembered.thin(folder, sum(sizes.values()))
    assert set(folder.iterdir()) == set(places)
    remembered.thin(folder, sum(sizes.values()) - 1)
    assert set(folder.iterdir()) == {places[0], places[2]}


def test_what_another_process_deletes_meanwhile_is_no_error(folder, monkeypatch):
    trained([SMALL], [1, 2])
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path, **kw: unlink(path) or unlink(path, **kw))
    remembered.thin(folder, 0)
    assert not list(folder.iterdir())


def test_the_folder_is_thinned_after_each_training(folder, monkeypatch):
    monkeypatch.setattr(remembered.thin, "__defaults__", (0,))
    trained([SMALL], [1])
    assert not list(folder.iterdir())


def test_a_file_that_cannot_be_finished_is_not_left(folder, monkeypatch):
    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    trained([SMALL], [1])
    assert not list(folder.iterdir())


def test_a_folder_is_kept_below_a_gibibyte():
    assert remembered.LIMIT == 1024**3


def test_the_folder_is_the_users_own():
    assert not trainings_folder().is_relative_to(ROOT)
    assert trainings_folder().is_relative_to(Path.home())


# what is measured of trainings


@pytest.fixture
def evaluations(monkeypatch):
    """A list that gets an entry for each evaluation of a network."""
    counted = []
    evaluate = measures.evaluate
    monkeypatch.setattr(measures, "evaluate", lambda *a: counted.append(a) or evaluate(*a))
    return counted


def lists(measured):
    return {name: {m: v.tolist() for m, v in of.items()} for name, of in measured.items()}


def test_what_was_measured_is_not_measured_again(folder, evaluations):
    runs, _ = trained()
    never = {"never": [runs["small"][0]._replace(val_loss=np.full(9, 7.0), steps=np.arange(9))]}
    first = measure_all(runs | never, *DATA[:3])
    assert len(evaluations) == 10
    assert np.isinf(first["never"]["steps to loss 0.2"])
    again = measure_all(runs | never, *DATA[:3])
    assert len(evaluations) == 10
    assert lists(first) == lists(again)
    assert {m: v.dtype for m, v in first["small"].items()} == {
        m: v.dtype for m, v in again["small"].items()
    }


def test_accuracies_are_remembered_beside_measures(folder, evaluations):
    runs, _ = trained()
    measure_all(runs, *DATA[:3])
    before = len(evaluations)
    first, again = (accuracies(runs, *DATA[2:]) for _ in range(2))
    assert len(evaluations) == before + 4
    assert {n: v.tolist() for n, v in first.items()} == {n: v.tolist() for n, v in again.items()}
    assert sorted(path.name for path in folder.parent.iterdir()) == ["measures", "trainings"]
    assert len(list(folder.iterdir())) == 4


def test_only_what_is_missing_is_measured_in_its_place(folder, evaluations):
    runs, _ = trained(seeds=[1, 2, 3])
    measure_all({"small": runs["small"][1:2]}, *DATA[:3])
    expected = {name: [measures_of(run, *DATA[:3]) for run in of] for name, of in runs.items()}
    evaluations.clear()
    found = lists(measure_all(runs, *DATA[:3]))
    assert len(evaluations) == 10
    assert found == {
        name: {m: [one[m] for one in of] for m in of[0]} for name, of in expected.items()
    }


@pytest.mark.parametrize("jobs", [1, 2])
def test_measures_of_runs_just_trained_are_found_for_those_remembered(folder, evaluations, jobs):
    runs = train_all([SMALL, DEEP], *DATA, seeds=[1], keep_at=[0, 2], jobs=jobs)
    measure_all(runs, *DATA[:3])
    evaluations.clear()
    again, _ = trained([SMALL, DEEP], [1], keep_at=[0, 2])
    measure_all(again, *DATA[:3])
    assert not evaluations


RUN = task2.train(SMALL, *DATA, 1, keep_at=[0])


def place_of(run=RUN, function=measures_of, of=DATA):
    return remembered.places_of_measures(function, [run], of)[0]


def test_another_name_or_seed_of_an_equal_run_has_the_same_measures(folder):
    assert place_of(RUN._replace(experiment=SMALL._replace(name="other"), seed=5)) == place_of()


def nudged(value):
    """Return a value of a run that differs in one bit, or little more."""
    if isinstance(value, dict):
        return {step: nudged(ws) for step, ws in value.items()}
    if isinstance(value, list):
        return [*value[:-1], nudged(value[-1])]
    return value + 1 if isinstance(value, int) else np.nextafter(value, np.inf)


@pytest.mark.parametrize("field", Run._fields[2:])
def test_a_run_that_differs_in_one_thing_has_measures_of_its_own(folder, field):
    assert place_of(RUN._replace(**{field: nudged(getattr(RUN, field))})) != place_of()


def test_weights_of_another_step_or_layer_are_another_run(folder):
    w, *others = RUN.best_weights
    assert place_of(RUN._replace(best_weights=[w.reshape(-1, 1), *others])) != place_of()
    assert place_of(RUN._replace(kept_weights={1: RUN.kept_weights[0]})) != place_of()
    swapped = RUN._replace(best_weights=RUN.last_weights, last_weights=RUN.best_weights)
    assert place_of(swapped) != place_of()


@pytest.mark.parametrize("setting", OTHER)
def test_a_run_of_another_setting_has_measures_of_its_own(folder, setting):
    other = SMALL._replace(**{setting: OTHER[setting]})
    assert place_of(RUN._replace(experiment=other)) != place_of()


def test_other_functions_and_data_are_another_measure(folder):
    others = [place_of(of=DATA[:3]), place_of(of=DATA[1:]), place_of(function=accuracy_of)]
    assert len({place_of(), *others}) == 4


def test_other_code_of_a_measure_is_another_measure(folder, monkeypatch):
    before = place_of()
    monkeypatch.setattr(measures, "SOURCE", measures.SOURCE + b"\n")
    assert place_of() not in (None, before)


def test_source_is_that_of_the_measures():
    assert Path(measures.__file__).read_bytes() == measures.SOURCE


@pytest.mark.parametrize("name", ["utils.py", "task2.py"])
def test_other_task_files_are_another_measure(folder, name, monkeypatch):
    before, files = place_of(), remembered.sources()
    files[name] += b"\n"
    monkeypatch.setattr(remembered, "sources", lambda: files)
    assert place_of() is None
    monkeypatch.setattr(remembered, "IMPORTED", files)
    assert place_of() not in (None, before)


def test_another_numpy_measures_anew(folder, monkeypatch):
    before = place_of()
    monkeypatch.setattr(np, "__version__", np.__version__ + ".1")
    assert place_of() not in (None, before)


def test_functions_of_others_are_not_remembered(folder, monkeypatch):
    def measures_of(run, *_):
        return {"seed": run.seed}

    assert place_of(function=measures_of) is None
    monkeypatch.setattr(measures_of, "__module__", measures.__name__)  # that has another
    assert place_of(function=measures_of) is None
    found = measures.of_every_run({"small": [RUN, RUN._replace(seed=4)]}, measures_of)
    assert found["small"]["seed"].tolist() == [1, 4]
    assert not folder.parent.exists()


def test_measures_of_a_foreign_activation_are_not_remembered(folder, monkeypatch):
    monkeypatch.setattr(
        sigmoid := types.FunctionType(SIGMOID.function.__code__, {"np": np}),
        "__module__",
        "of_somebody",
    )
    strange = SMALL._replace(activation=SIGMOID._replace(function=sigmoid))
    assert place_of(RUN._replace(experiment=strange)) is None


def test_measures_that_are_damaged_are_measured_anew(folder, evaluations):
    first = measure_all({"small": [RUN]}, *DATA[:3])
    (file,) = folder.with_name("measures").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:300] + bytes([content[300] ^ 1]) + content[301:])
    evaluations.clear()
    assert lists(measure_all({"small": [RUN]}, *DATA[:3])) == lists(first)
    assert len(evaluations) == 2
    assert file.read_bytes() == content


@pytest.mark.parametrize("choice", ["renew", "leave"])
def test_measures_are_renewed_or_left_like_trainings(folder, evaluations, monkeypatch, choice):
    monkeypatch.setenv(remembered.VARIABLE, choice)
    for _ in range(2):
        measure_all({"small": [RUN]}, *DATA[:3])
    assert len(evaluations) == 4
    assert folder.parent.exists() == (choice == "renew")


PLACES = """
import numpy as np
for name in ("utils", "task2a", "task2", "task3", "task4"):
    get_ipython().run_line_magic("run", name + ".py")
swish = Activation("swish", lambda z: z * sigmoid(z), np.ones_like)
from collections import namedtuple
mine = namedtuple("Mine", Activation._fields)(*swish)
from report.remembered import places
experiments = [TASK_2C, TASK_3C, TASK_4F_DEEP]
experiments += [TASK_3C._replace(activation=f) for f in (swish, mine)]
print(*places([(e, 1) for e in experiments], [np.zeros(3)], [0]), sep="\\n")
"""


def test_another_kernel_finds_the_trainings_of_a_notebook(tmp_path):
    script = tmp_path / "places.ipy"
    script.write_text(PLACES)
    env = {name: value for name, value in os.environ.items() if name != remembered.VARIABLE}
    command = [sys.executable, "-m", "IPython", "--no-banner", str(script)]
    env |= {"IPYTHONDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    shown = [
        subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert shown[0] == shown[1]
    *others, of_swish, of_mine = shown[0].split()
    assert len({*others, of_swish}) == 4
    assert of_mine == of_swish  # its class is another one each time
    assert "None" not in shown[0]

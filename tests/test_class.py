"""A folder of zips is graded side by side, whatever is in it, and goes on where it stopped."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import distributed
import joblib
import psutil
import pytest

from course import folder
from course.__main__ import main
from course.folder import Options, class_seed, grade_all, grade_one, hand_ins, name_of, safe_name
from course.rubric import PROSE, ROWS
from tests.classroom import NAMES, at_stage, attacking
from tests.course_files import ROOT, needs_box, zipped
from tests.test_grading import GOOD, HAND_INS, OF_GOOD, notebook, told

FULL = sum(row.points for row in ROWS)
SEED = 918_273_645
QUICK = ("--nbval-cell-timeout=6", "-p", "no:hypothesispytest")
CLASS = {
    "anna.zip": zipped(HAND_INS["good"]),
    "=1+1,\n'Åse' 李.zip": zipped(told("import os\nprint('mine')", "mine\n")),
    "Anna.zip": zipped(HAND_INS["good"]),
    "copy.ZIP": zipped(HAND_INS["good"]),
    "broken.zip": b"no zip",
    "killer.zip": zipped(HAND_INS["a kernel that leaves"]),
    "attack.zip": attacking("replaces what is built in"),
    "stage.zip": at_stage(12),
    "unexecuted.zip": zipped({"a.ipynb": notebook(*GOOD, executed=False)}),
    "notes.txt": b"not a hand-in",
}


def command(*arguments):
    return [sys.executable, "-m", "course", "grade", *map(str, arguments)]


def run(*arguments, status=0):
    done = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert status in (done.returncode, None), done.stdout + done.stderr
    return done.stdout + done.stderr


def gradebook(out):
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def modified(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "sheets").iterdir()}


def sheet(out, name):
    return json.loads(folder.sheet_path(out, out / name).read_text())


def graders():
    """Return the processes of gradings."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if "--hand-in=" in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class that was graded: its folder, the folder of the results, and what was said."""
    zips, out = tmp_path_factory.mktemp("zips"), tmp_path_factory.mktemp("out")
    for name, content in CLASS.items():
        (zips / name).write_bytes(content)
    (zips / "link.zip").symlink_to("/etc/passwd")
    os.mkfifo(zips / "pipe.zip")
    (zips / "folder.zip").mkdir()
    return zips, out, run(zips, "--out", out, f"--seed={SEED}", *QUICK, status=1)


@needs_box
def test_everybody_has_a_row(graded):
    zips, out, _ = graded
    rows = gradebook(out)
    code = {name: row["code"] for name, row in rows.items()}
    assert (code["anna.zip"], code["broken.zip"], code["attack.zip"]) == (f"{FULL:g}", "0", "0")
    assert rows["anna.zip"]["report"] == f"{OF_GOOD:g}"
    assert rows["killer.zip"]["report"] == "0"
    assert 0 < float(code["stage.zip"]) < FULL
    assert len(rows) == len(hand_ins(zips)) == 12


@needs_box
@pytest.mark.parametrize(
    ("name", "why"), [("link", "is a link"), ("pipe", "is no file"), ("folder", "is no file")]
)
def test_what_is_no_file_is_one_line(name, why, graded):
    _, out, said = graded
    assert f"{name}.zip: not graded: {why}, expected a zip" in said.splitlines()
    assert gradebook(out)[f"{name}.zip"]["for a person"].startswith(f"not graded: {why}")


@needs_box
def test_it_is_said_who_is_done_and_what_failed(graded):
    said = graded[2].splitlines()
    assert f"anna.zip: {FULL:g}/{FULL:g} (not looked at: 'group 7/conftest.py')" in said
    assert any(line.startswith("broken.zip: 0/85 (broken.zip is no zip") for line in said)
    assert "notes.txt: no *.zip, not graded" in said
    assert said[-1 if "grades.csv" in said[-1] else 0].startswith("9 graded, 0 as before, 3 not")


@needs_box
@pytest.mark.parametrize("name", ["anna.zip", "=1+1,\n'Åse' 李.zip", "stage.zip", "killer.zip"])
def test_grades_are_those_of_one_by_one(name, graded, tmp_path):
    zips, out, _ = graded
    run(zips / name, f"--grades={tmp_path / 'one'}", f"--seed={SEED}", *QUICK, status=None)
    one, of_class = json.loads((tmp_path / "one").read_text()), sheet(out, name)
    assert of_class.pop("made")
    assert of_class == one


@needs_box
@pytest.mark.parametrize("name", ["anna.zip", "=1+1,\n'Åse' 李.zip", "unexecuted.zip"])
def test_reports_are_pdfs(name, graded):
    _, out, _ = graded
    pdf = out / "reports" / f"{name_of(out / name)}.pdf"
    assert pdf.read_bytes().startswith(b"%PDF-")


@needs_box
def test_every_student_has_a_page(graded):
    zips, out, _ = graded
    pages = {path.name: path.read_text("utf-8") for path in (out / "feedback").iterdir()}
    assert len(pages) == len(hand_ins(zips))
    assert "is not written yet" in pages["stage.html"]
    assert not [name for name, page in pages.items() if str(SEED) in page]


@needs_box
def test_hints_are_for_the_grader_only(graded):
    _, out, _ = graded
    rows = gradebook(out)
    equal = "its notebook has the code of Anna.zip, copy.ZIP, unexecuted.zip"
    assert equal in rows["anna.zip"]["for a person"]
    assert "imports or commands that a report does not need: os (notebook)" in " ".join(
        row["for a person"] for row in rows.values()
    )
    pages = [path.read_text("utf-8") for path in (out / "feedback").iterdir()]
    assert not [p for p in pages if "has the code of" in p or "that a report does not need" in p]


@needs_box
def test_nothing_half_is_left(graded):
    _, out, _ = graded
    assert not list(out.rglob(".*"))
    assert not [line for line in graders() if str(graded[0]) in line]


@needs_box
def test_nobody_is_graded_twice_without_need(graded):
    zips, out, _ = graded
    before, grades = modified(out), (out / "grades.csv").read_bytes()
    said = run(zips, "--out", out, *QUICK, "--rerun=none", status=1)  # the seed is remembered
    assert "0 graded, 9 as before, 3 not graded" in said
    assert modified(out) == before
    assert (out / "grades.csv").read_bytes() == grades


@needs_box
def test_a_changed_zip_is_graded_anew_and_no_other(graded, tmp_path):
    zips, out = (
        shutil.copytree(d, tmp_path / d.name, symlinks=True, ignore=lambda _, names: {"pipe.zip"})
        for d in graded[:2]
    )
    (zips / "stage.zip").write_bytes(at_stage(3))
    before = modified(out)
    assert "1 graded, 8 as before, 2 not" in run(zips, "--out", out, *QUICK, status=1)
    changed = {name for name, when in modified(out).items() if when != before[name]}
    assert changed == {"stage.json"}
    assert float(gradebook(out)["stage.zip"]["code"]) < float(
        gradebook(graded[1])["stage.zip"]["code"]
    )


# one hand-in
@pytest.fixture
def empty(tmp_path):
    """A zip without anything, and where its results go."""
    for name in ("sheets", "reports"):
        (tmp_path / name).mkdir()
    path = tmp_path / "empty.zip"
    path.write_bytes(zipped({}))
    return path, tmp_path


@pytest.fixture
def said(monkeypatch):
    """What grades is another program, that counts how often it is called."""
    calls = []

    def pretend(code):
        def pytest_command(path, options, *, notebook):
            calls.append(path)
            target = next(o.partition("=")[2] for o in options if o.startswith("--grades="))
            return [sys.executable, "-c", code, target]

        monkeypatch.setattr(folder, "pytest_command", pytest_command)
        return calls

    return pretend


SHEET = 'import sys; open(sys.argv[1], \'w\').write(\'{"points": 1, "of": 85, "notes": []}\')'
NONE = Options(seed=SEED, rubric="a", rerun="none")


@pytest.mark.parametrize(
    "other",
    [NONE._replace(rubric="b"), NONE._replace(seed=6), NONE._replace(rerun="all"),
     NONE._replace(others=("--trust",))],
)  # fmt: skip
def test_another_rubric_seed_or_rerun_grades_anew(other, empty, said):
    calls = said(SHEET)
    assert [grade_one(*empty, options).new for options in (NONE, NONE, other, other)] == [
        *(True, False, True, False)
    ]
    assert len(calls) == 2


def test_a_report_that_was_rerun_is_not_graded_anew_without(empty, said):
    said(SHEET)
    assert grade_one(*empty, NONE._replace(rerun="all")).new
    assert not grade_one(*empty, NONE).new


@pytest.mark.parametrize("left", ["", "{", "[]", '{"points": 1}', '{"made": 1}', "\0"])
def test_a_damaged_sheet_is_made_anew(left, empty, said):
    said(SHEET)
    folder.sheet_path(empty[1], empty[0]).write_text(left)
    assert grade_one(*empty, NONE).new
    assert not grade_one(*empty, NONE).new


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("print('so it ends'); raise SystemExit(3)", "grading ended with status 3: so it ends"),
        ("import os; os.kill(os.getpid(), 9)", "grading ended with status -9: it said nothing"),
        ("import sys; open(sys.argv[1], 'w').write('{')", "grading ended with status 0"),
        (
            "print('!! Exit: no room !!\\nso'); raise SystemExit(2)",
            "grading ended with status 2: no",
        ),
        (f"{SHEET}; raise SystemExit(2)", "grading ended with status 2"),  # as if interrupted
        ("print('\\x1b[2J'); raise SystemExit(1)", "grading ended with status 1: [2J"),
    ],
)
def test_grading_that_fails_is_a_reason(code, why, empty, said):
    said(code)
    outcome = grade_one(*empty, NONE)
    assert outcome.why.startswith(why)
    assert not folder.sheet_path(empty[1], empty[0]).exists()


def test_grading_that_hangs_is_a_reason(empty, said, monkeypatch):
    monkeypatch.setattr(folder, "MAX_SECONDS", 1)
    said("import time; time.sleep(9999)")
    assert grade_one(*empty, NONE).why == "was not graded within 1 seconds"


def test_options_that_pytest_does_not_take_end_it(empty):
    with pytest.raises(ValueError, match="unrecognized arguments: --rostr=x"):
        grade_one(*empty, NONE._replace(others=("--rostr=x",)))


@needs_box
def test_what_the_grader_lacks_costs_nobody_points(empty, monkeypatch):
    monkeypatch.setattr(folder, "pytest_command", broken_references(folder.pytest_command))
    outcome = grade_one(*empty, NONE)
    assert "it could not be graded: no memory" in outcome.why
    assert not folder.sheet_path(empty[1], empty[0]).exists()


def broken_references(pytest_command):
    """Return the command, of a pytest whose solution has no values."""
    code = (
        "import pytest, sys, course.plugin\ndef references(*arguments):\n"
        "    raise RuntimeError('no memory')\n"
        "course.plugin.references = references\nsys.exit(pytest.main(sys.argv[1:]))"
    )

    def command(*arguments, **options):
        words = pytest_command(*arguments, **options)
        at = words.index("-m")
        return [*words[:at], "-c", code, *words[at + 2 :]]

    return command


def test_a_pdf_of_before_goes_with_its_report(empty, said):
    said(SHEET)
    old = empty[1] / "reports" / "empty.pdf"
    old.write_bytes(b"%PDF- of an earlier zip")
    grade_one(*empty, NONE)
    assert not old.exists()


@pytest.mark.parametrize("size", [0, 1, folder.box.MB, 3 * folder.box.MB + 7])
def test_a_digest_is_of_all_of_a_zip(size, tmp_path):
    path, content = tmp_path / "a.zip", bytes(size)
    path.write_bytes(content)
    assert folder.zip_digest(path) == hashlib.sha256(content).hexdigest()


def test_a_large_file_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        file.truncate(10**13)
    assert len(folder.zip_digest(path)) == 64


@pytest.mark.parametrize("file", ["course/rubric.py", "task2a.py", "tests/outputs.py"])
def test_rubric_is_all_that_decides(file, tmp_path):
    left_out = shutil.ignore_patterns(".git", "data", "docs", "__pycache__", ".venv")
    root = shutil.copytree(ROOT, tmp_path / "root", ignore=left_out)
    before = folder.rubric_digest(root)
    (root / "course" / "feedback.py").write_text("# another page\n")
    assert folder.rubric_digest(root) == before
    (root / file).write_text((root / file).read_text("utf-8") + "\n# changed\n", "utf-8")
    assert folder.rubric_digest(root) != before


# names
def test_names_of_files_are_safe_and_differ():
    names = [f"{name}.zip" for name in NAMES] + ["anna.ZIP", "../x.zip", "a/b.zip", "\udcff.zip"]
    safe = [safe_name(name) for name in names]
    assert len({name.casefold() for name in safe}) == len(names)
    for name in safe:
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set('/\\:*?"<>| ')
        assert not name.startswith((".", "-"))
        assert len(name) < 100


def test_no_name_can_be_made_to_be_that_of_another():
    assert safe_name(safe_name("Anna.zip")) != safe_name("Anna.zip")


# which reports, which seed
def test_a_sample_is_drawn_by_the_seed_and_not_by_the_others(tmp_path):
    paths = [tmp_path / f"{n}.zip" for n in range(1000)]
    drawn = {s: [p for p in paths if folder.reran(p, Options(s, "", "sample"))] for s in (1, 2)}
    assert all(60 < len(sample) < 140 for sample in drawn.values())
    assert drawn[1] != drawn[2]
    assert all(folder.reran(p, Options(1, "", "all")) for p in paths)
    assert not any(folder.reran(p, Options(1, "", "none")) for p in paths)


def test_a_seed_is_kept(tmp_path):
    seed = class_seed(tmp_path, None)
    assert class_seed(tmp_path, None) == seed
    assert class_seed(tmp_path, 7) == class_seed(tmp_path, None) == 7


@pytest.mark.parametrize(("seed", "why"), [(2026, "students have it"), (-1, "it is negative")])
def test_a_seed_that_will_not_do_is_named(seed, why, tmp_path):
    with pytest.raises(ValueError, match=f"--seed is {seed}, expected another number: {why}"):
        class_seed(tmp_path, seed)


def test_a_damaged_seed_is_named(tmp_path):
    (tmp_path / "seed.txt").write_text("x")
    with pytest.raises(ValueError, match=r"seed\.txt holds no number: delete it, or give --seed=N"):
        class_seed(tmp_path, None)


# the command line
@pytest.fixture
def two(tmp_path):
    """A folder of two zips that are graded in no time."""
    zips = tmp_path / "zips"
    zips.mkdir()
    for name in ("anna", "bob"):
        (zips / f"{name}.zip").write_bytes(zipped({}))
    return zips


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--manual=none.csv"], "none.csv"),
        (["--roster=none.csv"], "none.csv"),
        (["--deadline=soon"], "'soon' is no time, expected one as 2026-03-06 23:59"),
        (["--seed=2026"], "students have it"),
        (["--grades=x.json"], "--grades is for one zip without --out"),
    ],
)
@needs_box
def test_what_is_not_as_expected_is_named_before_anything_is_graded(options, says, two, tmp_path):
    said = run(two, "--out", tmp_path / "out", *options, status=1)
    assert said.startswith("error: ")
    assert says in said
    assert not (tmp_path / "out" / "sheets").exists()


@pytest.mark.parametrize("missing", ["--out", "zips"])
def test_what_is_missing_is_named(missing, two, tmp_path):
    if missing == "--out":
        assert "is a folder, expected --out=DIR with it" in run(two, status=1)
    else:
        (tmp_path / "none").mkdir()
        assert "holds no *.zip" in run(tmp_path / "none", "--out", tmp_path / "out", status=1)


@needs_box
def test_points_by_people_are_merged_and_never_written_to(two, tmp_path):
    out, manual = tmp_path / "out", tmp_path / "manual.csv"
    lines = [f"anna,{task},{most},kari,fine" for task, most in PROSE.items()]
    manual.write_text("\n".join(["student,task,points,grader,comment", *lines]))
    manual.chmod(0o444)
    before = manual.read_bytes(), manual.stat()
    run(two, "--out", out, "--rerun=none", f"--manual={manual}")
    rows = gradebook(out)
    assert (rows["anna.zip"]["total"], rows["bob.zip"]["total"]) == ("15", "")
    assert (manual.read_bytes(), manual.stat()) == before


@needs_box
def test_a_roster_a_deadline_and_a_template_go_together(two, tmp_path):
    out, roster = tmp_path / "out", tmp_path / "roster.csv"
    roster.write_text("student,file,extension\nÅse,anna.zip,24\nbob,,\ncarl,,\n", "utf-8")
    for path in two.iterdir():
        os.utime(path, (1772838000, 1772838000))  # 2026-03-07 00:00 in Oslo
    options = [f"--roster={roster}", "--deadline=2026-03-06T12:00+01:00", "--rerun=none"]
    run(two, "--out", out, *options)
    late = {row["student"]: row["hours late"] for row in gradebook(out).values()}
    assert late == {"Åse": "0", "bob": "12", "carl": ""}
    assert "Åse" in (out / "manual-template.csv").read_text("utf-8-sig")


@needs_box
def test_zips_one_at_a_time_make_the_same(two, tmp_path):
    apart, together = tmp_path / "apart", tmp_path / "together"
    options = ["--rerun=none", f"--seed={SEED}"]
    for path in sorted(two.iterdir()):
        run(path, "--out", apart, *options)
    assert "0 graded, 2 as before" in run(two, "--out", apart, *options)
    run(two, "--out", together, *options)
    assert (apart / "grades.csv").read_bytes() == (together / "grades.csv").read_bytes()


# killed, and on a cluster
def still(lines, seconds=120):
    """Return which gradings of a folder go on after a while."""
    end = time.monotonic() + seconds
    while (left := [line for line in graders() if lines in line]) and time.monotonic() < end:
        time.sleep(0.2)
    return left


NO_REPORT = ["--rerun=none", f"--seed={SEED}", "--jobs=2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Zips, and the gradebook of a run to the end."""
    zips, out = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("out")
    for number in range(3):
        (zips / f"{number}.zip").write_bytes(at_stage(10 * number))
    run(zips, "--out", out, *NO_REPORT)
    return zips, (out / "grades.csv").read_bytes()


@needs_box
@pytest.mark.parametrize(
    ("kill", "number"),
    [
        (os.kill, signal.SIGKILL),
        (os.kill, signal.SIGTERM),
        (os.killpg, signal.SIGKILL),
        (os.killpg, signal.SIGINT),  # as a terminal does
    ],
)
def test_killed_and_started_again_it_gives_the_same(kill, number, whole, tmp_path):
    zips, grades = whole
    out, options = tmp_path / "out", NO_REPORT
    with subprocess.Popen(
        command(zips, "--out", out, *options),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # who runs the tests in the background may ignore it, and what they start with them
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        process.stderr.readline()  # the first is done
        kill(process.pid, number)
        process.stderr.read()
    assert process.returncode
    assert still(str(zips)) == []
    before = modified(out)
    run(zips, "--out", out, *options)
    whole_files = [name for name in before if not name.startswith(".")]
    assert whole_files
    assert all(modified(out)[name] == before[name] for name in whole_files)
    assert (out / "grades.csv").read_bytes() == grades
    assert not list(out.rglob(".*"))


@needs_box
def test_a_cluster_grades_the_same_without_a_change_of_code(two, tmp_path):
    options = Options(SEED, "a", "none")
    here, there = tmp_path / "here", tmp_path / "there"
    grade_all(hand_ins(two), here, options)
    settings = {"threads_per_worker": 1, "dashboard_address": None, "local_directory": tmp_path}
    with (
        distributed.LocalCluster(n_workers=2, **settings) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        outcomes = grade_all(hand_ins(two), there, options)
        graded_there = client.run(lambda: "course.folder" in sys.modules)
    assert any(graded_there.values())
    assert [outcome.why for outcome in outcomes] == [None, None]
    for name in ("anna.json", "bob.json"):
        assert (here / "sheets" / name).read_bytes() == (there / "sheets" / name).read_bytes()


OF_A_CLASS = [
    "--roster=r.csv",
    "--manual=m.csv",
    "--deadline=2026-03-06",
    "--jobs=0",
    "--rerun=sample",
]


@pytest.mark.parametrize("option", OF_A_CLASS)
def test_options_of_a_class_are_refused_for_one_zip(option, capsys):
    assert main(["grade", "a.zip", option]) == 1
    assert capsys.readouterr().err.endswith("are for a class: give --out=DIR, too\n")


@pytest.mark.parametrize("option", ["--roster=r.csv", "--manual=m.csv", "--deadline=2026-03-06"])
@needs_box
def test_options_of_a_gradebook_are_refused_where_none_is_made(option, tmp_path, capsys):
    assert main(["grade", "a.zip", f"--out={tmp_path / 'out'}", option]) == 1
    assert capsys.readouterr().err.endswith("does not make: give them with the folder\n")
    assert not (tmp_path / "out").exists()

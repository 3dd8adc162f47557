"""What hostile task files try: no points unearned, no process, no file, no endless wait."""

import ctypes
import os
import socket
import sys
import threading
import time

import psutil
import pytest

from course import box
from course.asking import Request, ask_all
from tests.course_files import ROOT, SHORT, lost, needs_box, points, starter, unpack

pytestmark = needs_box
SUBREAPER = 36  # orphans of a process become its children, and are seen

# each below the starter's own task2a.py, in which no function is written
ATTACKS = {
    # those that were tried in the classroom
    "patches the rubric": """
import course.judge, course.rubric
course.judge.problem = course.judge.difference = lambda *arguments: None
course.rubric.ROWS.clear()
""",
    "patches pytest": """
import pytest
pytest.Function.runtest = pytest.Item.runtest = lambda self: None
pytest.fail = lambda *arguments, **options: None
""",
    "asks git for the solution": """
import subprocess
source = subprocess.run(["git", "-C", "{root}", "show", "HEAD:task2a.py"], capture_output=True)
exec(source.stdout)
""",
    "writes a sheet to every descriptor and leaves": """
import os
for descriptor in range(64):
    try:
        os.write(descriptor, b"code 85/85   by rows\\n100/100\\n")
    except OSError:
        pass
os._exit(0)
""",
    "writes files outside": """
import pathlib
for folder in ("{outside}", "{root}", "{home}", "/tmp", "/var/tmp", "/dev/shm", "/usr", "/hand-in"):
    for name in ("marker", "conftest.py"):
        try:
            pathlib.Path(folder, "written by a hand-in " + name).write_text("x")
        except OSError:
            pass
""",
    "deletes a neighbour": """
import os, shutil
shutil.rmtree("{outside}", ignore_errors=True)
shutil.rmtree("{root}/docs", ignore_errors=True)
os.unlink("{outside}/neighbour.zip")
""",
    "leaves a process behind": """
import os, subprocess, time
subprocess.Popen(["sleep", "1000"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
""",
    "never ends": "while True: pass",
    "takes six gigabytes": "taken = b'x' * (6 << 30)",
    # how long, how many, how much
    "never ends in every function": """
import sys
def mean_X(*arguments, **options):
    while True: pass
std_X = sigmoid = softmax = forward = backward = uniform = one_hot_encode = mean_X
""",
    "ignores signals and never ends": """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True: pass
""",
    "sleeps for ever": "import time; time.sleep(1e9)",
    "forks without end": """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
    "starts threads without end": """
import threading, time
while True:
    try:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    except RuntimeError:
        pass
""",
    "burns a thread for ever": """
import threading
def burn():
    while True: pass
threading.Thread(target=burn, daemon=True).start()
""",
    "fills the folders of the box": """
import itertools
for folder in ("/tmp", "/dev/shm", "/hand-in", "/"):
    for number in itertools.count():
        try:
            with open(folder + "/f" + str(number), "wb") as file:
                for _ in range(100):
                    file.write(bytes(1 << 20))
        except OSError:
            break
""",
    "keeps memory that is nobody's": """
import ctypes
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
while True:
    number = libc.shmget(0, 256 << 20, 0o1600)
    place = libc.shmat(number, None, 0)
    ctypes.memset(place, 1, 256 << 20)
    libc.shmdt(ctypes.c_void_p(place))
""",
    "opens files without end": "import os\nwhile True: os.open('/dev/null', 0)",
    "recurses without end": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "stops itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "kills everything": """
import os
for process in (os.getppid(), 1, -1, 0):
    try:
        os.kill(process, 9)
    except OSError:
        pass
""",
    # answers of its own
    "answers endlessly": """
import os
while True:
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b'{{"id": "2a mean of all pixels", "value": 1}}\\n' * 1000)
        except OSError:
            pass
""",
    "answers one line without end": """
import os
while True:
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b"[" * 100000)
        except OSError:
            pass
""",
    "answers millions of parts": """
import sys
sys.modules["__main__"].tell = lambda answers, message: (
    answers.write(b"[" + b"{{}}," * 6000000 + b"0]\\n"), answers.flush())
""",
    "answers in brackets": """
import sys
sys.modules["__main__"].tell = lambda answers, message: (
    answers.write(b"[" * 100000 + b"]" * 100000 + b"\\n"), answers.flush())
""",
    "answers what is no JSON": """
import sys
sys.modules["__main__"].tell = lambda answers, message: (
    answers.write(b"\\xff\\xfe\\x00 100/100\\n"), answers.flush())
""",
    "answers a pickle": """
import sys
def tell(answers, message):
    answers.write(b"cos\\nsystem\\n(S'touch {outside}/marker'\\ntR.\\n")
    answers.flush()
sys.modules["__main__"].tell = tell
""",
    "answers numbers of a million digits": """
import sys
def tell(answers, message):
    answers.write(b'{{"id": "2a mean of all pixels", "value": ' + b"9" * 1000000 + b"}}\\n")
    answers.flush()
sys.modules["__main__"].tell = tell
""",
    "answers an array larger than memory": """
import sys
value = {{"shape": [1 << 40], "numbers": [1.0], "type": "float64"}}
sys.modules["__main__"].answer = lambda request, names: {{"id": request["id"], "value": value}}
""",
    "answers that it was right": """
import sys
sys.modules["__main__"].answer = lambda request, names: {{
    "id": request["id"], "value": None, "error": None, "why": None, "points": 100, "passed": True}}
""",
    "answers with the public values": """
import json, sys
values = json.load(open("/hand-in/course/public.json"))
sys.modules["__main__"].answer = lambda request, names: {{
    "id": request["id"], "value": values[request["id"]]["expected"]}}
""",
    "answers with its inputs": """
import sys
sys.modules["__main__"].answer = lambda request, names: {{
    "id": request["id"], "value": list(request["inputs"].values())}}
""",
    "equals everything": """
import numpy as np
class Equal(np.ndarray):
    __eq__ = __le__ = __ge__ = __lt__ = __gt__ = lambda self, other: True
    __array__ = lambda self, *arguments, **options: self
    tolist = lambda self: self
def mean_X(*arguments, **options): return np.zeros(3).view(Equal)
std_X = sigmoid = softmax = relu = forward = backward = uniform = one_hot_encode = mean_X
np.allclose = np.isclose = np.array_equal = lambda *arguments, **options: True
""",
    "is not a number": """
import numpy as np
def mean_X(*arguments, **options): return float("nan")
def softmax(z): return np.full(np.shape(z), np.inf)
std_X = sigmoid = mean_X
""",
    "looks for the expected values": """
import gc, sys
def mean_X(*arguments, **options):
    frame, seen = sys._getframe(), []
    while frame:
        seen += [frame.f_locals, frame.f_globals]
        frame = frame.f_back
    for thing in seen + [t for t in gc.get_objects() if isinstance(t, dict)]:
        for name in ("expected", "solution", "reference", "answer", "value"):
            if isinstance(thing.get(name), (int, float, list, dict)):
                return thing[name]
std_X = sigmoid = sigmoid_slope = softmax = cross_entropy_loss = uniform = forward = mean_X
backward = layer_errors = initialize_weights = count_parameters = one_hot_encode = mean_X
""",
    # elsewhere
    "reads the solution": """
import glob, os
for folder in ("{root}", "{root}/..", "{home}", "/proc/1/root{root}", "/proc/self/cwd"):
    for name in glob.glob(folder + "/**/task2a.py", recursive=True):
        if not name.startswith("/hand-in"):
            exec(open(name).read())
""",
    "takes the solution's modules": """
import importlib, sys
sys.path.insert(0, "{root}")
for name in ("course.starter", "course.grading", "tests.course_files"):
    module = importlib.import_module(name)
from course.grading import references
import pathlib
values = references(pathlib.Path("{root}"), 41)
""",
    "changes the program that asks": """
import pathlib
pathlib.Path("/hand-in/course/worker.py").write_text("print(100)")
pathlib.Path("/starter/course/worker.py").write_text("print(100)")
""",
    "becomes root": """
import ctypes, os
libc = ctypes.CDLL(None)
libc.unshare(0x10000000); libc.setns(3, 0); libc.ptrace(16, 1, 0, 0)
for call in (os.setuid, os.setgid, os.seteuid):
    try:
        call(0)
    except OSError:
        pass
libc.mount(b"none", b"/usr", b"tmpfs", 0, None); libc.chroot(b"/proc/1/root")
os.chdir("/proc/1/root")
""",
    "raises what is no error": """
class Odd(BaseException):
    def __str__(self): raise Odd
    __repr__ = __str__
raise Odd
""",
    "leaves by an exception": "raise SystemExit('code 85/85')",
    "has a very long error": "raise ValueError('\\x1b[2J\\r code 85/85 ' * 10**7)",
    "replaces what is built in": """
import builtins, json, os, sys
builtins.eval = builtins.exec = builtins.compile = lambda *arguments, **options: None
builtins.isinstance = lambda *arguments: True
json.dumps = lambda *arguments, **options: "{{}}"
""",
    "hides behind an import": """
import sys, types
class Finder:
    def find_spec(self, name, path=None, target=None): raise SystemExit
sys.meta_path.insert(0, Finder())
sys.modules.update({{name: types.ModuleType(name) for name in ("task2", "task3", "task4", "json")}})
""",
    "writes when it ends": """
import atexit, os
atexit.register(lambda: [os.write(n, b'{{"loaded": true}}\\n') for n in range(3, 9)])
""",
}
# whole files
FILES = {
    "nothing but zeros": b"\0" * 1000,
    "half a character": "s = 'ø".encode()[:-1],
    "an unknown coding": b"# coding: nothing\nx = 1\n",
    "UTF-16": "def mean_X(X): return 1".encode("utf-16"),
    "brackets within brackets": b"x = " + b"(" * 100_000 + b")" * 100_000,
    "a minus a thousand times": b"x = " + b"-" * 100_000 + b"1",
    "a number that takes long": b"x = 10 ** 10 ** 10\n",
    "half a million broken lines": b"def f(:\n" * 100_000,
    "a text without an end": b'x = """' + b"\nx" * 100_000,
}


@pytest.fixture(scope="module", autouse=True)
def orphans_are_seen():
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    yield
    ctypes.CDLL(None).prctl(SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "neighbour.zip").write_bytes(b"a neighbour's work")
    return folder


def running():
    """Return the processes that this one has started, and that have not ended."""
    processes = psutil.Process().children(recursive=True)
    return {p for p in processes if p.status() != psutil.STATUS_ZOMBIE}


def written(outside):
    places = (outside, ROOT, box.Path.home(), box.Path("/tmp"), box.Path("/var/tmp"))
    found = [path for place in places for path in place.glob("written by a hand-in*")]
    return [*found, *outside.glob("marker")]


def check_harmless(folder, outside):
    before, start = running(), time.monotonic()
    assert points(folder) == 0
    assert time.monotonic() - start < SHORT.total + 10
    psutil.wait_procs(running() - before, timeout=60)  # what is killed takes a moment to be gone
    assert running() <= before
    assert written(outside) == []
    assert [path.name for path in outside.iterdir()] == ["neighbour.zip"]
    assert (ROOT / "docs").exists()


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_gains_nothing(name, tmp_path, outside):
    places = {"root": ROOT, "outside": outside, "home": box.Path.home()}
    code = ATTACKS[name].format(**places) if "{" in ATTACKS[name] else ATTACKS[name]
    source = starter()["task2a.py"].decode() + "\n\n" + code
    check_harmless(unpack(tmp_path / "files", {"task2a.py": source}), outside)


@pytest.mark.parametrize("name", FILES)
def test_file_that_is_no_python_gains_nothing(name, tmp_path, outside):
    folder = unpack(tmp_path / "files")
    (folder / "task2a.py").write_bytes(FILES[name])
    check_harmless(folder, outside)


GUESSES = ["0", "1", "True", "False", "0.5", "[]", "[[]]", "None", "''", "{}", "1e999", "[0, 1]"]


@pytest.mark.parametrize("guess", GUESSES)
def test_one_guess_for_all_gains_nothing(guess, tmp_path):
    code = (
        f"import sys\nsys.modules['__main__'].answer = lambda request, names: {{'value': {guess}, "
    )
    code += "'id': request['id']}"
    assert points(unpack(tmp_path, {"task2a.py": code})) == 0


# what a hand-in finds out about where it runs, as numbers
PROBES = {
    "network": """
import socket
found = 0
for family, place in ((socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_UNIX, "\\0{name}")):
    try:
        socket.create_connection(place, 1) if family == socket.AF_INET else \\
            socket.socket(family).connect(place)
        found += 1
    except OSError:
        pass
""",
    "solution": """
import os
found = len({{"task2a.py", "course", "tests", ".git", "data"}}.intersection(
    os.listdir("{root}") if os.path.exists("{root}") else []))
""",
    "environment": "import os\nfound = sum('canary' in text for text in os.environ.values())",
    "processes": """
import glob
texts = [open(name).read() for name in glob.glob("/proc/[0-9]*/cmdline")]
found = sum("-m\\0pytest" in text or "--seed" in text for text in texts)
""",
    "home": """
import os
names = os.listdir("{home}") if os.path.exists("{home}") else []
found = sum(not any(p.startswith("{home}/" + name) for p in {python}) for name in names)
""",
    "descriptors": """
import os
names = [os.readlink("/proc/self/fd/" + n) for n in os.listdir("/proc/self/fd") if n.isdigit()
         and os.path.lexists("/proc/self/fd/" + n)]
allowed = "pipe:", "/dev/null", "/proc", "/hand-in", "/usr/lib"  # libffi has its own file open
found = sum(not name.startswith(allowed) for name in names)
""",
    "processes of its own": """
import os, subprocess
found = 0
for start in (os.fork, lambda: os.posix_spawn("/usr/bin/true", ["true"], {{}})):
    try:
        found += start() > 0
    except OSError:
        pass
""",
    "memory that is nobody's": """
import ctypes
libc = ctypes.CDLL(None)
found = sum(call >= 0 for call in (libc.shmget(0, 4096, 0o1600), libc.memfd_create(b"x", 0)))
""",
    "namespaces of its own": """
import ctypes
libc = ctypes.CDLL(None)
found = sum(libc.unshare(flag) == 0 for flag in (0x10000000, 0x00020000, 0x20000000, 0x40000000))
""",
    "much memory": """
found = 0
try:
    found = len(bytearray(1 << 30))
except MemoryError:
    pass
""",
    "much room": """
found = 0
for folder in ("/tmp", "/dev/shm"):
    try:
        for number in range(7):
            with open(folder + "/" + str(number), "wb") as file:
                file.write(bytes(10 << 20))
        found += 1
    except OSError:
        pass
""",
    "places to write": """
import os
found = 0
for folder, _, _ in os.walk("/", topdown=True):
    if not folder.startswith(("/proc", "/tmp", "/dev/shm", "/dev/pts", "/usr/share")):
        found += os.access(folder, os.W_OK)
found += not os.access("/tmp", os.W_OK)
""",
    "rights": """
status = open("/proc/self/status").read()
found = int(status.split("CapEff:")[1].split()[0], 16) + 1 - int(
    status.split("NoNewPrivs:")[1].split()[0])
""",
}


@pytest.mark.parametrize("name", PROBES)
def test_box_shows_nothing(name, tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", "canary")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(f"\0{tmp_path.name}")
        local.listen()
        places = {"root": ROOT, "port": server.getsockname()[1], "name": tmp_path.name}
        code = PROBES[name].format(
            **places, home=box.Path.home(), python=(sys.prefix, sys.base_prefix)
        )
        folder = unpack(tmp_path / "files", {"task2a.py": f"{code}\ndef mean_X(X): return found\n"})
        answer = ask_all(folder, [Request("probe", "mean_X(0)", {})], boxed=True)["probe"]
    assert (answer.value, answer.error) == (0, None)


FORGED = r"""
import sys
usual = sys.modules["__main__"].tell
def tell(answers, message):
    if not message.get("id", "").startswith("big"):
        return usual(answers, message)
    answers.write(b'{"id": "' + message["id"].encode() + b'", "value": ' + VALUE + b"}\n")
    answers.flush()
sys.modules["__main__"].tell = tell
def mean_X(X): return 1
def std_X(X): return 2
"""
LARGE = {
    "objects": 'b"[{}" + b",{}" * 200_000 + b"]"',
    "lists": 'b"[[" + b"],[" * 200_000 + b"]]"',
    "numbers": 'b"[0" + b",0" * 200_000 + b"]"',
    "a text": "b'\"' + bytes(9_000_000).replace(b'\\0', b'x') + b'\"'",
    "no end": 'b"[" * 9_000_000',
}


@pytest.mark.parametrize("what", LARGE)
def test_answer_too_large_costs_its_function_only(what, tmp_path):
    folder = unpack(tmp_path, {"task2a.py": FORGED.replace("VALUE", LARGE[what])})
    asked = [Request("big", "mean_X(0)", {}, "mean_X"), Request("std", "std_X(0)", {}, "std_X")]
    answers = ask_all(folder, asked, boxed=True)
    assert answers["big"].error == "mean_X answers too much"
    assert answers["std"].value == 2


def test_answer_of_the_most_numbers_is_read(tmp_path):
    code = "import numpy as np\ndef mean_X(n): return np.arange(n) / 7\n"
    asked = [Request(str(n), f"mean_X({n})", {}) for n in (100_000, 100_001)]
    answers = ask_all(unpack(tmp_path, {"task2a.py": code}), asked, boxed=True)
    assert len(answers["100000"].value["numbers"]) == 100_000
    assert "returned 100001 numbers, expected 100000 at most" in answers["100001"].error


def test_large_answers_of_all_rows_take_little(tmp_path):
    large = """b'[{"":1}' + b',{"":1}' * 30_000 + b']'"""
    folder = unpack(tmp_path, {"task2a.py": FORGED.replace("VALUE", large)})
    asked = [Request(f"big{n}", "mean_X(0)", {}, "mean_X") for n in range(60)]
    before = psutil.Process().memory_info().rss
    answers = ask_all(folder, asked, boxed=True)
    assert psutil.Process().memory_info().rss - before < 200 * box.MB
    assert isinstance(answers["big0"].value, list)
    assert answers["big59"].error == "not asked: the answers of the hand-in are too large"


def test_solution_has_all_points_in_the_box(tmp_path):
    files = dict.fromkeys(["task2a.py", "task2.py", "task3.py", "task4.py"])
    assert lost(unpack(tmp_path, files), boxed=True) == {}


def test_what_is_done_beside_the_functions_costs_nothing(tmp_path):
    solution = (ROOT / "task2a.py").read_text("utf-8")
    files = dict.fromkeys(["task2.py", "task3.py", "task4.py"])
    files["task2a.py"] = f"{solution}\n\nwhile True:\n    pass\n\nx = 1 / 0\n"
    assert lost(unpack(tmp_path, files), boxed=True, patience=SHORT._replace(total=99)) == {}


def test_hand_in_takes_little(tmp_path):
    files = dict.fromkeys(["task2a.py", "task2.py", "task3.py", "task4.py"])
    folder, peak, over = unpack(tmp_path, files), [0], threading.Event()

    def look():
        while not over.wait(0.02):
            peak.append(sum(p.memory_info().rss for p in running() if p.is_running()))

    watch = threading.Thread(target=look)
    watch.start()
    before = os.times()
    assert lost(folder, boxed=True) == {}
    after = os.times()
    over.set()
    watch.join()
    assert sum(after[:4]) - sum(before[:4]) < 5
    assert max(peak) < 300 * box.MB

"""The kernel in the box meets us wherever the temporary folder is, and leaves nothing in it."""

import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty

import psutil
import pytest

from course import box
from course import kernel as kernels
from course.kernel import BoxedKernel
from tests.course_files import ROOT, needs_box

NEST = """
import os
os.chdir({place!r})
for _ in range({depth}):
    os.mkdir("d")
    os.chdir("d")
open("f", "w").close()
os.chmod(".", 0)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    (tmp_path / "files" / "data").mkdir(parents=True)
    begun = []

    def started(temporary="t"):
        (tmp_path / temporary).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / temporary))
        begun.append(BoxedKernel(tmp_path / "files", ROOT / "data"))
        return begun[-1]

    yield started
    for kernel in begun:
        kernel.stop()


def run(kernel, code, seconds=60):
    """Run a cell; return why the kernel was ended meanwhile, if it was."""
    message, end = kernel.execute_cell_input(code), time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            try:
                kernel.await_idle(message, 1)
                return None
            except Empty:
                pass
    except RuntimeError as error:
        return str(error)
    raise AssertionError("the cell goes on and on")


@needs_box
@pytest.mark.parametrize("name", ["Ø", "a 'b'", "x" * 120, "short for its letters"])
def test_a_temporary_folder_of_any_name_will_do(name, start, tmp_path):
    if name == "short for its letters":
        name = "Ж" * max(1, 79 - len(str(tmp_path)))
    kernel = start(name)
    alive, sockets = kernel.is_alive(), kernel.sockets
    kernel.stop()
    assert alive
    assert not sockets.parent.exists()


@needs_box
def test_nobody_else_reaches_what_a_cell_leaves_among_the_sockets(start):
    kernel = start()
    place = str(kernel.sockets)
    code = f"import os, shutil\nos.chmod({place!r}, 0o755)\nos.chdir({place!r})\n"
    code += "shutil.copy('/usr/bin/true', 'true')\nos.chmod('true', 0o4755)"
    assert run(kernel, code) is None
    assert (kernel.sockets / "true").stat().st_mode & stat.S_ISUID
    assert stat.S_IMODE(kernel.sockets.parent.stat().st_mode) == 0o700
    assert kernel.sockets.parent != Path(tempfile.gettempdir())


@needs_box
def test_the_folder_around_the_sockets_is_not_in_the_box(start):
    kernel = start()
    around = str(kernel.sockets.parent)
    code = f"try:\n    open({around + '/f'!r}, 'w')\nexcept OSError:\n    pass\n"
    assert run(kernel, code + f"import os\nos.chmod({around!r}, 0o777)") is None
    assert [path.name for path in kernel.sockets.parent.iterdir()] == [kernel.sockets.name]
    assert stat.S_IMODE(kernel.sockets.parent.stat().st_mode) == 0o700


FILLED = {
    "a file": "open('f', 'wb').write(bytes(3 << 20))",
    "a folder": "os.mkdir('d'); open('d/f', 'wb').write(bytes(3 << 20))",
    "a closed folder": "os.mkdir('d'); open('d/f', 'wb').write(bytes(3 << 20)); os.chmod('d', 0)",
    "many files": "for n in range(5000): open(str(n), 'w').close()",
    "itself closed": "os.chmod('.', 0)",
}


@needs_box
@pytest.mark.parametrize("how", FILLED)
def test_what_fills_the_folder_of_the_sockets_ends_the_kernel(how, start):
    kernel = start()
    code = f"import os, time\nos.chdir({str(kernel.sockets)!r})\n{FILLED[how]}\n"
    if how == "itself closed" and os.geteuid() == 0:
        pytest.skip("root reads what is closed")
    assert run(kernel, f"{code}time.sleep(1000)", 20).startswith("the kernel fills the folder")


@needs_box
def test_files_that_vanish_do_not_end_the_watch(start):
    kernel = start()
    code = f"import os, time\nos.chdir({str(kernel.sockets)!r})\nend = time.time() + 4\n"
    code += "while time.time() < end:\n    for n in range(50): open(str(n), 'w').close()\n"
    code += "    for n in range(50): os.unlink(str(n))\n"
    assert run(kernel, code) is None
    assert kernel.watch.is_alive()


def test_what_cannot_be_watched_is_ended(monkeypatch):
    def fail(self):
        raise FileNotFoundError("x")

    monkeypatch.setattr(box.Watch, "excess", fail)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    watch = box.Watch(process, box.ROWS)
    watch.start()
    watch.join(20)
    ended = process.poll() is not None
    process.kill()
    assert ended
    assert watch.why == "cannot be watched (FileNotFoundError)"


@pytest.mark.parametrize("depth", [3, 3000])
def test_nested_and_closed_folders_are_removed(depth, tmp_path):
    top, beside = tmp_path / "top", tmp_path / "beside"
    for folder in (top, top / "c", top / "c" / "d", beside):
        folder.mkdir()
    (beside / "kept").write_text("x")
    (top / "link").symlink_to(beside)
    (top / "c" / "d").chmod(0)
    (top / "c").chmod(0)
    subprocess.run([sys.executable, "-c", NEST.format(place=str(top), depth=depth)], check=True)
    try:
        box.remove(top)
        assert not top.exists()
    finally:
        subprocess.run(["rm", "-rf", str(top)], check=True)
    assert (beside / "kept").exists()


@needs_box
def test_nested_folders_among_the_sockets_are_removed(start):
    kernel = start()
    kernel.execute_cell_input(NEST.format(place=str(kernel.sockets), depth=3000))
    time.sleep(3)
    kernel.stop()
    left = kernel.sockets.parent.exists()
    subprocess.run(["rm", "-rf", str(kernel.sockets.parent)], check=True)
    assert not left


SEND = r"""
import os, threading, time
from IPython import get_ipython
MB, k = 1 << 20, get_ipython().kernel
def send(**options):
    k.session.send(k.iopub_socket, "stream", **({"content": {}} | options))
    time.sleep(0.005)
def send_on_and_on(descriptor):  # frames of a message that has more of them
    frame = b"\x03" + MB.to_bytes(8, "big") + bytes(MB)
    while True:
        left = memoryview(frame)
        while left:
            try:
                left = left[os.write(descriptor, left):]
            except BlockingIOError:
                time.sleep(0.001)
def sockets():
    names = {n: f"/proc/self/fd/{n}" for n in range(3, 200)}
    return [n for n, x in names.items() if os.path.islink(x) and "socket:" in os.readlink(x)]
while True:
    """
SENT = {
    "content": "send(content={'text': 'x' * MB})",
    "metadata": "send(metadata={'text': 'x' * MB})",
    "headers": "send(header={**k.session.msg_header('x'), 'text': 'x' * MB})",
    "headers of parents": "send(parent={'header': {'text': 'x' * MB}})",
    "buffers": "send(buffers=[bytes(MB)] * 4)",
    "empty buffers": "send(buffers=[b''] * 100_000)",
    "identities": "send(ident=[b'x' * MB])",
    "a message without an end": (
        "time.sleep(1)\n"
        "    [threading.Thread(target=send_on_and_on, args=(n,)).start() for n in sockets()]\n"
        "    time.sleep(1000)"
    ),
}


@needs_box
@pytest.mark.parametrize("what", SENT)
def test_kernel_that_sends_too_much_is_ended(what, start, monkeypatch):
    monkeypatch.setattr(kernels, "MAX_OUTPUT", 16 * box.MB)
    monkeypatch.setattr(kernels, "MAX_HELD", 200 * box.MB, raising=False)
    boxed, us = start(), psutil.Process()
    before = us.memory_info().rss
    why = run(boxed, SEND + SENT[what], 15)
    # the kernel's own frames may end what a cell has begun
    assert re.match(r"the kernel sends (more than \d+ MB|what is no message)", str(why))
    assert us.memory_info().rss - before < 1500 * box.MB

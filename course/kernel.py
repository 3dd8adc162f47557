"""A notebook's kernel in the box, spoken to by sockets in a folder of its own."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from queue import Empty

import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from nbval.kernel import RunningKernel

from course import box

MAX_MESSAGE = 8 * box.MB  # bytes that the kernel may send at once
MAX_OUTPUT = 64 * box.MB  # and in all
LONGEST = 80  # bytes of the temporary folder: the address of a socket has 107 at most


class BoxedKernel(RunningKernel):
    """What nbval expects of a kernel."""

    def __init__(self, folder: Path, data: Path, limits: box.Limits = box.NOTEBOOK) -> None:
        fits = len(os.fsencode(tempfile.gettempdir())) <= LONGEST
        around = tempfile.mkdtemp(prefix="k", dir=None if fits else "/tmp")  # ours alone
        self.sockets = Path(around, "s")  # the kernel's, to whomever it may open it
        self.sockets.mkdir()
        self.waiting: deque[dict] = deque()
        self.output = 0
        inside = str(self.sockets)
        command = [sys.executable, "-B", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        binds = ["--bind", inside, inside, "--ro-bind", str(data), f"{box.INSIDE}/data"]
        context = zmq.Context()
        context.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        context.setsockopt(zmq.RCVHWM, 100)
        self.km = KernelManager(
            transport="ipc",
            ip=f"{inside}/s",
            connection_file=f"{inside}/connection.json",
            context=context,
        )
        argv, descriptors = box.boxed(command, folder, limits, *binds)
        self.km._kernel_spec = KernelSpec(argv=argv, language="python", interrupt_mode="message")
        nothing = subprocess.DEVNULL
        self.km.start_kernel(stdout=nothing, stderr=nothing, pass_fds=descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self.watch = box.Watch(self.km.provisioner.process, limits, self.sockets)
        self.watch.allow(limits.seconds)
        self.watch.start()
        self.kc = self.km.client(context=context)
        self.kc.start_channels()
        try:
            self.kc.wait_for_ready(timeout=60)
            self._ensure_iopub_up()
        except RuntimeError:
            self.stop()
            raise

    def get_message(self, stream: str, timeout: float | None = None) -> dict:
        """Return the next message.

        Raises:
            Empty: there is none within that time.
            RuntimeError: there never will be, or there are too many.
        """
        end = time.monotonic() + (timeout or 0)
        while True:
            self.take_in()
            if stream == "iopub" and self.waiting:
                return self.waiting.popleft()
            channel = self.kc.iopub_channel if stream == "iopub" else self.kc.shell_channel
            with suppress(Empty):
                message = channel.get_msg(timeout=0.1)
                if stream == "iopub":
                    self.count_in(message)
                return message
            if not self.is_alive():
                raise RuntimeError(f"the kernel {self.watch.why or 'has ended'}")
            if time.monotonic() > end:
                raise Empty

    def take_in(self) -> None:
        """Take in what has been sent, lest it be lost when there is more."""
        with suppress(Empty):
            while True:
                message = self.kc.iopub_channel.get_msg(timeout=0)
                self.count_in(message)
                self.waiting.append(message)

    def count_in(self, message: dict) -> None:
        """Add a message to the output.

        Raises:
            RuntimeError: there is too much of it.
        """
        self.output += len(str(message["content"]))
        message["msg_type"] = re.sub(r"[^a-z_]", "?", str(message["msg_type"])[:40])  # is printed
        if self.output > MAX_OUTPUT or self.watch.why:
            self.stop()
            why = self.watch.why or f"sends more than {MAX_OUTPUT // box.MB} MB"
            raise RuntimeError(f"the kernel {why}")

    def stop(self) -> None:
        """End everything in the box, and remove the sockets."""
        self.watch.end()
        with suppress(AttributeError):  # it was stopped before
            super().stop()
        box.remove(self.sockets.parent)

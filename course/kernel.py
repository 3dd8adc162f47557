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
from typing import Any

import psutil
import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from nbval.kernel import RunningKernel

from course import box

MAX_MESSAGE = 8 * box.MB  # bytes that the kernel may send at once
MAX_OUTPUT = 64 * box.MB  # and in all
MAX_HELD = 1024 * box.MB  # that this process may grow by meanwhile
FRAME = 100  # bytes that a part of a message takes beside its own
LONGEST = 80  # bytes of the temporary folder: the address of a socket has 107 at most


class KernelWatch(box.Watch):
    """Ends a kernel, too, that fills our memory with messages that nobody has asked for yet.

    A message without an end is kept by ZeroMQ, and never seen here.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.us = psutil.Process()
        self.before = self.us.memory_info().rss

    def excess(self) -> str | None:
        """Return of what there is too much."""
        if self.us.memory_info().rss - self.before > MAX_HELD:
            return f"sends more than {MAX_HELD // box.MB} MB can hold"
        return super().excess()


class BoxedKernel(RunningKernel):
    """What nbval expects of a kernel."""

    def __init__(self, folder: Path, data: Path, limits: box.Limits = box.NOTEBOOK) -> None:
        fits = len(os.fsencode(tempfile.gettempdir())) <= LONGEST
        around = tempfile.mkdtemp(prefix="k", dir=None if fits else "/tmp")  # ours alone
        self.sockets = Path(around, "s")  # the kernel's, to whomever it may open it
        self.sockets.mkdir()
        self.waiting: deque[list[bytes]] = deque()
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
        self.watch = KernelWatch(self.km.provisioner.process, limits, self.sockets)
        self.watch.allow(limits.seconds)
        self.watch.start()
        self.kc = self.km.client(context=context)
        self.kc.start_channels(hb=False)  # whose thread a heartbeat without an end would hold
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
                return self.read(self.waiting.popleft())
            channel = self.kc.iopub_channel if stream == "iopub" else self.kc.shell_channel
            if channel.socket.poll(100):
                return self.read(self.received(channel.socket))
            if not self.is_alive():
                raise RuntimeError(f"the kernel {self.watch.why or 'has ended'}")
            if time.monotonic() > end:
                raise Empty

    def take_in(self) -> None:
        """Take in what has been sent, lest it be lost when there is more."""
        socket = self.kc.iopub_channel.socket
        while socket.poll(0):
            self.waiting.append(self.received(socket))

    def received(self, socket: zmq.Socket) -> list[bytes]:
        """Return the parts of the next message, all of which count.

        Raises:
            RuntimeError: there have been too many.
        """
        frames = socket.recv_multipart()
        self.output += sum(len(frame) + FRAME for frame in frames)
        if self.output > MAX_OUTPUT or self.watch.why:
            self.stop()
            why = self.watch.why or f"sends more than {MAX_OUTPUT // box.MB} MB"
            raise RuntimeError(f"the kernel {why}")
        return frames

    def read(self, frames: list[bytes]) -> dict:
        """Return a message of its parts.

        Raises:
            RuntimeError: it is none.
        """
        try:
            _, signed = self.kc.session.feed_identities(frames)
            message = self.kc.session.deserialize(signed)
        except Exception as error:  # whatever comes of parts that are none
            self.stop()
            raise RuntimeError("the kernel sends what is no message") from error
        message["msg_type"] = re.sub(r"[^a-z_]", "?", str(message["msg_type"])[:40])  # is printed
        return message

    def stop(self) -> None:
        """End everything in the box, and remove the sockets."""
        self.watch.end()
        with suppress(AttributeError):  # it was stopped before
            super().stop()
        box.remove(self.sockets.parent)

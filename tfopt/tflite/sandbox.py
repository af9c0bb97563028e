"""Calls functions in a process of their own, which a crash in C++ code or a hang may take down."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from typing import IO, Any

_INSIDE = "TFOPT_SANDBOX"


class Crashed(Exception):
    """The process of a sandbox ended, or was ended for taking too long.

    Args:
        how: What happened, such as `"SIGSEGV"`.
        printed: What the process had printed.
    """

    def __init__(self, how: str, printed: str) -> None:
        self.how, self.printed = how, printed
        super().__init__(f"{how}\n{printed}".strip())


class Failed(Exception):
    """A function raised an error in a sandbox; the text is its traceback there.

    Args:
        error: The error in one line.
        details: The traceback, and what the process printed.
    """

    def __init__(self, error: str, details: str) -> None:
        self.error = error
        super().__init__(details)


class Sandbox:
    """A process that calls functions one after the other, started when the first is called.

    It stays, since importing TensorFlow takes seconds; after a crash the next call starts a new
    one. It ends with this process. Not a fork, which hangs once TensorFlow's threads run, and not
    `multiprocessing`, which runs the user's own script again.

    Args:
        imports: The name of a module that the process imports as soon as it starts.

    Example:
        >>> sandbox = Sandbox()
        >>> sandbox.call(len, b"four", time_limit_s=60)
        4
        >>> sandbox.close()
    """

    def __init__(self, *, imports: str = "") -> None:
        self._imports = imports
        self._process: subprocess.Popen[bytes] | None = None
        self._printed: IO[bytes] | None = None
        self._lock = threading.Lock()
        atexit.register(self.close)

    def call(self, function: Callable[..., Any], *arguments: Any, time_limit_s: float) -> Any:
        """Calls a function of some module in the sandbox and returns what it returns.

        Args:
            function: A function that a module holds under its name.
            *arguments: Values that can be pickled.
            time_limit_s: After this many seconds the process is ended.

        Raises:
            Crashed: The process ended.
            Failed: The function raised an error.
        """
        request = (function.__module__, function.__qualname__, arguments)
        with self._lock:
            process = self._started()
            late = threading.Event()
            timer = threading.Timer(time_limit_s, _end, (process, late))
            timer.daemon = True
            timer.start()
            self._forget_printed()
            try:
                answer = _exchange(process, request)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                how = self._ending(f"no answer in {time_limit_s:g} s" if late.is_set() else "")
                raise Crashed(how, self._what_printed()) from error
            except BaseException:  # interrupted: its answer must not be taken for the next one's
                self.close()
                raise
            finally:
                timer.cancel()
            if answer[0]:
                return answer[1]
            raise Failed(answer[1], f"{answer[2]}\n{self._what_printed()}".strip())

    def start(self) -> None:
        """Starts the process ahead of the first call, which then waits less."""
        with self._lock:
            self._started()

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, self._printed):
                with contextlib.suppress(OSError, AttributeError):
                    stream.close()  # type: ignore[union-attr]

    def _started(self) -> subprocess.Popen[bytes]:
        if _INSIDE in os.environ:
            # such as litert.py, which TensorFlow looks for: each process would start another one
            raise Crashed(
                "a sandbox called in a sandbox: a script that runs tfopt has the name of a module "
                "that is imported there; give it another name",
                "",
            )
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
            path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import serve; serve({self._imports!r})"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                # a GPU that this process uses has no memory left for another one
                env={
                    **os.environ,
                    _INSIDE: "1",
                    "PYTHONPATH": path,
                    "CUDA_VISIBLE_DEVICES": "-1",
                },
            )
        return self._process

    def _ending(self, how: str) -> str:
        process = self._process
        assert process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)  # the pipe may close before the process has ended
        code = process.poll()
        if code is None:
            process.kill()
        if not how and code is not None and code < 0:
            how = signal.Signals(-code).name
        return how or f"exit code {code}"

    def _forget_printed(self) -> None:
        if self._printed is not None:
            self._printed.seek(0)
            self._printed.truncate()

    def _what_printed(self) -> str:
        if self._printed is None:
            return ""
        self._printed.seek(0)
        return self._printed.read().decode("utf-8", "replace")


def serve(imports: str = "") -> None:
    """Answers calls on the standard streams until they close: the life of a sandbox's process."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what C++ code prints must not get between the answers
    if imports:
        importlib.import_module(imports)
    while True:
        try:
            module, name, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: tuple[Any, ...]
        try:
            answer = (True, getattr(importlib.import_module(module), name)(*arguments))
        except BaseException as error:
            answer = (False, f"{type(error).__name__}: {error}", traceback.format_exc())
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _end(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


def _exchange(process: subprocess.Popen[bytes], request: Any) -> Any:
    assert process.stdin is not None and process.stdout is not None
    pickle.dump(request, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
    process.stdin.flush()
    return pickle.load(process.stdout)

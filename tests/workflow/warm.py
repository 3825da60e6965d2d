"""Jobs of real experiments without the two seconds each that importing torch takes: forked from a process that has it.

    python warm.py serve SOCKET       imports what jobs import, none of ours; forks once for every call
    python warm.py call SOCKET ...    what `guidelab` is in such a tree: the same arguments, environment, folder, files, status

What runs in the fork is `python -m guidelab.cli.app` of the tree it is called in, imported anew. That jobs of processes of their
own make the same bytes is tested on the test cluster.
"""

import array
import atexit
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

_PRELOAD = ("torch", "torch._dynamo", "torch.distributed", "pandas", "scipy.linalg", "scipy.special", "safetensors.torch", "PIL.Image", "typer", "yaml", "tqdm")  # fmt: skip
_SIZE = 1 << 20  # bytes of arguments and environment


def script() -> str:
    """The `guidelab` of a tree, for /bin/sh; starts the process that serves it, which ends with this one."""
    return f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" call "{_server()}" "$@"\n'


_served: list[str] = []


def _server() -> str:
    if not _served:
        folder = tempfile.mkdtemp(prefix="warm-")
        path = f"{folder}/s"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GUIDELAB")} | {
            "OMP_NUM_THREADS": "1"
        }
        process = subprocess.Popen(
            [sys.executable, __file__, "serve", path],
            env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
            preexec_fn=_die_with_parent,
        )  # fmt: skip
        assert process.stdout and process.stdout.readline() == b"ready\n", (
            "the process that serves jobs does not start"
        )
        atexit.register(_end, process, folder)
        _served.append(path)
    return _served[0]


def _end(process: "subprocess.Popen[bytes]", folder: str) -> None:
    process.kill()
    process.wait()
    Path(f"{folder}/s").unlink(missing_ok=True)
    Path(folder).rmdir()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def serve(path: str) -> None:
    """Fork for every call, until killed."""
    import gc
    import importlib

    for name in _PRELOAD:
        importlib.import_module(name)
    assert not any(name.split(".")[0] == "guidelab" for name in sys.modules), "ours is imported in every job"
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "threads do not survive a fork"
    gc.freeze()
    signal.signal(signal.SIGCHLD, _reap)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        print("ready", flush=True)
        while True:
            calling, _ = listening.accept()
            if not os.fork():
                listening.close()
                _die_with_parent()
                _answer(calling)
            calling.close()


def _reap(*_: object) -> None:
    """Collect the processes that ended: their CPU time counts as that of the tests."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _answer(calling: socket.socket) -> None:
    """Act as the called process, and return its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    files = array.array("i")
    data, ancillary, _, _ = calling.recvmsg(_SIZE, socket.CMSG_SPACE(3 * files.itemsize))
    for _, _, content in ancillary:
        files.frombytes(content)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    size, _, rest = data.partition(b"\n")
    while len(rest) < int(size):
        rest += calling.recv(_SIZE)
    told = json.loads(rest)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    sys.argv[1:] = told["arguments"]
    sys.path[0:1] = [told["folder"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.pycache_prefix = os.environ.get("PYTHONPYCACHEPREFIX")
    calling.sendall(bytes([_run()]))
    os._exit(0)


def _run() -> int:
    """`python -m guidelab.cli.app`; its exit status."""
    import runpy
    import traceback

    code = 0
    try:
        runpy.run_module("guidelab.cli.app", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code & 255


def call(path: str, arguments: list[str]) -> int:
    """Have a call answered; its exit status, 137 if it was killed."""
    told = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109 - without imports
    content = json.dumps(told).encode()
    with socket.socket(socket.AF_UNIX) as calling:
        calling.connect(path)
        socket.send_fds(calling, [str(len(content)).encode() + b"\n"], [0, 1, 2])
        calling.sendall(content)
        status = calling.recv(1)
    return status[0] if status else 137


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    sys.exit(call(sys.argv[2], sys.argv[3:]))

"""A real Slurm for tests: one controller and two nodes with fake GPUs on loopback, removed when its owner ends.

    python tests/cluster/slurm.py install               Debian's packages; nothing is started
    python tests/cluster/slurm.py run -- COMMAND        a cluster for as long as COMMAND runs
    python tests/cluster/slurm.py start                 one that stays; then  status · down NAME · up NAME · stop
                                                        (NAME: munged, slurmctld, n1, n2)
    options of run and start: --cgroup  processes are tracked by cgroups, as clusters do; memory limits hold
                              --gpus 1  --cpus 3        of each node

Needs root (device nodes, /etc/slurm) and Debian's packages; no systemd. A supervising process owns the daemons and is
the subreaper of all they start: jobs and their stepd are its descendants too, and it kills them all when it ends. It
ends at `stop`, at SIGTERM, and when the process that started it has ended in any way. If it is killed itself,
the kernel kills its daemons, and the next call (of any kind) removes what is left. Files of others in /etc/slurm are
moved aside and brought back. One cluster at a time: a second is refused.
"""

import argparse
import atexit
import contextlib
import ctypes
import os
import selectors
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

BASE = Path("/run/guidelab-slurm")
ETC = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
ADDRESS = "\0guidelab-slurm"  # an abstract socket: the lock of which no file can be left behind
MARK = "GUIDELAB_TEST_SLURM"
NODES = ("n1", "n2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
_NULL = os.makedev(1, 3)  # a fake GPU is /dev/null by another name
PORTS = 16817  # and the three behind it; loopback only
PATIENCE_S = 300  # for the nodes to be idle; seconds on an idle machine
CONF = """\
# {mark}: written by tests/cluster/slurm.py, removed when the test cluster stops
ClusterName=guidelabtest
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={slurmd}
AuthType=auth/munge
AuthInfo=socket={base}/munge/socket,cred_expire=20
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd-%n.pid
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/{task}
JobAcctGatherType=jobacct_gather/linux
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=30
MinJobAge=3600
UnkillableStepTimeout=300
SlurmdTimeout=300
MessageTimeout=100
TCPTimeout=30
SchedulerParameters=sched_interval=2,bf_interval=5,batch_sched_delay=0,sched_min_interval=0,defer_batch
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={base}/log/jobcomp.txt
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs={cpus} RealMemory=64000 Gres=gpu:a100:{gpus}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs={cpus} RealMemory=64000 Gres=gpu:a100:{gpus}
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=1-0 DefMemPerCPU=200 PriorityTier=1 State=UP
PartitionName=gpu Nodes=n[1-2] MaxTime=1-0 DefMemPerCPU=200 PriorityTier=1 State=UP
PartitionName=urgent Nodes=n[1-2] MaxTime=1-0 DefMemPerCPU=200 PriorityTier=9 PreemptMode=OFF State=UP
"""


class NoCluster(Exception):  # noqa: N818 - a reason, often to skip
    """Why there is none."""


# ---- what can be had here ------------------------------------------------------------------------------------------


def unavailable() -> str | None:
    """Why no cluster can be started on this machine; None where it can."""
    if sys.platform != "linux":
        return "Slurm runs on Linux only"
    if os.geteuid() != 0:
        return "a test cluster needs root: it makes device nodes and writes /etc/slurm"
    if any(not shutil.which(name) for name in PROGRAMS) and not shutil.which("apt-get"):
        return f"{', '.join(PROGRAMS)}: not all installed, and no apt-get to install them with"
    with tempfile.TemporaryDirectory(dir=BASE.parent) as folder:
        try:
            os.mknod(f"{folder}/gpu", 0o600 | stat.S_IFCHR, _NULL)
        except OSError as error:
            return f"device nodes cannot be made here ({error.strerror}): no fake GPUs"
    return None


def install() -> None:
    """Debian's packages, where they are not there yet; no daemon is started by that.

    Raises:
        NoCluster: they cannot be installed.
    """
    if reason := unavailable():
        raise NoCluster(reason)
    if all(shutil.which(name) for name in PROGRAMS):
        return
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run(
                ["apt-get", *command],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode and command[0] == "install":
                raise NoCluster(f"apt-get install {' '.join(PACKAGES)}: {done.stderr.strip()[-500:]}")
    finally:
        if ours:
            policy.unlink()


# ---- processes -----------------------------------------------------------------------------------------------------


def _processes() -> dict[int, int]:
    """Parents of all processes by pid; zombies left out."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            except OSError:
                continue
            if state != "Z":
                found[int(entry.name)] = int(parent)
    return found


def _descendants(pid: int) -> list[int]:
    parents = _processes()
    found, todo = [], [pid]
    while todo:
        above = todo.pop()
        below = [child for child, parent in parents.items() if parent == above]
        found += below
        todo += below
    return found


def _marked() -> list[int]:
    """Processes of a test cluster whose supervisor is gone: by the mark in their environment, or a file of ours they
    hold open (a stepd overwrites its environment); with all they started.
    """
    found = set()
    for pid in _processes():
        proc = Path(f"/proc/{pid}")
        try:
            marked = f"{MARK}=daemon".encode() in (proc / "environ").read_bytes().split(b"\0")
            held = [str(link.readlink()) for link in (proc / "cwd", *(proc / "fd").iterdir())]
        except OSError:
            continue
        if pid != os.getpid() and (
            marked or any(f"{path}/".startswith((f"{BASE}/", f"{BASE} ")) for path in held)
        ):
            found |= {pid, *_descendants(pid)}
    return sorted(found)


def _foreign() -> str | None:
    """A Slurm that is not ours, with which ours would share /etc/slurm."""
    for pid in _processes():
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        if name in ("slurmctld", "slurmd", "slurmstepd"):
            return f"{name} runs here (pid {pid})"
    return None


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def dies_with_parent() -> None:
    """For `preexec_fn`: the process is killed when its parent ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


# ---- files ---------------------------------------------------------------------------------------------------------


def clean() -> None:
    """Remove what a test cluster leaves: processes, its folder, its files in /etc/slurm; bring others' files back."""
    for _ in range(100):
        left = _marked()
        if not left:
            break
        _kill(left)
        time.sleep(0.05)
    for name in FILES:
        path = ETC / name
        if path.is_file() and f"# {MARK}" in path.read_text(errors="replace"):
            path.unlink()
        if (BASE / "etc" / name).exists() and not path.exists():
            shutil.move(BASE / "etc" / name, path)
    for top in Path("/sys/fs/cgroup").glob("*/slurm*"):
        for path, _, _ in os.walk(top, topdown=False):
            try:
                Path(path).rmdir()
            except OSError:
                continue
    shutil.rmtree(BASE, ignore_errors=True)


def leftovers() -> list[str]:
    """What of a stopped cluster is still there; empty when all is well."""
    found = [f"process {pid}" for pid in _marked()]
    found += [str(path) for path in (BASE, *(ETC / name for name in FILES)) if path.exists() and _ours(path)]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob("*/slurm*")]
    return found


def _ours(path: Path) -> bool:
    return path == BASE or f"# {MARK}" in path.read_text(errors="replace")


def write(cgroup: bool, gpus: int, cpus: int) -> None:
    """The cluster's folder and configuration."""
    for name in ("dev", "state", "log", "etc", *(f"spool/{node}" for node in NODES)):
        (BASE / name).mkdir(parents=True)
    (BASE / "munge").mkdir(mode=0o755)
    (BASE / "munge/key").write_bytes(os.urandom(1024))
    (BASE / "munge/key").chmod(0o400)
    gres = "AutoDetect=off\n"
    for index, node in enumerate(NODES):
        devices = [BASE / f"dev/gpu{index * gpus + i}" for i in range(gpus)]
        for path in devices:
            os.mknod(path, 0o666 | stat.S_IFCHR, _NULL)
            gres += f"NodeName={node} Name=gpu Type=a100 File={path}\n"
    host = socket.gethostname().split(".")[0]
    conf = CONF.format(
        mark=MARK,
        base=BASE,
        host=host,
        cpus=cpus,
        gpus=gpus,
        port=PORTS,
        slurmd=PORTS + 1,
        n1=PORTS + 2,
        n2=PORTS + 3,
        proctrack="cgroup" if cgroup else "linuxproc",
        task="cgroup" if cgroup else "none",
    )
    limits = "ConstrainRAMSpace=yes\nAllowedRAMSpace=100\nConstrainSwapSpace=no\n" if cgroup else ""
    ETC.mkdir(exist_ok=True)
    for name, text in zip(
        FILES,
        (conf, f"# {MARK}\n{gres}", f"# {MARK}\nCgroupPlugin=cgroup/v1\n{limits}"),
        strict=True,
    ):
        if (ETC / name).exists():
            shutil.move(ETC / name, BASE / "etc" / name)
        (ETC / name).write_text(text)


# ---- the supervisor ------------------------------------------------------------------------------------------------


class Supervisor:
    """The process that owns the daemons."""

    def __init__(self, cgroup: bool, gpus: int, cpus: int):
        self.options = (cgroup, gpus, cpus)
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def commands(self) -> dict[str, list[str]]:
        """How each daemon is started."""
        m = BASE / "munge"
        munged = ["munged", "--foreground", "--force", f"--key-file={m}/key", f"--socket={m}/socket"]
        munged += [f"--pid-file={m}/pid", f"--log-file={m}/log", f"--seed-file={m}/seed"]
        found = {"munged": munged, "slurmctld": ["slurmctld", "-D"]}
        return found | {node: ["slurmd", "-D", "-N", node] for node in NODES}

    def up(self, name: str) -> None:
        """Start a daemon."""
        with open(BASE / f"log/{name}.log", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                self.commands()[name],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", MARK: "daemon"},
                cwd=BASE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent,
            )

    def down(self, name: str) -> None:
        """Kill a daemon, as a failing machine would; its jobs keep running.

        The controller gets SIGTERM: it saves its state every few seconds only, and one that forgets that it has just
        started a job starts it again and takes the node out of service.
        """
        if name == "slurmctld":
            self.daemons[name].terminate()
        else:
            self.daemons[name].kill()
        self.daemons.pop(name).wait()

    def begin(self) -> None:
        """Start all, wait until both nodes are idle.

        Raises:
            NoCluster: they are not in time, or a daemon ended; shows its log.
        """
        write(*self.options)
        self.up("munged")
        until = time.monotonic() + PATIENCE_S
        while not (BASE / "munge/socket").exists() and time.monotonic() < until:
            self.check()
            time.sleep(0.05)
        for name in ("slurmctld", *NODES):
            self.up(name)
        while time.monotonic() < until:
            self.check()
            shown = subprocess.run(
                ["sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N"], capture_output=True, text=True
            )
            if set(shown.stdout.split()) == set(NODES):
                return
            time.sleep(0.2)
        raise NoCluster(f"the nodes are not idle after {PATIENCE_S} s: {self.log('slurmctld')}")

    def check(self) -> None:
        """Report a daemon that ended."""
        for name, daemon in self.daemons.items():
            if daemon.poll() is not None:
                raise NoCluster(f"{name} ended with {daemon.returncode}: {self.log(name)}")

    def log(self, name: str) -> str:
        """The last lines of a daemon's log."""
        return "\n".join((BASE / f"log/{name}.log").read_text(errors="replace").splitlines()[-8:])

    def end(self) -> None:
        """Kill everything below this process, remove everything."""
        for _ in range(1000):
            below = _descendants(os.getpid())
            if not below:
                break
            _kill(below)
            for daemon in self.daemons.values():
                daemon.poll()
            time.sleep(0.01)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        clean()

    def answer(self, line: str) -> str:
        """One command of the control socket."""
        verb, _, name = line.strip().partition(" ")
        if verb in ("up", "down") and name not in self.commands():
            return f"no daemon {name!r}; wanted one of {', '.join(self.commands())}"
        if verb == "down" and name in self.daemons:
            self.down(name)
        elif verb == "up" and name not in self.daemons:
            self.up(name)
        told = [f"{n} {'runs' if d.poll() is None else 'died'}" for n, d in self.daemons.items()]
        return f"supervisor {os.getpid()}: {', '.join(told)}"


def supervise(owned: bool, cgroup: bool, gpus: int, cpus: int) -> None:
    """Run the cluster until a stop command; with `owned`, until standard input ends, too. Says `ready`, or why not."""
    os.setsid()
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(ADDRESS)
    except OSError:
        print(
            f"a test cluster runs already ({ask('status')}); one at a time: wait for it, or `slurm.py stop`"
        )
        return
    lock.listen()
    clean()
    if there := _foreign():
        print(f"{there}: a test cluster would take its /etc/slurm; use another machine")
        return
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    supervisor = Supervisor(cgroup, gpus, cpus)
    stop: list[int] = []
    awake, wake = socket.socketpair()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _: (stop.append(n), wake.send(b"x")))
    try:
        supervisor.begin()
        print("ready", flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the caller may wait for the end of our output
        _serve(supervisor, lock, awake, owned, stop)
    except NoCluster as error:
        print(error, flush=True)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        supervisor.end()


def _serve(
    supervisor: Supervisor, lock: socket.socket, awake: socket.socket, owned: bool, stop: list[int]
) -> None:
    selector = selectors.DefaultSelector()
    for source in (lock, awake, *([sys.stdin] if owned else [])):
        selector.register(source, selectors.EVENT_READ)
    while not stop:
        for key, _ in selector.select(timeout=1.0):
            if key.fileobj is sys.stdin and not os.read(0, 4096):
                return
            if key.fileobj is lock:
                client, _ = lock.accept()
                with client:
                    line = client.recv(200).decode()
                    if line.strip() == "stop":
                        client.sendall(str(os.getpid()).encode())
                        return
                    client.sendall(supervisor.answer(line).encode())
        kept = {daemon.pid for daemon in supervisor.daemons.values()}
        for pid in [p for p, parent in _zombies() if parent == os.getpid() and p not in kept]:
            os.waitpid(pid, os.WNOHANG)


def _zombies() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            except OSError:
                continue
            if state == "Z":
                yield int(entry.name), int(parent)


# ---- for tests and the command line --------------------------------------------------------------------------------


def ask(line: str) -> str:
    """Send a line to the running supervisor.

    Raises:
        NoCluster: there is none.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        try:
            client.connect(ADDRESS)
        except ConnectionRefusedError as error:
            raise NoCluster("no test cluster runs") from error
        client.sendall(line.encode())
        return client.recv(2000).decode()


class Cluster:
    """A test cluster for a `with` block: stopped at its end, and when this process ends or is killed."""

    def __init__(self, cgroup: bool = False, gpus: int = 1, cpus: int = 3, wait_s: float = 0.0):
        """See the options of `run`; another cluster is waited for as long as `wait_s`."""
        self.options = [*(["--cgroup"] if cgroup else []), "--gpus", str(gpus), "--cpus", str(cpus)]
        self.wait_s = wait_s
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Cluster":
        """Install if need be, start, wait until both nodes are idle.

        Raises:
            NoCluster: says why.
        """
        install()
        until = time.monotonic() + self.wait_s
        while _taken() and time.monotonic() < until:
            time.sleep(1.0)
        self.process = _spawn([*self.options, "--owned"], stdin=subprocess.PIPE)
        atexit.register(self.__exit__)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.stdin:
            self.process.stdin.close()
            self.process.wait(timeout=120)
            self.process = None

    def down(self, name: str) -> str:
        """Kill a daemon: munged, slurmctld, n1 or n2."""
        return ask(f"down {name}")

    def up(self, name: str) -> str:
        """Start it again."""
        return ask(f"up {name}")


@contextlib.contextmanager
def tracked(gpus: int = 1, cpus: int = 3, wait_s: float = 0.0) -> Iterator[Cluster]:
    """A cluster that tracks processes by cgroups, as real ones do, where this machine can; else by their parents."""
    try:
        made = Cluster(True, gpus, cpus, wait_s).__enter__()
    except NoCluster:
        made = Cluster(False, gpus, cpus, wait_s).__enter__()
    try:
        yield made
    finally:
        made.__exit__()


def _taken() -> bool:
    with contextlib.suppress(NoCluster):
        return bool(ask("status"))
    return False


def _spawn(options: list[str], stdin: int) -> "subprocess.Popen[bytes]":
    """A supervisor that says `ready`.

    Raises:
        NoCluster: it says something else.
    """
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "supervise", *options],
        stdin=stdin,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    told = process.stdout.readline().decode().strip()
    if told != "ready":
        told += process.stdout.read().decode()
        process.wait()
        raise NoCluster(told or "the supervisor died")
    return process


def stop() -> str:
    """Stop the running cluster and wait until it has ended; without one, remove what a killed one left."""
    try:
        pid = int(ask("stop"))
    except NoCluster:
        left = leftovers()
        clean()
        return f"no test cluster runs; removed {', '.join(left)}" if left else "no test cluster runs"
    while Path(f"/proc/{pid}").exists() and pid in _processes():
        time.sleep(0.05)
    return "stopped"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = ("install", "start", "stop", "status", "run", "up", "down", "supervise")
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("--cgroup", action="store_true")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--cpus", type=int, default=3)
    parser.add_argument("--owned", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", metavar="NAME, or -- COMMAND")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    given = parser.parse_args(sys.argv[1:at])
    given.words += sys.argv[at + 1 :]
    try:
        if given.verb == "supervise":
            supervise(given.owned, given.cgroup, given.gpus, given.cpus)
        elif given.verb == "install":
            install()
        elif given.verb == "start":
            install()
            _spawn(Cluster(given.cgroup, given.gpus, given.cpus).options, stdin=subprocess.DEVNULL)
            print(ask("status"))
        elif given.verb == "stop":
            print(stop())
        elif given.verb == "run":
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: sys.exit(1))
            with Cluster(given.cgroup, given.gpus, given.cpus):
                code = subprocess.run(given.words, check=False).returncode
            sys.exit(code)
        else:
            print(ask(" ".join([given.verb, *given.words])))
    except NoCluster as error:
        sys.exit(f"slurm.py: {error}")


if __name__ == "__main__":
    main()

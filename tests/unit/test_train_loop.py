import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import Tensor

from guidelab.errors import UserError
from guidelab.train import loop
from guidelab.train.loop import State, TrainingSpec, run
from guidelab.train.stop import Stopped
from guidelab.train.streams import stream


def course(hook=lambda iteration: None, iterations: int = 23, **key: object) -> TrainingSpec:
    """Two random walks: each step depends on the state and on the iteration's own random numbers."""

    def step(state: State, iteration: int) -> tuple[State, Tensor]:
        hook(iteration)
        x = state["x"] * 0.99 + torch.randn(2, 3, generator=stream("walk", 7, iteration))
        return {"x": x, "count": state["count"] + 1}, x.square().mean(1)

    return TrainingSpec(
        key={"walk": 7, "stds": (0.1, 0.2), **key},
        initial=lambda: {"x": torch.zeros(2, 3), "count": torch.zeros((), dtype=torch.int64)},
        step=step,
        snapshot=lambda state: {"x": state["x"]},
        iterations=iterations,
        snapshot_every=5,
        log_every=4,
    )


def same(one: tuple[dict[int, State], Tensor], two: tuple[dict[int, State], Tensor]) -> None:
    assert one[0].keys() == two[0].keys() == {5, 10, 15, 20}
    assert all(torch.equal(one[0][at]["x"], two[0][at]["x"]) for at in one[0])
    assert torch.equal(one[1], two[1]) and one[1].shape == (6, 2)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[int, State], Tensor]:
    return run(course(), tmp_path_factory.mktemp("straight"), progress=False)


@pytest.mark.parametrize("crash_at", [0, 1, 4, 5, 12, 22])
@pytest.mark.parametrize("save_every_s", [0.0, 1e9])
def test_a_crash_changes_nothing(straight, tmp_path: Path, crash_at: int, save_every_s: float) -> None:
    def fail(iteration: int) -> None:
        if iteration == crash_at:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(course(fail), tmp_path, save_every_s=save_every_s, progress=False)
    same(run(course(), tmp_path, progress=False), straight)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_stops_and_is_resumed(straight, tmp_path: Path, number: int) -> None:
    done: list[int] = []

    def interrupt(iteration: int) -> None:
        done.append(iteration)
        if iteration == 7:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Stopped, match="stopped after 8 of 23"):
        run(course(interrupt), tmp_path, save_every_s=1e9, progress=False)
    assert signal.getsignal(number) == before
    again: list[int] = []
    same(run(course(again.append), tmp_path, progress=False), straight)
    assert done == list(range(8)) and again == list(range(8, 23))


def test_a_signal_during_the_last_iteration_ends_normally(straight, tmp_path: Path) -> None:
    last = course(lambda iteration: os.kill(os.getpid(), signal.SIGTERM) if iteration == 22 else None)
    same(run(last, tmp_path, progress=False), straight)


def test_killed_outright_and_resumed(straight, tmp_path: Path) -> None:
    """SIGKILL leaves no chance to save: what was saved by then must be whole."""
    code = """
        import os, sys
        sys.path.insert(0, sys.argv[2])
        from test_train_loop import course, run
        run(course(lambda i: os.kill(os.getpid(), 9) if i == 13 else None), sys.argv[1], save_every_s=0, progress=False)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), str(Path(__file__).parent)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    resumed: list[int] = []
    same(run(course(resumed.append), tmp_path, progress=False), straight)
    assert resumed[0] == 13


def test_a_finished_training_is_not_repeated(straight, tmp_path: Path) -> None:
    run(course(), tmp_path, progress=False)

    def never(iteration: int) -> None:
        raise AssertionError("trained again")

    same(run(course(never), tmp_path, progress=False), straight)


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    def second(iteration: int) -> None:
        with pytest.raises(UserError, match=f"pid {os.getpid()}.*training here"):
            run(course(), tmp_path, progress=False)

    run(course(second, iterations=5), tmp_path, progress=False)


def test_state_of_another_training_is_refused(tmp_path: Path) -> None:
    run(course(), tmp_path, progress=False)
    with pytest.raises(UserError, match="state of another training"):
        run(course(lr=1.0), tmp_path, progress=False)


def test_a_truncated_state_is_refused(tmp_path: Path) -> None:
    run(course(), tmp_path, progress=False)
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"state\.safetensors"):
        run(course(), tmp_path, progress=False)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    broken = course()
    bad = TrainingSpec(
        **{**vars(broken), "step": lambda s, i: (s, torch.tensor([0.0, float("nan") if i == 9 else 0.0]))}
    )
    with pytest.raises(UserError, match="not finite before iteration 12"):
        run(bad, tmp_path, progress=False)


def test_losses_are_means_over_their_interval(tmp_path: Path) -> None:
    counting = TrainingSpec(**{**vars(course()), "step": lambda s, i: (s, torch.tensor([float(i), 1.0]))})
    _, losses = run(counting, tmp_path, progress=False)
    assert losses[:, 0].tolist() == [1.5, 5.5, 9.5, 13.5, 17.5, 21.0] and (losses[:, 1] == 1).all()


def test_streams_are_apart_and_repeatable() -> None:
    draws = {
        key: torch.randn(4, generator=stream(*key))
        for key in [("a", 0, 0), ("a", 0, 1), ("a", 1, 0), ("b", 0, 0)]
    }
    for key, draw in draws.items():
        assert torch.equal(draw, torch.randn(4, generator=stream(*key)))
        assert not any(torch.equal(draw, other) for name, other in draws.items() if name != key)


def test_progress_goes_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(course(), tmp_path)
    out, err = capfd.readouterr()
    assert out == "" and "training" in err and "23/23" in err
    assert loop.__doc__

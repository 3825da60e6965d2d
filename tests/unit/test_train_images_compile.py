from pathlib import Path
from typing import Any

import pytest
import torch
from test_train_images import same, trainer


def test_a_failing_compiler_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: Any, **options: Any) -> Any:
        def call(*args: Any) -> Any:
            raise RuntimeError("no C++ compiler found")

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.warns(UserWarning, match="training uncompiled: no C\\+\\+ compiler found"):
        compiled = trainer(compile=True)
    plain = trainer()
    assert same(compiled.step(compiled.live, 0)[0], plain.step(plain.live, 0)[0])


@pytest.mark.slow
def test_compiled_equals_uncompiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds kernels: half a minute. Also the weights the compiled net normalises are those of the state."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    compiled, plain = trainer(compile=True), trainer()
    for iteration in range(6):
        loss, again = compiled.step(compiled.live, iteration)[1], plain.step(plain.live, iteration)[1]
        torch.testing.assert_close(loss, again, rtol=1e-6, atol=0)
    for name in ("flat", "first", "ema0.050"):
        assert (compiled.live[name] - plain.live[name]).norm() <= 1e-6 * plain.live[name].norm()

"""A training that takes time and no processor: what `guidelab train` does with its time limit, around a counter.

The real planned stops, a state that is saved at every step, and a result that shows how often it was begun.
"""

import json
import sys
import time
from pathlib import Path

from guidelab.cli.runtime import EXIT_STOPPED
from guidelab.runtime.planned import planned
from guidelab.train.state import state_folder
from guidelab.train.stop import Stopped

STEPS, STEP_S = 60, 0.5


def main() -> None:
    words = sys.argv[1:]
    job = json.loads(sys.stdin.read())
    outputs = [Path(word) for word in words[words.index("--output") + 1 :] if word.startswith("results/")]
    folder = state_folder(job)
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "state.safetensors"
    try:
        with planned("train", job, outputs):
            done = [int(word) for word in state.read_text().split()] if state.exists() else []
            for step in range(len(done), STEPS):
                time.sleep(STEP_S)
                done.append(step)
                state.write_text(" ".join(map(str, done)))
    except Stopped:
        sys.exit(EXIT_STOPPED)
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(state.read_text())


main()

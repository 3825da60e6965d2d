"""Read the shell lines of the rules with Snakemake, which reruns a job when its rule's line changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

from guidelab.errors import UserError

_SCRIPT = """
import contextlib, json, sys
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import OutputSettings, ResourceSettings
with contextlib.redirect_stdout(sys.stderr), SnakemakeApi(OutputSettings()) as api:
    workflow = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=Path("Snakefile"))
    lines = {rule.name: rule.shellcmd for rule in workflow._workflow.rules if rule.shellcmd}
print(json.dumps(lines))
"""


def shell_lines(root: Path) -> dict[str, str]:
    """The shell line of every rule of the project's Snakefile.

    Raises:
        UserError: Snakemake cannot read it.
    """
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        cwd=root,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().splitlines()
        raise UserError(
            f"Snakefile: cannot be read ({said[-1] if said else 'no message'}); see: snakemake -n"
        ) from None
    return found

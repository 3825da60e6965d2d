"""The part of the build that pyproject.toml cannot express: the wheel holds the workflow's files, for use without a checkout."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FILES = ("Snakefile", "params.yaml", "requirements.lock")
FOLDERS = (
    "workflow/rules",
    "workflow/resources",
    "workflow/profiles",
    "workflow/report",
    "workflow/envs",
    "workflow/schemas",
)


class WithWorkflow(build_py):
    """The package, and in guidelab/project/files what src/guidelab/project reads."""

    def run(self) -> None:
        """Copy both."""
        super().run()
        if self.editable_mode:  # reads the checkout itself
            return
        target = Path(self.build_lib) / "guidelab/project/files"
        for name in FILES:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, target / name)
        for name in FOLDERS:
            shutil.copytree(name, target / name, dirs_exist_ok=True)


setup(cmdclass={"build_py": WithWorkflow})

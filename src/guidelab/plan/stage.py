"""A stage: a part of an experiment's files that DVC tracks together."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """What one stage of the DVC pipeline owns; stages never share a file.

    The manifest lists `files`; `dvc repro` has Snakemake build it, and writing it removes from `outs`
    files that are no longer planned. The provenance file carries Snakemake's records of the stage's files.
    """

    name: str  # "train"
    experiment: str  # "toy2d"
    outs: tuple[str, ...]  # folders and files, relative to the project's folder
    files: tuple[str, ...]  # every file that params.yaml plans, all of them inside outs
    manifest: str  # written by Snakemake when all files are there
    provenance: str  # written after every run of Snakemake
    params: tuple[str, ...]  # keys below the experiment that the stage's jobs read: ("denoisers",)
    after: tuple[str, ...] = ()  # names of the stages whose outs it reads
    in_git: tuple[str, ...] = ()  # which of outs are small results, kept in git rather than in DVC's cache
    metrics: tuple[str, ...] = ()  # files `dvc metrics` shows
    plots: tuple[str, ...] = ()  # files `dvc plots` shows
    deps: tuple[str, ...] = ()  # hand-kept files it reads
    folders: tuple[str, ...] = ()  # with a slash at the end: what they hold is listed by one of files

    @property
    def owned(self) -> tuple[str, ...]:
        """Everything of the stage on disk that Snakemake made."""
        return (*self.outs, self.manifest)

    @property
    def payload(self) -> str:
        """What `guidelab manifest --stage` is given, as canonical JSON."""
        keep = [self.provenance, self.manifest, *self.folders]
        content = {"outs": self.outs, "files": self.files, "keep": keep}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

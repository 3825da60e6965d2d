"""The row type of the table of rules, and how its output patterns match paths."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from string import Formatter
from typing import Any

from guidelab.plan.instances import Names
from guidelab.plan.job import Job

_NAME, _W, _PART = r"[A-Za-z]\w*", r"w\d+\.\d\d", r"seeds?[0-9_-]+"
_TABLES = r"(?<!_divergences)(?<!_dg_theorem)(?<!_costs)"  # tables that are named after their experiment
WILDCARDS = {
    "experiment": _NAME + _TABLES,
    **dict.fromkeys(("fold", "denoiser", "model", "disc", "variant", "figure", "features", "name"), _NAME),
    "w": _W,
    "part": _PART,
    "data": "safetensors|zip",
    "array": "safetensors|json",
    "kind": "models|discriminators|autoencoders|references",
    "side": rf"(?:data|generated)/{_NAME}",
    "of": rf"data/{_NAME}|{_NAME}/{_W}/{_PART}",
}
_METAVARS = {"w": "WEIGHT", "of": "IMAGES"}


@dataclass(frozen=True)
class Needs:
    """What a job requests at its first attempt; memory and minutes grow with every further one."""

    mem_mb: int = 2000
    runtime: int = 60  # minutes
    threads: int = 1
    gpu: int = 0


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        build: the job of some names, but for its outputs; named as the rule, in the module of its rule file.
        each: the names of the jobs that params.yaml plans.
        outputs: the files of a job.
        stage: the DVC stage that owns them; of a job where its names decide.
        help: one line.
        example: the names of a job, without the rule; several are separated by semicolons.
        by_hand: the names of all jobs that a command runs, where they are more than the planned ones.
        when: what an experiment must have for this rule to have jobs; empty where every experiment has.
        needs, streamed: resources where a dataset fits in memory, and where images are streamed (by default the same).
        local: computes next to nothing: runs where Snakemake runs, and git keeps what it writes.
        module: under jobs/, where it is not the rule's own.
        command: what users type, where it is not the rule's name; that name then is a hidden alias.
        owns: the folder that DVC tracks, where it is not the one before the first wildcard.
        shards: its .json file lists the files of a folder of the same name.
        resumable: saves its state and resumes from it.
        shares_gpus: several GPUs of a machine can work on one job.
        derived: wildcards of its outputs that no name fills.
        cost: `module.function` under costs/ that counts a job's operations.
    """

    build: Callable[..., Job]
    each: Callable[[Any], Iterable[Names]]
    outputs: tuple[str, ...]
    stage: str | Callable[[Names], str]
    help: str
    example: str
    by_hand: Callable[[Any], Iterable[Names]] | None = None
    when: str = ""
    needs: Needs = Needs()
    streamed: Needs | None = None
    local: bool = False
    module: str = ""
    command: str = ""
    owns: str = ""
    shards: bool = False
    resumable: bool = False
    shares_gpus: bool = False
    derived: tuple[str, ...] = ("data", "array")
    cost: str = ""

    @cached_property
    def name(self) -> str:
        """The name of the rule and of its builder."""
        return self.build.__name__

    @cached_property
    def wildcards(self) -> tuple[str, ...]:
        """The names of a job, the experiment's first: the wildcards of its first output."""
        found = [field for _, field, _, _ in Formatter().parse(self.outputs[0]) if field]
        return tuple(field for field in found if field not in self.derived)

    @cached_property
    def metavar(self) -> str:
        """The names in capitals: `EXPERIMENT VARIANT WEIGHT PART`."""
        return " ".join(_METAVARS.get(name, name.upper()) for name in self.wildcards)

    @cached_property
    def examples(self) -> list[str]:
        """The names of some jobs."""
        return self.example.split("; ")

    @cached_property
    def entry(self) -> str:
        """The module under jobs/ that does its jobs."""
        return self.module or self.name

    def paths(self, experiment: str, names: Names, endings: Mapping[str, str]) -> tuple[str, ...]:
        """The outputs of the job of some names; `endings` fills the wildcards that no name does."""
        held = {**endings, **dict(zip(self.wildcards, (experiment, *names), strict=True))}
        return tuple(pattern.format_map(held) for pattern in self.outputs)

    def stage_of(self, names: Names) -> str:
        """The DVC stage that owns the outputs of a job."""
        return self.stage if isinstance(self.stage, str) else self.stage(names)


def compiled(pattern: str) -> re.Pattern[str]:
    """An output pattern as a regular expression with a group for every wildcard."""
    parts = (
        re.escape(text) + (f"(?P<{field}>{WILDCARDS[field]})" if field else "")
        for text, field, _, _ in Formatter().parse(pattern)
    )
    return re.compile("".join(parts))

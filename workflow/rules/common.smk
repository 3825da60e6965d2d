# The plan of params.yaml, and the look-ups every rule makes in it. Restores the record of results that came from
# a clone, so that changed parameters are noticed.
import gc
import inspect
import sys
from pathlib import Path

from snakemake.utils import min_version
from snakemake_interface_common.exceptions import WorkflowError

min_version("9.27")
# A plan of ten thousand jobs is hundreds of thousands of objects that all stay: looking for garbage among them every 700
# new ones, as Python does by default, takes a tenth of a dry run (docs/benchmarks.md).
gc.set_threshold(200_000, 20, 100)
sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from guidelab import provenance
from guidelab.errors import UserError
from guidelab.needs import needs
from guidelab.plan import Plan
from guidelab.preflight import preflight
from guidelab.restart import restart
from guidelab.slurm import orphans, site
from guidelab.spec.load import load_spec
from guidelab.summary import summary
from guidelab.targets import refuse_unknown

try:
    PLAN = Plan(load_spec(config.get("params", "params.yaml")))
    if workflow.is_main_process:
        refuse_unknown(
            PLAN, sys.argv[1:]
        )  # the targets are not known to the workflow yet
        preflight(PLAN, sys.argv[1:])
        orphans.begin(sys.argv[1:])
        restart(sys.argv[1:])
    else:
        orphans.within()
except UserError as error:
    raise WorkflowError(str(error)) from None


def quick(function):
    """The function with its signature ready: Snakemake asks for it several times for every job."""
    function.__signature__ = inspect.signature(function)
    return function


def files(rule, *names):
    """Input function: the files a job reads."""
    return quick(
        lambda wildcards: PLAN.job(rule, *(wildcards[name] for name in names)).files
    )


def payload(rule, *names):
    """Parameter function: the job's own part of params.yaml, its inputs and the digest of its code, as JSON."""
    return quick(
        lambda wildcards: PLAN.payload(rule, *(wildcards[name] for name in names))
    )


def need(rule, what):
    """Resource function: what a rule's jobs ask for; memory and minutes grow with every attempt."""

    def asked(wildcards, attempt=1):
        found = getattr(needs(PLAN, rule, wildcards.experiment), what)
        return found * attempt if what in ("mem_mb", "runtime") else found

    return quick(asked)


def partition(rule):
    """Resource function: where Slurm runs the jobs of a rule that uses GPUs in large experiments; None off Slurm."""

    def asked(wildcards):
        return site.partition(needs(PLAN, rule, wildcards.experiment).gpu)

    return quick(asked)


wildcard_constraints:
    experiment=r"[A-Za-z]\w*(?<!_divergences)(?<!_dg_theorem)(?<!_costs)",  # tables named behind their experiment
    fold=r"[A-Za-z]\w*",
    denoiser=r"[A-Za-z]\w*",
    model=r"[A-Za-z]\w*",
    disc=r"[A-Za-z]\w*",
    variant=r"[A-Za-z]\w*",
    w=r"w\d+\.\d\d",
    part=r"seeds?[0-9_-]+",
    figure=r"[A-Za-z]\w*",
    data=r"safetensors|zip",
    array=r"safetensors|json",
    features=r"[A-Za-z]\w*",
    kind=r"models|discriminators|autoencoders|references",
    name=r"[A-Za-z]\w*",
    side=r"(data|generated)/[A-Za-z]\w*",
    of=r"data/[A-Za-z]\w*|[A-Za-z]\w*/w\d+\.\d\d/seeds?[0-9_-]+",


STAGES = [
    stage for name in PLAN.spec.experiments for stage in PLAN.experiment(name).stages()
]

if workflow.is_main_process:
    provenance.restore(".", STAGES, lambda message: print(message, file=sys.stderr))


onsuccess:
    provenance.export(".", STAGES)
    print(
        summary(PLAN, log[0] if log else "", sys.argv[1:]), file=sys.stderr
    )  # a list of log files


onerror:
    provenance.export(".", STAGES)

# The plan of params.yaml, and the look-ups every rule makes in it. Restores the records of results that came from
# a clone, so that changed parameters are noticed.
import atexit
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
# The package of this very file: in src/ of a checkout, or the installed one that holds the workflow. The main Snakefile may be
# somebody else's, and the working directory any.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
sys.path.insert(
    0, str(ROOT / "src" if (ROOT / "src/guidelab").is_dir() else ROOT.parents[2])
)
for name in [name for name in sys.modules if name.split(".")[0] == "guidelab"]:
    del sys.modules[
        name
    ]  # a profile imports it before this file is read, of whatever copy is installed

from guidelab import provenance
from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.plan.resources import needs
from guidelab.plan.rule import WILDCARDS
from guidelab.plan.rules import RULES
from guidelab.plan.targets import params_path, refuse_unknown
from guidelab.runtime.preflight import invocation_of, preflight
from guidelab.provenance import code
from guidelab.runtime.restart import restart
from guidelab.runtime.slurm import orphans, site
from guidelab.spec.load import load_spec
from guidelab.runtime.summary import summary

code.own_code_first()
ALONE = workflow.modifier.is_main_snakefile()  # False: a module of another workflow
try:
    PLAN = Plan(load_spec(params_path(config)))
    if workflow.is_main_process:
        # the targets are not known to the workflow yet
        refuse_unknown(PLAN, sys.argv[1:], alone=ALONE)
        preflight(PLAN, sys.argv[1:])
        orphans.begin(sys.argv[1:])
        restart(sys.argv[1:])
    else:
        orphans.within()
except UserError as error:
    raise WorkflowError(str(error)) from None


def log_line(message):
    print(message, file=sys.stderr)


def quick(function):
    """The function with a precomputed signature, which Snakemake reads several times for every job."""
    function.__signature__ = inspect.signature(function)
    return function


def of_job(rule, wanted):
    """Call a look-up with the names of a rule's job, taken from its wildcards."""
    names = RULES[rule].wildcards
    return quick(lambda wildcards: wanted(rule, *(wildcards[name] for name in names)))


def files(rule):
    """Input function: the files a job reads."""
    return of_job(rule, lambda *key: PLAN.job(*key).files)


def payload(rule):
    """Parameter function: the job's own part of params.yaml, its inputs and the digest of its code, as JSON."""

    def announced(*key):
        text = PLAN.payload(*key)
        if workflow.is_main_process:
            code.announce()
        return text

    return of_job(rule, announced)


def resource(rule, what):
    """Resource function: what a rule's jobs request; memory and minutes grow with every attempt."""

    def requested(wildcards, attempt=1):
        found = getattr(needs(PLAN, rule, wildcards.experiment), what)
        return found * attempt if what in ("mem_mb", "runtime") else found

    return quick(requested)


def resources(rule):
    """All resources of a rule; where it uses GPUs in experiments on streamed images their partition of Slurm too (None off Slurm)."""
    found = {what: resource(rule, what) for what in ("mem_mb", "runtime", "gpu")}
    if RULES[rule].streamed and RULES[rule].streamed.gpu:
        gpus = resource(rule, "gpu")
        found["slurm_partition"] = quick(
            lambda wildcards: site.partition(gpus(wildcards))
        )
    return found


wildcard_constraints:
    **WILDCARDS,


STAGES = [stage for name in PLAN.spec.experiments for stage in PLAN.stages(name)]

if workflow.is_main_process:
    provenance.restore(
        ".",
        STAGES,
        log_line,
        acts=invocation_of(sys.argv[1:]).acts,
    )
    if not ALONE and invocation_of(sys.argv[1:]).acts:
        # Snakemake runs the handlers below for the main Snakefile only
        atexit.register(provenance.export, ".", STAGES, log_line)


onsuccess:
    provenance.export(".", STAGES, log_line)
    print(
        summary(PLAN, log[0] if log else "", sys.argv[1:]), file=sys.stderr
    )  # a list of log files


onerror:
    provenance.export(".", STAGES, log_line)

"""`guidelab accept`: prove by replay that a code change leaves results unchanged, and record it."""

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from guidelab.cli.commands import Params, load_plan
from guidelab.errors import UserError, counted

accept_commands = typer.Typer(rich_markup_mode="markdown", add_completion=False)
_NAMED = 20  # outdated jobs named one by one


@accept_commands.command(rich_help_panel="Workflow")
def accept(
    experiments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[EXPERIMENT]...", help="by default those params.yaml builds by default"),
    ] = None,
    old: Annotated[
        str | None, typer.Option(help="the commit of the old code, instead of a search in git")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="YAML: keys of payloads that were renamed or are new")
    ] = None,
    across_devices: Annotated[
        float | None,
        typer.Option(
            metavar="RTOL",
            help="results come from another device or library: relative tolerance",
            min=0.0,
            max=0.1,
        ),
    ] = None,
    shell: Annotated[
        bool,
        typer.Option(
            "--shell", help="accept changed shell lines of rules as well; both stand in the evidence"
        ),
    ] = False,
    minutes: Annotated[
        float,
        typer.Option(
            help="for all replays: where those of all kinds take longer, every option in use and as many pairs as fit",
            min=0.0,
        ),
    ] = 10.0,
    params: Params = Path("params.yaml"),
) -> None:
    """Prove that a change of code leaves results as they were, and record it: no job has to run again for it.

    Replays finished jobs with the code that made them (from git) and with the code as it is now, and compares both with the
    recorded bytes. Only results that stay the same count as up to date; the evidence goes to `results/EXPERIMENT/accepted/`.
    Ends with status 1 when something stays outdated, and names it.

    Example: `guidelab accept`

    Example: `guidelab accept toy2d --old v1.2`

    Example: `guidelab accept fashion --across-devices 1e-3`
    """
    from guidelab.accept.acceptance import Options
    from guidelab.accept.acceptance import accept as prove
    from guidelab.accept.locks import lock
    from guidelab.accept.rules import shell_lines

    if params.is_absolute() or ".." in params.parts:
        raise UserError(f"--params {params}: wanted a file of this project: the old one is read from git")
    plan, root = load_plan(params), Path()
    names = list(dict.fromkeys(experiments or plan.spec.default))
    for name in names:
        plan.experiment(name)
    options = Options(params.as_posix(), old, read_table(table), across_devices, shell, minutes)

    def say(text: str) -> None:
        typer.echo(text, err=True)

    lines = shell_lines(root)
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)  # as Ctrl-C: replays end with the command
    found = prove(plan, names, root, options, lines, say)
    for outcome in found:
        locked = lock(plan, outcome.experiment, root, lines, say) if outcome.ledger else []
        typer.echo(_said(outcome, locked))
    if any(outcome.outdated for outcome in found):
        raise typer.Exit(1)


def read_table(path: Path | None) -> dict[str, Any]:
    """The declared table: `keys`, old dotted name to new one or null; `replaced`, old dotted name to old and new words;
    `values`, new dotted name to value; `paths`, old pattern to new one.

    Raises:
        UserError: unreadable, or not such a table.
    """
    from guidelab.provenance.accepted import NO_TABLE
    from guidelab.spec.reading import read_yaml

    if path is None:
        return dict(NO_TABLE)
    found = read_yaml(path)
    parts = {key: found.get(key) or {} for key in NO_TABLE}
    strange = sorted(set(found) - set(NO_TABLE))
    if strange or not all(isinstance(part, dict) for part in parts.values()):
        raise UserError(
            f"--table {path}: given {strange or found}, wanted mappings `keys` (old: new), `replaced` (name: {{old word: new word}}), "
            "`values` (new: value) and `paths` (old pattern: new pattern)"
        )
    renamed = [name for old, new in parts["keys"].items() for name in (old, new) if name is not None]
    texts = [*renamed, *parts["values"], *parts["replaced"]]
    if not all(isinstance(name, str) and name for name in texts):
        raise UserError(
            f"--table {path}: given {texts}, wanted dotted names: sampler.sigma_low: sampler.sigma_min"
        )
    for name, words in parts["replaced"].items():
        if not isinstance(words, dict) or not all(isinstance(w, str) for pair in words.items() for w in pair):
            raise UserError(
                f"--table {path}: replaced.{name}: given {words!r}, wanted old and new words: {{image_train: train}}"
            )
    for old, new in parts["paths"].items():
        if not all(
            isinstance(p, str) and p.startswith("results/") and ".." not in p for p in (old, new)
        ) or old.count("*") != new.count("*"):
            raise UserError(
                f"--table {path}: paths: given {old!r}: {new!r}, wanted two paths below results/ with as many stars: "
                "results/*/nets/*.safetensors: results/*/models/*.safetensors"
            )
    return parts


def _said(outcome: Any, locked: list[str]) -> str:
    name = outcome.experiment
    if not (outcome.accepted or outcome.outdated):
        return f"{name}: no finished job has other code than the one that made it"
    lines = [
        f"{name}: accepted {counted(len(outcome.accepted), 'job')} after {counted(len(outcome.replays), 'replay')}"
    ]
    if outcome.ledger:
        lines.append(f"  evidence: results/{name}/accepted/{outcome.ledger}.json")
    lines += [f"  dvc.lock: {', '.join(locked)}"] if locked else []
    left = list(outcome.outdated.items())
    lines += [f"  OUTDATED {job}: {why}" for job, why in left[:_NAMED]]
    lines += [f"  and {len(left) - _NAMED} more" if len(left) > _NAMED else ""]
    return "\n".join(line for line in lines if line)

"""A trail for a terminal: the number, its rows, then every job from the table back to the data."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from guidelab.errors import counted, plain
from guidelab.lineage.trail.now import flat

_WIDTH = 118
_ROWS = 12  # rows and shards shown


def as_text(found: Mapping[str, Any]) -> str:
    """Everything in `trace`'s content, readable."""
    lines = _cell(found["file"], found["cell"]) if found["cell"] else [found["file"]]
    lines += ["", "From here back to the data, each job once:"]
    for step in found["steps"]:
        lines += ["", *_step(step)]
    return "\n".join(map(plain, [*lines, "", *_verdict(found)]))


def _cell(file: str, cell: Mapping[str, Any]) -> list[str]:
    ends = cell["interval"]
    over = f" over {ends['over']}" if ends.get("over") else ""
    interval = f"  [{ends['lo']}, {ends['hi']}]{over}" if "lo" in ends and "hi" in ends else ""
    lines = [f"{file}, {cell['is']}", f"  {cell['column']} = {cell['value'] or '(empty)'}{interval}"]
    lines += [f"  {cell['chosen']}"] if cell["chosen"] else []
    if not cell["rows"]:
        return lines
    lines += ["", f"{counted(len(cell['rows']), 'row')} of {cell['rows_file']}:", *_rows(cell["rows"])]
    if cell["baseline_rows"]:
        lines += [
            f"less {counted(len(cell['baseline_rows']), 'row')} of the baseline:",
            *_rows(cell["baseline_rows"]),
        ]
    if cell["agrees"] is not None:
        word = "as printed" if cell["agrees"] else f"NOT what is printed, {cell['value']}"
        lines.append(
            f"  computed again from {'this row' if len(cell['rows']) == 1 else 'these rows'}: {cell['again']:.10g}, {word}"
        )
    return lines


def _rows(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    all_rows = list(rows)
    keys = [
        k
        for k in (
            "line",
            "train_seed",
            "seed_block",
            "kind",
            "estimator",
            "n_generated",
            "n",
            "value",
            "std_error",
            "note",
        )
        if any(r.get(k) for r in all_rows)
    ]
    cells = [[str(r.get(k, "")) for k in keys] for r in all_rows[:_ROWS]]
    table = tabulate(cells, headers=keys, tablefmt="plain", disable_numparse=True)
    drawn = [f"    {line}".rstrip() for line in table.splitlines()]
    same = {
        k: {str(r.get(k, "")) for r in all_rows} for k in ("code", "checkpoint_sha256", "torch", "device")
    }
    drawn += [
        f"    all with {', '.join(f'{k} {v}' for k, values in same.items() for v in values if len(values) == 1 and v)}"
    ]
    return drawn + ([f"    and {len(all_rows) - _ROWS} more (--json)"] if len(all_rows) > _ROWS else [])


def _step(step: Mapping[str, Any]) -> list[str]:
    lines = [f"[{step['number']}] {step['rule']}"]
    lines += [
        f"    made   {path}  {of['state']}, sha256 {of['sha256']}" for path, of in step["outputs"].items()
    ]
    lines += [f"           {fact}" for fact in step["facts"]]
    lines += [
        f"    shard  {s['file']}  {s['state']}, sha256 {s['sha256'][:16]}, {s['n']} samples"
        for s in step["shards"][:_ROWS]
    ]
    more = len(step["shards"]) - _ROWS
    lines += [f"    and {counted(more, 'more shard')} (--json)"] if more > 0 else []
    lines += _inputs(step["inputs"])
    lines += [f"    code   {_code(step)}", *_ran(step)]
    if step["log"]:
        lines.append(f"    log    {step['log']}{'' if step['log_here'] else '  (stayed where the job ran)'}")
    return lines + _told(step)


def _inputs(inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a job read; of what is not behind this number, only how much."""
    lines, apart = [], 0
    for source in inputs:
        label, sha = source["label"], source["sha256"]
        if not source["step"] and sha is not None:
            apart += 1
            continue
        behind = f"[{source['step']}], sha256 {sha[:16]}" if source["step"] else "a source"
        lines.append(f"    from   {source['path']}{f' ({label})' if label else ''}  {behind}")
    return lines + (
        [f"           and {counted(apart, 'file')} not behind this number (--json)"] if apart else []
    )


def _code(step: Mapping[str, Any]) -> str:
    code, now = step["code"] or "no digest", step["code_now"]
    if step["accepted"]:
        code += f"; {step['accepted']['code']} gives the same result: {step['accepted']['ledger']}"
    if now is None:
        return f"{code} (params.yaml plans this job no more)"
    return (
        f"{code} (this folder's)"
        if now in (step["code"], step["accepted"].get("code"))
        else f"{code} (this folder's code is {now}: another version)"
    )


def _ran(step: Mapping[str, Any]) -> list[str]:
    run = step["run"]
    if run is None:
        return ["    took   not recorded (run before times were kept, or made elsewhere without its record)"]
    clock = "" if run["clock"] == "job" else ", start-up and queue included"
    earlier = (
        f", after {run['earlier_seconds']:,.1f} s of attempts that stopped in time"
        if run["earlier_seconds"]
        else ""
    )
    started = f", started {run['started']}" if run["started"] else ""
    lines = [f"    took   {run['seconds']:,.1f} s{clock}{earlier}{started}"]
    machine, software = run["machine"], run["software"]
    if machine:
        parts = [
            machine.get("name"),
            machine.get("system"),
            machine.get("processor"),
            f"{machine.get('cores')} cores",
        ]
        parts += [f"{machine['memory_gib']} GiB"] if "memory_gib" in machine else []
        lines.append(f"    on     {', '.join(str(p) for p in [*parts, *machine.get('gpus', [])] if p)}")
    else:
        lines.append("    on     not recorded")
    if software:
        lines.append(f"    with   {', '.join(f'{name} {version}' for name, version in software.items())}")
    return lines


def _told(step: Mapping[str, Any]) -> list[str]:
    parts = [f"{key}={json.dumps(value, separators=(',', ':'))}" for key, value in flat(step["told"])]
    lines = textwrap.wrap(
        "  ".join(parts),
        _WIDTH,
        initial_indent="    told   ",
        subsequent_indent=" " * 11,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if step["told_now"]:
        lines.append(f"           params.yaml has these otherwise now: {', '.join(step['told_now'])}")
    return lines


def _verdict(found: Mapping[str, Any]) -> list[str]:
    words = [state["word"] for state in found["files"].values()]
    count = {word: words.count(word) for word in dict.fromkeys(words)}
    lines = [f"files: {', '.join(f'{n} {word}' for word, n in count.items())}"]
    absent = [path for path, state in found["files"].items() if state["word"] == "not here"]
    if absent:
        lines.append(
            f"not here: bring them with dvc pull {absent[0]} ..., or make them with snakemake -c2 {absent[0]}"
        )
    return lines + [f"PROBLEM {text}" for text in found["problems"]]

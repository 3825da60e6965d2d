"""An estimate as text: one line for every rule, totals, and what was assumed."""

from tabulate import SEPARATING_LINE, tabulate

from guidelab.costs.estimate import CORE_GFLOPS, MFU_RANGE, START_S, Estimate, Line

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_MAX_NOTES = 8
_AT_ONCE = (1, 8, 32)  # GPUs


def short(value: float, unit: str = "") -> str:
    """Three digits and a prefix: `1.28 M`; `-` for nothing."""
    if not value:
        return "-"
    for factor, prefix in _PREFIXES:
        if value >= factor * 0.9995:
            return f"{_digits(value / factor)} {prefix}{unit}"
    return f"{_digits(value)} {unit}".rstrip()


def _digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    if value >= 9.995:
        return f"{value:.1f}" if value % 1 else f"{value:.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".") if value >= 0.01 else f"{value:.1g}"


def number(value: float) -> str:
    """At least two digits: `1,234`, `12.3`, `0.034`."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 9.95 else _small(value)


def _small(value: float) -> str:
    if value == 0:
        return "-"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}" if value >= 0.001 else "<0.001"


def as_text(found: Estimate, measured: bool = False) -> str:
    """A table and its assumptions, for a terminal.

    Args:
        found: the estimate.
        measured: the recorded times of finished jobs, printed next to the estimate.
    """
    heads = [
        "rule",
        "jobs",
        "done",
        "left",
        "images",
        "evaluations",
        "PFLOP",
        "GPU-h",
        "core-h",
        "disk",
        "memory",
    ]
    heads += ["measured jobs", "took s", "estimated s"] if measured else []
    rows = [*(_row(line, measured) for line in found.lines), SEPARATING_LINE, _row(found.total, measured)]
    align = ["left", *["right"] * (len(heads) - 1)]
    drawn = tabulate(rows, headers=heads, tablefmt="simple", colalign=align, disable_numparse=True)
    return "\n".join(
        [f"cost of {', '.join(found.targets)}", "", drawn, "", *_totals(found), "", *_assumed(found)]
    )


def _row(line: Line, measured: bool) -> list[str]:
    cells = [
        line.rule,
        f"{line.jobs:,}",
        f"{line.done:,}",
        f"{line.left:,}",
        short(line.images),
        short(sum(line.evaluations.values())),
        number(line.flop / 1e15),
        number(line.gpu_hours),
        number(line.core_hours),
        short(line.disk_bytes, "B"),
        short(line.memory_bytes, "B"),
    ]
    if measured:
        known = line.measured_jobs
        cells += [
            f"{known:,}",
            f"{line.measured_s:,.0f}" if known else "-",
            f"{line.expected_s:,.0f}" if known else "-",
        ]
    return cells


def _totals(found: Estimate) -> list[str]:
    total = found.total
    lines = [f"left to do: {total.left:,} of {total.jobs:,} jobs"]
    if total.gpu_hours:
        low, high = (found.mfu / share for share in reversed(MFU_RANGE))
        lines[0] += f", {number(total.left_gpu_hours)} of {number(total.gpu_hours)} {found.gpu.name}-hours"
        lines.append(
            f"all GPU-hours at a utilisation of {MFU_RANGE[1]:.2f} to {MFU_RANGE[0]:.2f}: "
            f"{number(total.gpu_hours * low)} to {number(total.gpu_hours * high)}"
        )
        lines.append(f"all of it on several GPUs at once, one a job: {_at_once(total)}")
    if total.core_hours:
        lines.append(
            f"on CPUs: {number(total.left_core_hours)} of {number(total.core_hours)} core-hours left"
        )
    kinds = ", ".join(f"{short(count)} {kind}" for kind, count in total.evaluations.items())
    return [*lines, *([f"evaluations of nets (one image each): {kinds}"] if kinds else [])]


def _at_once(total: Line) -> str:
    """Hours on the clock: no less than the work shared out, and no less than the longest job."""
    longest = total.longest_gpu_hours
    durations = [f"{number(max(total.gpu_hours / n, longest))} h on {n}" for n in _AT_ONCE]
    return f"{', '.join(durations)}; the longest job takes {number(longest)} h"


def _assumed(found: Estimate) -> list[str]:
    gpu = found.gpu
    lines = [
        "assumed: FLOP are counted on the nets themselves, 2 a multiply-add; a training example costs 3 evaluations; a training "
        "that stops early is counted to its end; disk is what jobs write, uncompressed; memory is the largest job's, weights "
        "and activations.",
    ]
    if found.total.gpu_hours:
        lines.append(
            f"GPU: {gpu.name}, {gpu.peak_tflops:g} TFLOP/s in 16 bits and {gpu.float32_tflops:g} in float32, "
            f"{gpu.memory_gb:g} GB ({gpu.source}), utilisation {found.mfu:.2f}; gradients of guidance, features and encoding are in float32."
        )
    if found.total.core_hours:
        known = found.total.measured_jobs
        lines.append(
            f"CPU: the measured seconds of {known:,} finished jobs, the others by the same rule's; without any, {START_S:g} s a job "
            f"and {CORE_GFLOPS['images']:g} GFLOP/s a core for images, {CORE_GFLOPS['points']:g} for points."
        )
    lines += [f"note: {note}" for note in found.notes[:_MAX_NOTES]]
    hidden = len(found.notes) - _MAX_NOTES
    return lines + ([f"note: and {hidden} more of this kind (--json lists all)"] if hidden > 0 else [])

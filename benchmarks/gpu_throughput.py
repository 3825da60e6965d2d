"""Images per second on a GPU: sampling and training at the papers' sizes, ours against a plain implementation.

    python benchmarks/gpu_throughput.py --out gpu                 # on a GPU: writes gpu.json and gpu.md
    python benchmarks/gpu_throughput.py --device cpu --tiny       # the same code on toy sizes, in seconds

All sides of a case do the same arithmetic on the same input in one process, taking turns; a time is the median of
`--repeats` calls after `--warmup`, by CUDA events around the whole call (on a CPU by the wall clock). "Plain" is
benchmarks/gpu_plain.py: EDM2's weights normalised at every call, attention by two products, no compiler, main net and
guide two forwards, in float32 and in the precision of ours. Floating-point operations are counted as they run, on the
plain side with one image; MFU is those over the time and the device's dense peak at that precision. TF32 is off.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gpu_cases import CASES, Case, Setting
from torch import Tensor

from guidelab.compute.precision import settle

# dense TFLOP/s by precision, from the vendor's data sheets of the SXM parts; float32 without tensor cores
_HOPPER = {"float16": 989.0, "bfloat16": 989.0, "float32": 67.0}
PEAKS = {"H200": _HOPPER, "H100": _HOPPER, "A100": {"float16": 312.0, "bfloat16": 312.0, "float32": 19.5}}
GOAL = 2.0  # times faster than the plain side in the same precision


def milliseconds(call: Callable[[], Tensor], where: torch.device) -> float:
    """Of one call, once the device is done."""
    if where.type != "cuda":
        start = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - start)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def measured(case: Case, where: torch.device, warmup: int, repeats: int) -> list[dict[str, Any]]:
    """One row for each side: time, images per second, TFLOP/s, difference from the first side's result."""
    names = list(case.sides)
    # the first call of every side, on the same input: a training's later ones have other weights
    results = {name: case.sides[name][1]().float().cpu() for name in names}
    spent: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(warmup + repeats):
        for name in names:
            taken = milliseconds(case.sides[name][1], where)
            if turn >= warmup:
                spent[name].append(taken)
    rows, exact = [], results[names[0]]
    for name in names:
        whole = statistics.median(spent[name]) / case.part  # ms for all images of a call
        rate = 1000 * case.images / whole
        rows.append({
            "case": case.title, "side": name, "precision": case.sides[name][0], "images": case.images,
            "ms": whole, "ms_spread": [min(spent[name]) / case.part, max(spent[name]) / case.part],
            "images_per_s": rate, "gflop_per_image": case.flop / 1e9, "tflop_per_s": rate * case.flop / 1e12,
            "difference": float((results[name] - exact).norm() / exact.norm()),
        })  # fmt: skip
    return rows


def judged(rows: list[dict[str, Any]], peak: dict[str, float] | None) -> None:
    """Add MFU, and how many times faster than the plain side each row is: in float32, and in the same precision."""
    plain = {r["precision"]: r["images_per_s"] for r in rows if r["side"].startswith("plain")}
    for row in rows:
        row["mfu"] = row["tflop_per_s"] / peak[row["precision"]] if peak else None
        row["over_float32"] = row["images_per_s"] / plain["float32"]
        row["over_same"] = row["images_per_s"] / plain[row["precision"]]


def peak_of(name: str, given: float | None) -> dict[str, float] | None:
    """The device's peaks: known by its name, or one number given for all precisions."""
    if given:
        return dict.fromkeys(_HOPPER, given)
    return next((peak for known, peak in PEAKS.items() if known in name), None)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| case | side | ms per image | images/s | TFLOP/s | MFU | x plain float32 | x plain, same | difference |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        mfu = "-" if r["mfu"] is None else f"{100 * r['mfu']:.0f} %"
        cells = [r["case"], r["side"], f"{r['ms'] / r['images']:.4g}", f"{r['images_per_s']:.4g}",
                 f"{r['tflop_per_s']:.4g}", mfu, f"{r['over_float32']:.2f}", f"{r['over_same']:.2f}",
                 f"{r['difference']:.0e}"]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdicts(rows: list[dict[str, Any]], tiny: bool) -> list[str]:
    """Whether our best side of each case reaches the goal; of toys, that they say nothing about it."""
    if tiny:
        return ["Toy sizes: these numbers show that the code runs, and nothing else."]
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["side"].startswith("ours") and row["over_same"] >= best.get(row["case"], row)["over_same"]:
            best[row["case"]] = row
    return [
        f"{case}: {row['over_same']:.2f} times the plain side in {row['precision']} ({row['side']}); goal {GOAL}: "
        f"{'reached' if row['over_same'] >= GOAL else 'missed'}"
        for case, row in best.items()
    ]


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print and write; returns the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--tiny", action="store_true", help="toy sizes: tries the code, measures nothing")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--precision", choices=["float16", "bfloat16", "float32"], default="float16")
    parser.add_argument("--batch", type=int, help="images of one call, for all cases")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peak", type=float, help="TFLOP/s, for devices that are not in the table")
    parser.add_argument("--out", help="write OUT.json and OUT.md")
    options = parser.parse_args(arguments)
    where = torch.device(options.device)
    if where.type == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device here; --device cpu --tiny tries the code out")
    settle(where)
    os.environ.pop("GUIDELAB_COMPILE", None)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else "CPU"
    precision = options.precision if where.type == "cuda" else "float32"
    setting = Setting(where, options.tiny, options.batch, precision)
    rows: list[dict[str, Any]] = []
    for key in options.only:
        found = measured(CASES[key](setting), where, options.warmup, options.repeats)
        judged(found, peak_of(name, options.peak))
        rows += found
        print(table(found), flush=True)
        if where.type == "cuda":
            torch.cuda.empty_cache()
            torch.compiler.reset()
    about = {"device": name, "torch": torch.__version__, "cuda": torch.version.cuda, "tiny": options.tiny}
    lines = [
        f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}{', toy sizes' if options.tiny else ''}"
    ]
    text = "\n\n".join([*lines, table(rows), "\n".join(verdicts(rows, options.tiny))]) + "\n"
    print("\n".join(verdicts(rows, options.tiny)))
    if options.out:
        Path(f"{options.out}.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
        Path(f"{options.out}.md").write_text(text)
    return rows


if __name__ == "__main__":
    main()

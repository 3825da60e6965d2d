"""The comparison as a Markdown table."""

import pandas as pd

from guidelab.study.verify.numbers import AGREE, ROUNDING, Verified


def document(found: Verified) -> str:
    """A title, the table and its notes; needs at least one row."""
    table = found.table
    blocks = ", ".join(table.seed_block.unique())
    shown = pd.DataFrame(
        {
            "point": table.point + ", seed " + table.train_seed.astype(str),
            "metric": table.metric,
            "ours": [f"{v:.6g} ± {e:.2g}" for v, e in zip(table.ours, table.std_error, strict=True)],
            "torch-fidelity, same settings": [f"{v:.6g}" for v in table.torch_fidelity],
            "difference": [f"{v:.1g}" for v in table.difference],
            "agrees": table.agrees.map({True: "yes", False: "NO"}),
            "torch-fidelity, its defaults": [f"{v:.6g}" for v in table.torch_fidelity_default],
            "why the defaults differ": table.why,
        }
    )
    align = ("left", "left", "right", "right", "right", "left", "right", "left")
    text = shown.to_markdown(index=False, tablefmt="pipe", colalign=align, disable_numparse=True)
    title = f"## torch-fidelity compared with the measured rows (block {blocks})"
    return "\n\n".join([title, text, *_legend(table), *found.notes]) + "\n"


def _legend(table: pd.DataFrame) -> list[str]:
    """The settings and tolerances that the rows were compared under."""
    kid = table[table.kid_pairs != ""].drop_duplicates(["metric", "kid_pairs"])
    pairs = "".join(f", {m} from {p}" for m, p in zip(kid.metric, kid.kid_pairs, strict=True))
    kernel = "Both kernels of KID are (x.y / F + 1)^3. " if pairs else ""
    wide = kid[kid.allowed_std_errors > AGREE]
    apart = (
        f" ({', '.join(wide.metric.unique())}: of random subsets, {wide.allowed_std_errors.max():g})"
        if len(wide)
        else ""
    )
    return [
        f"Same settings: float64, the same real images, k and parts{pairs}. {kernel}Defaults: those of torch-fidelity, on the same "
        "features.",
        f"A number agrees when the difference is at most {AGREE:g} of its standard error{apart}, or {ROUNDING:g} of the number.",
    ]

"""The comparison as a Markdown table."""

import pandas as pd

from guidelab.study.verify.numbers import AGREE, Verified

LEGEND = (
    "Same settings: float64, the same real images, k and parts, and KID from all pairs at once. Both kernels of KID are "
    "(x.y / F + 1)^3. Defaults: those of torch-fidelity, on the same features.",
    f"A number agrees when the difference is below {AGREE:g} of its standard error.",
)


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
    return "\n\n".join([title, text, *LEGEND, *found.notes]) + "\n"

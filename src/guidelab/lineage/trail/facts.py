"""What a job's parameters say in words: which seeds, how long a training, whose weights."""

from typing import Any

from guidelab.lineage.trail.book import Step


def facts(step: Step, blocks: set[str]) -> list[str]:
    """A few lines about a job.

    Args:
        step: the job.
        blocks: the seed blocks of the number that is traced; empty for all.
    """
    make, told = _OF.get(step.rule), dict(step.told)
    try:
        if step.rule == "sample" and blocks:
            told["blocks"] = {k: v for k, v in (told.get("blocks") or {}).items() if k in blocks}
        return [line for line in (make(told) if make else []) if line]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return []  # a record that is not as our jobs write them; its parameters are printed as they are


def _sampled(told: dict[str, Any]) -> list[str]:
    blocks = told.get("blocks") or {}
    seeds = [f"{first}-{last} (block {name})" for name, (first, last) in blocks.items()]
    sampler = told.get("sampler") or {}
    how = [
        f"{sampler[key]} {key}" if key == "steps" else str(sampler[key])
        for key in ("name", "steps", "dtype")
        if key in sampler
    ]
    terms = [
        f"{t['method']} {t.get('ref') or t.get('disc') or ''} weight {t['weight']}".replace("  ", " ")
        for t in told.get("terms") or []
    ]
    return [
        f"sample seeds {', '.join(seeds)}" if seeds else "",
        f"nets of training seeds {_list(told.get('train_seeds'))}",
        f"sampler {', '.join(how)}; guidance: {'; '.join(terms) or 'none'}",
    ]


def _trained(told: dict[str, Any]) -> list[str]:
    how = told.get("train") or {}
    nimg, batch = how.get("nimg"), how.get("batch")
    length = (
        f"{nimg:,} images in batches of {batch:,}: {nimg // batch:,} iterations" if nimg and batch else ""
    )
    return [f"training seeds {_list(told.get('seeds'))}", length]


def _discriminated(told: dict[str, Any]) -> list[str]:
    how = told.get("train") or {}
    seeds = told.get("train_seeds")
    length = (
        f"{how['iterations']:,} iterations in batches of {how['batch']:,}, seed {how.get('seed')}"
        if "iterations" in how and "batch" in how
        else ""
    )
    return [f"for the nets of training seeds {_list(seeds)}" if seeds else "", length]


def _model(told: dict[str, Any]) -> list[str]:
    nimg = told.get("nimg")
    return [
        f"{told.get('model')}: after {nimg:,} training images, EMA length {told.get('ema_std')}"
        if nimg
        else ""
    ]


def _data(told: dict[str, Any]) -> list[str]:
    dataset = told.get("dataset") or {}
    how = [f"{key} {told[key]}" for key in ("fold", "split", "n", "seed") if told.get(key) is not None]
    return [f"dataset {dataset.get('name')}: {', '.join(how)}"]


def _released(told: dict[str, Any]) -> list[str]:
    row = told.get("checkpoint") or {}
    pinned = f"sha256 {row['sha256']}" if row.get("sha256") else "its sha256 is in the file made from it"
    return (
        [f"released file {row.get('file')}, licence {row.get('licence')}, {pinned}", f"from {row.get('url')}"]
        if row
        else []
    )


def _extracted(told: dict[str, Any]) -> list[str]:
    extractor = told.get("extractor") or {}
    return [f"features {told.get('features')} by {extractor.get('name')}"]


def _list(seeds: Any) -> str:
    numbers = list(seeds or [])
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(map(str, numbers))


_OF = {
    "sample": _sampled,
    "generate": _sampled,
    "grading": _sampled,
    "train": _trained,
    "reconstruct": _model,
    "discriminate": _discriminated,
    "grade": _discriminated,
    "null": _discriminated,
    "prepare": _data,
    "obtain": _released,
    "extract": _extracted,
}

"""Jobs of features, measurements and divergences: rules of workflow/rules/measure.smk."""

from typing import TYPE_CHECKING, Any

from guidelab import registry
from guidelab.plan.build import modules as named
from guidelab.plan.build import slices
from guidelab.plan.instances import diverging
from guidelab.plan.job import Job
from guidelab.project import resource

if TYPE_CHECKING:
    from guidelab.plan.runs import PlannedExperiment, Run
    from guidelab.spec import Term, Variant

REAL_VS_REAL = "real_vs_real"  # the point of the rows with real points as samples


def extract(e: "PlannedExperiment", features: str, of: str) -> Job:
    """Features of a fold (`data/reference`) or of a run (`cfg/w2.00/seed0`)."""
    extractor, names = e.spec.features[features], of.split("/")
    assert extractor.name is not None  # spaces without one are measured in the features of another
    inputs = {"images": e.outputs("prepare", names[1]) if names[0] == "data" else e.outputs("sample", *names)}
    modules = {registry.EXTRACTORS[extractor.name].module}
    if extractor.disc:
        inputs["net"] = (e.guide(extractor.disc),)
        modules.add(named.of_disc(e, extractor.disc))
    other = ("disc", "reference", "neighbours")  # what is compared, and how, is no matter of features
    options = {k: v for k, v in extractor.model_dump().items() if v is not None and k not in other}
    if extractor.checkpoint:
        options |= {"checkpoint": slices.row(e, extractor.checkpoint), "folder": slices.folder(e)}
        inputs |= slices.synthetic(e)
    spec = {"features": features, "extractor": options}
    return Job(inputs, spec, tuple(sorted(modules)))


def measure(e: "PlannedExperiment", variant: str, w: str, part: str) -> Job:
    """All numbers of one point, one row each: of points in coordinates, of images in every feature space."""
    run = e.run(variant, w, part)
    sampled = slices.sampler(e, run)
    of = {key: sampled[key] for key in ("variant", "train_seeds", "sampler")}
    spec = {
        "row": _row(e, run),
        "of": of | {"weights": [term["weight"] for term in sampled["terms"]]},
        "dataset": e.spec.dataset.model_dump(),
        "sampler": sampled["sampler"],
        "blocks": slices.blocks(e, run),
        "metrics": e.spec.evaluate.metrics,
        "neighbours": e.spec.evaluate.neighbours,
    }
    return _measured_images(e, run, spec) if e.images else _measured_points(e, run, spec)


def _measured_points(e: "PlannedExperiment", run: "Run", spec: dict[str, Any]) -> Job:
    """Compared with the reference fold and with the exact density."""
    inputs = {"samples": e.outputs("sample", *run.names), "reference": e.outputs("prepare", "reference")}
    if e.has_density(run.variant):
        inputs["density"] = e.outputs("density", *run.names)
    graders = e.graded(run)
    inputs |= {f"grader:{g}": e.outputs("grade", g, *run.names) for g in graders}
    modules = {registry.METRICS[m].module for m in e.spec.evaluate.metrics}
    modules |= {entry.module for entry in registry.DIVERGENCES.values()}
    modules |= {named.of_dataset(e), registry.TRUTHS[e.spec.dataset.name].module}
    modules |= {named.of_disc(e, g) for g in graders}
    modules |= {registry.REPRESENTATIONS["coordinates"].module}
    spec |= {"representation": "coordinates", "label_policy": "one class"}
    spec |= {"real": e.spec.variants[run.variant].real}
    return Job(inputs, spec | {"density_defined": e.has_density(run.variant)}, tuple(sorted(modules)))


def _measured_images(e: "PlannedExperiment", run: "Run", spec: dict[str, Any]) -> Job:
    """Compared with the reference of each space; a fold is not its own reference."""
    real = e.spec.variants[run.variant].real
    apart = {name: space for name, space in slices.spaces(e).items() if space["reference"] != real}
    prepared = e.planned("prepare")
    inputs: dict[str, tuple[str, ...]] = {}
    for name, space in apart.items():
        inputs[f"features:{space['of']}"] = e.outputs("extract", space["of"], "/".join(run.names))
        if (space["reference"],) in prepared:
            inputs[f"reference:{name}"] = e.outputs("extract", space["of"], f"data/{space['reference']}")
        if space["statistics"]:
            inputs[f"statistics:{name}"] = e.outputs("obtain", "references", space["reference"])
    metrics = [m for m in e.spec.evaluate.metrics if m.partition("@")[2] in apart]
    policy = e.spec.evaluate.label_policy
    spec |= {"representation": "features"}
    spec |= {"label_policy": policy if policy == "random" else f"class {policy}"}
    spec |= {"metrics": metrics, "spaces": apart, "real": real}
    modules = {registry.IMAGE_METRICS[metric.partition("@")[0]].module for metric in e.spec.evaluate.metrics}
    return Job(inputs, spec, tuple(sorted(modules | {registry.REPRESENTATIONS["features"].module})))


def _row(e: "PlannedExperiment", run: "Run") -> dict[str, Any]:
    """The identity of every number of a run."""
    used = e.spec.variants[run.variant]
    swept = next((t for t in used.guide if t.weight is None), None)
    w = 1.0 if run.w is None else run.w
    neutral = registry.METHODS[swept.method].neutral if swept else 1.0
    return {
        "experiment": e.name,
        "scale": e.spec.scale,
        "variant": run.variant,
        "method": "+".join(t.method for t in used.guide) or "none",
        "ref": "+".join(t.ref or t.disc or "" for t in used.guide),
        "w": w,
        "w_neutral": neutral,
        "w_effective": neutral + (0.5 if swept and _halved(e, used, swept) else 1.0) * (w - neutral),
        "sigma_lo": swept.sigma_lo if swept else 0.0,
        "sigma_hi": (swept.sigma_hi if swept else None)
        or getattr(used.sampler or e.spec.sampler, "sigma_max", None),
    }


def _halved(e: "PlannedExperiment", variant: "Variant", term: "Term") -> bool:
    """A term acts with half its weight: Heun averages two slopes and corrects one; samplers of one slope do not."""
    return term.stages == "first" and e.sampler(variant).per_step[0] == 2


def collect(e: "PlannedExperiment") -> Job:
    """Concatenate all rows, choose weights (of images by each metric), and flatten the chosen rows for DVC."""
    ev = e.spec.evaluate
    spec = {
        "experiment": e.name,
        "select_block": ev.select_block,
        "select_metric": ev.select_metric,
        "headline": slices.headline(e),
        **slices.metrics_of_plugins(e),
    }
    inputs = {
        "rows": tuple(e.path("measure", *run.names) for run in e.runs),
        "parts": tuple(e.outputs("measure", *run.names)[1] for run in e.runs),
        "metrics": (resource(slices.METRICS_INFO),),
        "guide": _reports(e, "guide"),
        "grade": tuple(e.path("grade", g, *run.names) for run in e.runs for g in e.graded(run)),
    }
    if not e.images:
        return Job(inputs, spec)
    inputs |= {role: _reports(e, role) for role in ("classifier", "features")}
    inputs["grade"] = ()  # the graders' results are in the table of divergences
    return Job(inputs, spec | {"kind": "images"})


def _reports(e: "PlannedExperiment", role: str) -> tuple[str, ...]:
    """The discriminators of a role that are trained here, and so have a report."""
    return tuple(e.path("discriminate", d) for d in e.having(role) if not e.pretrained("discriminators", d))


# ---- divergences -----------------------------------------------------------------------------------------------------


def diverge(e: "PlannedExperiment", variant: str, w: str, part: str) -> Job:
    """Every estimate of one point along sigma; of points with its exact value, of images in every feature space too."""
    settings, run = slices.divergences(e), e.run(variant, w, part)
    spec = slices.sampler(e, run) | slices.estimate(e) | {"point": run.point, "blocks": _estimated(e)}
    spec |= {"train_seeds": slices.graded_seeds(e, settings.grader, run)}
    inputs = {"real": e.outputs("prepare", settings.real), "samples": e.outputs("sample", *run.names)}
    inputs |= {"grader": e.outputs("grade", settings.grader, *run.names), **slices.net_inputs(e, run)}
    inputs |= {"density": e.outputs("density", *run.names)} if e.has_density(variant) else {}
    if not e.images:
        return Job(inputs, spec, _diverge_modules(e, run))
    spaces = _graded_spaces(e)
    inputs |= slices.features(e, spaces, "/".join(run.names), "features")
    inputs |= slices.features(e, spaces, f"data/{settings.real}", "reference")
    return Job(inputs, spec | {"spaces": spaces}, _diverge_modules(e, run))


def _graded_spaces(e: "PlannedExperiment") -> list[str]:
    """The feature spaces in which the held-out fold has features of its own."""
    real = slices.divergences(e).real
    return [name for name, entry in e.spec.features.items() if not entry.of and entry.reference == real]


def _estimated(e: "PlannedExperiment") -> dict[str, list[int]]:
    """The blocks of samples that estimates are made of."""
    settings, blocks = slices.divergences(e), slices.blocks(e)
    return {name: blocks[name] for name in (*settings.blocks, settings.calibrate)}


def _diverge_modules(e: "PlannedExperiment", *runs: "Run") -> tuple[str, ...]:
    found = {named.of_disc(e, slices.divergences(e).grader)}
    found |= named.of_density(e)  # without one the files say what the examples are
    return tuple(sorted(found | named.of_samplers(e, *runs)))


def diverge_null(e: "PlannedExperiment") -> Job:
    """The same for parts of the held-out fold: two halves of points; of images parts as large as a sampler's blocks."""
    settings = slices.divergences(e)
    inputs = {"real": e.outputs("prepare", settings.real), "grader": e.outputs("null")}
    spec = slices.estimate(e) | {"point": REAL_VS_REAL, "variant": REAL_VS_REAL, "train_seeds": [0]}
    if not e.images:
        return Job(inputs, spec, _diverge_modules(e))
    run = diverging(e)[0]
    sampled = slices.sampler(e, run)
    main = sampled["main"]
    spec |= {key: sampled[key] for key in ("main", "labels", "unlabelled", "precision") if key in sampled}
    spec |= {"terms": [], "discs": {}, "blocks": _estimated(e), "spaces": _graded_spaces(e)}
    spec |= {"degrade": {main: sampled["degrade"][main]}, "train_seeds": [run.seeds[0]]}
    inputs |= {f"model:{main}": (e.net(main),)}
    inputs |= slices.features(e, _graded_spaces(e), f"data/{settings.real}", "reference")
    return Job(inputs, spec, _diverge_modules(e, run))

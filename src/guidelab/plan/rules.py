"""The table of rules: for each its builder, the jobs it has, the files it writes, its stage, help and resources.

Everything else that lists rules is derived from it: paths and their look-up, the stages, `guidelab --help`, resources,
what `guidelab cost` counts, which jobs keep a state, the messages about unknown names. The patterns stand once more in
workflow/rules/, for readers; a test compares them.
"""

import re

from guidelab.plan import instances as each
from guidelab.plan.build import data, measure, paper, sample, train
from guidelab.plan.rule import Needs, Rule, compiled

_POINT, _E = "{variant}/{w}/{part}", "results/{experiment}"
_GPU = Needs(16000, 1440, threads=4, gpu=1)  # a job of the papers' size samples three blocks of 50,000 images
_JUDGE = Needs(64000, 720, threads=8, gpu=1)  # one discriminator, and all it is evaluated at
_FORMS = (".csv", ".md", ".tex", ".sources.csv")
_TABLE = tuple(f"results/tables/{{experiment}}{end}" for end in _FORMS)
_DIVERGENCES = tuple(f"results/tables/{{experiment}}_divergences{end}" for end in _FORMS)
_FIGURE = tuple(f"results/figures/{{experiment}}/{{figure}}{end}" for end in (".pdf", ".png", ".csv"))
_COLLECTED = tuple(
    f"{_E}/{name}"
    for name in (
        "measurements.csv",
        "selected.csv",
        "metrics.json",
        "discriminators.csv",
        "errors.safetensors",
    )
)
_PRINTED = Needs(1500, 30)
_HAS_DIVERGENCES = "`divergences` is given"
_RULES = (
    Rule(
        data.prepare, each.folds, (_E + "/data/{fold}.{data}",), "data", "Draw or read one fold of real data.", "toy2d reference",
        needs=Needs(1500, 30), streamed=Needs(8000, 720, threads=8), cost="training.prepare",
    ),
    Rule(
        data.synthesize, each.synthetic, (_E + "/synthetic/files.json",), "synthetic",
        "Make synthetic images and checkpoints for a smoke experiment.", "imagenet256_smoke",
        when="scale is smoke", needs=Needs(2000, 20), owns=_E + "/synthetic",
    ),
    Rule(
        data.obtain, each.pretrained, (_E + "/obtained/{kind}/{name}.safetensors",), "obtain",
        "Convert a pretrained file to safetensors, after checking it.", "imagenet256 models dit; imagenet256 references adm",
        when="nets, an autoencoder or statistics are pretrained (with weights: trained, nets are trained here)",
        needs=Needs(2000, 20), streamed=Needs(16000, 60), cost="training.convert",
        module="convert", command="convert",
    ),
    Rule(
        train.train, each.trainings, (_E + "/checkpoints/{denoiser}/{part}.safetensors", _E + "/checkpoints/{denoiser}/{part}.csv"),
        "train", "Train a denoiser, resumable, keeping snapshots.", "toy2d xs seeds0-4", when="nets are trained here",
        needs=Needs(4000, 120), streamed=Needs(64000, 1440, threads=8, gpu=1), resumable=True, shares_gpus=True, cost="training.train",
    ),
    Rule(
        train.reconstruct, each.models, (_E + "/models/{model}.safetensors",), "train",
        "Take a model at its training and EMA length.", "toy2d averaged", when="nets are trained here",
        needs=Needs(2000, 20), streamed=Needs(64000, 240), cost="training.reconstruct",
    ),
    Rule(
        sample.generate, each.guides, (_E + "/generated/{disc}.{array}",), "generate",
        "Draw the generated side of a guiding discriminator.", "toy2d guide", when="a guiding discriminator is trained here",
        streamed=_GPU, module="sample", shards=True, shares_gpus=True, cost="samples.sample",
    ),
    Rule(
        data.encode, each.latents, (_E + "/latents/{side}.zip",), lambda names: "encode" if names[0].startswith("data/") else "generate",
        "Encode a fold or a guide's samples with the autoencoder.", "imagenet256 data/train", when="nets on latents are trained here",
        needs=Needs(2000, 30), streamed=Needs(16000, 720, threads=4, gpu=1), cost="training.encode",
    ),
    Rule(
        train.discriminate, each.discriminators, (_E + "/discriminators/{disc}.safetensors",), "discriminate",
        "Train a guiding discriminator or a classifier.", "toy2d guide", when="discriminators or classifiers are trained here",
        streamed=_JUDGE, resumable=True, cost="training.discriminate",
    ),
    Rule(
        sample.sample, each.runs, (_E + f"/samples/{_POINT}.{{array}}",), "sample", "Draw every seed block of one point.",
        "toy2d cfg w4.00 seeds0-4", streamed=_GPU, shards=True, shares_gpus=True, cost="samples.sample",
    ),
    Rule(
        sample.density, each.densities, (_E + f"/density/{_POINT}.safetensors",), "density",
        "Exact log-densities under the sampler's ODE.", "toy2d autog w3.00 seeds0-4",
        when="evaluate.density is given and no denoiser is random", needs=Needs(3000, 120), cost="samples.density",
    ),
    Rule(
        train.grade, each.gradings, (_E + f"/graders/{{disc}}/{_POINT}.safetensors",), "grade",
        "Train the discriminator that grades one point.", "toy2d grade none w1.00 seeds0-4",
        when="a discriminator of role grade names points", streamed=_JUDGE, module="discriminate", resumable=True, cost="training.discriminate",
    ),
    Rule(
        sample.grading, each.drawn_gradings, (_E + f"/grading/{{disc}}/{_POINT}.json",), "grade",
        "Draw the images a grader is trained on.", "fashion grade cfg w2.00 seed0",
        command="sample_for_grader", when="a discriminator of role grade names points, and samples are images", streamed=_GPU, module="sample", shards=True, cost="samples.sample",
    ),
    Rule(
        sample.field, each.fields, (_E + "/fields/{figure}.safetensors",), "field", "Evaluate nets on what a figure draws.", "toy2d fig9",
        when="a figure draws more than measurements", needs=Needs(2000, 30), streamed=Needs(16000, 60),
    ),
    Rule(
        measure.extract, each.features, (_E + "/features/{features}/{of}.safetensors",), "features",
        "Features of a fold of images or of a point's samples.", "fashion lite0 cfg/w2.00/seed0; fashion lite0 data/reference",
        when="samples are images", needs=Needs(3000, 60), streamed=Needs(16000, 480, threads=4, gpu=1), cost="samples.extract",
    ),
    Rule(
        measure.measure, each.runs, (_E + f"/measurements/{_POINT}.csv", _E + f"/measurements/{_POINT}.parts.safetensors"), "measure",
        "All numbers of one point, one row each, and the parts of their errors.",
        "toy2d autog w3.00 seeds0-4", needs=Needs(2000, 30), streamed=Needs(48000, 480, threads=8), cost="samples.measure",
    ),
    Rule(
        measure.collect, each.once, _COLLECTED, "measure", "Concatenate the rows and choose each variant's weight.", "toy2d",
        needs=_PRINTED, local=True,
    ),
    Rule(
        measure.diverge, each.divergences, (_E + f"/divergences/{_POINT}.csv",), "diverge",
        "Divergences of one point along sigma, held out, with their exact values.", "toy2d autog w3.00 seeds0-4",
        when=_HAS_DIVERGENCES + " and its grader grades the point", streamed=_JUDGE, cost="diverging.diverge",
    ),
    Rule(
        train.null, each.null, (_E + "/nulls/{disc}.safetensors",), "diverge",
        "Train the null discriminator (real against real), a negative control.", "toy2d",
        when="divergences.null_real is given", streamed=_JUDGE, module="discriminate", resumable=True, derived=("disc",), cost="diverging.null",
    ),
    Rule(
        measure.diverge_null, each.null, (_E + "/divergences/null.csv",), "diverge", "The same divergences for real against real.",
        "toy2d", when="divergences.null_real is given", streamed=_JUDGE, module="diverge", cost="diverging.diverge",
    ),
    Rule(
        paper.divergences, each.divergence_tables, (_E + "/divergences.csv", *_DIVERGENCES), "diverge",
        "All rows about divergences, and their table.", "toy2d", when=_HAS_DIVERGENCES, needs=_PRINTED, local=True,
    ),
    Rule(
        paper.theorem, each.theorem, ("results/tables/{experiment}_dg_theorem.csv",), "diverge",
        "The theorem of discriminator guidance, exactly, for two samplers.", "toy2d", when="divergences.theorem is given",
        needs=_PRINTED, local=True,
    ),
    Rule(
        paper.evaluations, each.costs, ("results/tables/{experiment}_costs.csv",), "diverge",
        "The evaluations of nets that training scores and discriminators took.", "toy2d; fashion", when=_HAS_DIVERGENCES, needs=_PRINTED, local=True,
    ),
    Rule(
        paper.table, each.once, _TABLE, "paper", "The experiment's table: CSV, Markdown, LaTeX; the rows behind every cell.", "toy2d", needs=_PRINTED, local=True,
    ),
    Rule(
        paper.story, each.once, ("results/tables/{experiment}.story.md",), "paper",
        "The findings as sentences, next to what the paper's figures suggest.", "toy2d",
        module="findings", command="findings", needs=_PRINTED, local=True,
    ),
    Rule(
        paper.figure, each.figures, _FIGURE, "paper", "One figure: PDF, PNG and the rows it plots.", "toy2d sweep",
        when="paper.figures names figures", needs=_PRINTED, local=True,
    ),
    Rule(
        paper.preview, each.previews, (_E + f"/previews/{_POINT}.png",), "paper", "A few samples of one point as a picture.",
        "fashion cfg w2.00 seed0", when="samples are images", by_hand=each.images, needs=_PRINTED, local=True,
    ),
)  # fmt: skip
RULES = {rule.name: rule for rule in _RULES}


def maker(path: str) -> tuple[str, ...] | None:
    """The rule that makes a file and the names of its job, the experiment's first; None for a file no rule makes."""
    for rule, pattern in _PATTERNS.get(_place(path), ()):
        found = pattern.fullmatch(path)
        if found:
            return rule.name, *(found[name] for name in rule.wildcards)
    return None


def _place(path: str) -> str:
    """The part of a path that identifies most rules: the folder behind the experiment's, or `tables` and `figures`."""
    parts = path.split("/")
    return next((p for p in parts[1:2] if p in ("tables", "figures")), "/".join(parts[2:3]))


_PATTERNS: dict[str, list[tuple[Rule, re.Pattern[str]]]] = {}
for _rule in _RULES:
    for _pattern in _rule.outputs:
        _PATTERNS.setdefault(_place(_pattern), []).append((_rule, compiled(_pattern)))

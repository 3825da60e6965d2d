"""One planned experiment: its runs, its capabilities, and the path of every file."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from guidelab.errors import UserError
from guidelab.nearest import one_of
from guidelab.plan.instances import Names
from guidelab.plan.rules import RULES
from guidelab.released import FILE
from guidelab.spec import Denoiser, Discriminator, Experiment, Variant, format_weight, split_point
from guidelab.spec.data import Latent, ReleasedFold
from guidelab.spec.look import is_streamed, seeds_of
from guidelab.spec.samplers import ChainSampler, PluginSampler, Sampler


@dataclass(frozen=True)
class Run:
    """One point of a sweep in one job: a variant, a weight (None when there is nothing to weigh), training seeds."""

    variant: str
    w: float | None
    seeds: tuple[int, ...]

    @property
    def point(self) -> str:
        """`cfg/w4.00`; an unguided variant is written at its neutral weight, `none/w1.00`."""
        return f"{self.variant}/{format_weight(1.0 if self.w is None else self.w)}"

    @property
    def part(self) -> str:
        """The training seeds as a file name."""
        return part_name(self.seeds)

    @property
    def names(self) -> Names:
        """Variant, weight and part, as rules name a run."""
        return self.variant, format_weight(1.0 if self.w is None else self.w), part_name(self.seeds)


def part_name(seeds: Iterable[int]) -> str:
    """`seeds0-4` for a run of seeds, `seeds0_2_5` otherwise."""
    s = list(seeds)
    if len(s) == 1:
        return f"seed{s[0]}"
    return f"seeds{s[0]}-{s[-1]}" if s == list(range(s[0], s[-1] + 1)) else "seeds" + "_".join(map(str, s))


def chunks(seeds: Iterable[int], size: int) -> list[tuple[int, ...]]:
    """Training seeds in groups of at most `size`, in order."""
    s = sorted(seeds)
    return [tuple(s[i : i + size]) for i in range(0, len(s), size)]


class PlannedExperiment:
    """An experiment of params.yaml with its runs, capabilities and paths; builders read it."""

    def __init__(self, name: str, spec: Experiment):
        self.name, self.spec = name, spec
        self.root = f"results/{name}"
        self._planned: dict[str, dict[Names, None]] = {}

    # ---- capabilities --------------------------------------------------------------------------------------

    @cached_property
    def images(self) -> bool:
        """Samples are images; otherwise points with an exact density."""
        return self.spec.images

    @cached_property
    def streamed(self) -> bool:
        """Images are read from disk as they are needed, and nets work on devices; otherwise all images are in memory."""
        return self.images and is_streamed(self.spec)

    @cached_property
    def synthetic(self) -> bool:
        """Pretrained files and images are synthetic."""
        return self.streamed and self.spec.scale == "smoke"

    @property
    def published(self) -> bool:
        """Its table shows published values: the papers have numbers of it, or of the experiment it names."""
        return bool(self.spec.paper.published or self.spec.paper.published_experiment)

    @property
    def latent(self) -> Latent | None:
        """The latents of the dataset, where some nets work on them."""
        return getattr(self.spec.dataset, "latent", None)

    def latent_of(self, net: Denoiser | Discriminator) -> Latent | None:
        """The latents a net works on; None for pixels and points."""
        return None if net.pixels else self.latent

    @property
    def classes(self) -> int:
        """How many classes the images have."""
        found: int = getattr(self.spec.dataset, "classes")  # noqa: B009 (only a dataset of images counts them)
        return found

    def pretrained(self, kind: str, name: str) -> str | None:
        """The row of checkpoints.csv behind an entry of `models` or `discriminators`, or a user's file (`file:PATH`).

        None where it is trained here.
        """
        entry = getattr(self.spec, kind).get(name)
        file = self.spec.denoisers[entry.denoiser].file if entry and kind == "models" else None
        if file is not None:
            return f"{FILE}{file}"
        return entry.checkpoint if entry and self.spec.weights == "released" else None

    def statistics(self, fold: str) -> str | None:
        """The row of checkpoints.csv behind a fold of published images and statistics; None for any other fold."""
        entry = self.spec.folds[fold]
        return entry.checkpoint if isinstance(entry, ReleasedFold) else None

    def sampler(self, variant: Variant) -> Sampler | ChainSampler:
        """The variant's own sampler, or the experiment's."""
        return variant.sampler or self.spec.sampler

    def has_density(self, variant: str) -> bool:
        """The log-density is defined: samples come from our ODE, not boosted, of a denoiser that is not random."""
        return variant in self._with_density

    @cached_property
    def _with_density(self) -> set[str]:
        if self.spec.evaluate.density is None:
            return set()
        plain = {name for name, m in self.spec.models.items() if m.degrade == type(m.degrade)()}
        ours = {n: v for n, v in self.spec.variants.items() if not isinstance(self.sampler(v), PluginSampler)}
        smooth = {n: v for n, v in ours.items() if not any(term.boost for term in v.guide)}
        drawn = {n: v for n, v in smooth.items() if not v.real}
        return {name for name, used in drawn.items() if set(self.models_of(used)) <= plain}

    # ---- runs ----------------------------------------------------------------------------------------------

    @cached_property
    def runs(self) -> list[Run]:
        """Every point of every sweep, in the order of params.yaml."""
        found = []
        for name, variant in self.spec.variants.items():
            seeds = variant.train_seeds or seeds_of(self.spec, variant)
            weights: list[float | None] = [*variant.weights] if variant.weights else [None]
            for w in weights:
                found += [Run(name, w, chunk) for chunk in chunks(seeds, self.spec.evaluate.seeds_per_job)]
        return found

    @cached_property
    def _by_names(self) -> dict[Names, Run]:
        return {run.names: run for run in self.runs}

    @cached_property
    def _by_point(self) -> dict[str, list[Run]]:
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.point, []).append(run)
        return found

    def run(self, *names: str) -> Run:
        """The run of a variant, weight and part."""
        return self._by_names[names]

    def runs_at(self, point: str) -> list[Run]:
        """The runs of one point such as `cfg/w4.00` or `none`.

        Raises:
            UserError: no such point; names the closest.
        """
        variant, w = split_point(point)
        found = self._by_point.get(point if w else f"{variant}/w1.00", [])
        if not found:
            raise UserError(f"{self.name}: no point {point!r}; wanted {one_of(point, self._by_point)}")
        return found

    def parts(self, denoiser: str) -> dict[str, tuple[int, ...]]:
        """The training jobs of a denoiser: which seeds are trained together, by the name of the part."""
        train = self.spec.denoisers[denoiser].train
        assert train is not None  # only what is trained has parts
        return {part_name(seeds): seeds for seeds in chunks(train.seeds, train.seeds_per_job)}

    def graded(self, run: Run) -> list[str]:
        """The graders that grade a run's sampler."""
        return self._graders.get(run, [])

    @cached_property
    def _graders(self) -> dict[Run, list[str]]:
        found: dict[Run, list[str]] = {}
        for name in self.having("grade"):
            for point in self.spec.discriminators[name].points:
                for run in self.runs_at(point):
                    found.setdefault(run, []).append(name)
        return {run: list(dict.fromkeys(names)) for run, names in found.items()}

    def having(self, *roles: str) -> list[str]:
        """The discriminators of some roles."""
        return [name for name, disc in self.spec.discriminators.items() if disc.role in roles]

    def models_of(self, variant: Variant) -> list[str]:
        """The models a variant needs, main first, each once."""
        return list(dict.fromkeys([variant.main, *(t.ref for t in variant.guide if t.ref)]))

    @property
    def figures(self) -> list[str]:
        """The names of the figures of params.yaml."""
        return self.spec.paper.figures.given

    # ---- jobs and paths ------------------------------------------------------------------------------------

    def planned(self, rule: str) -> dict[Names, None]:
        """The names of all jobs of a rule, without the experiment's, in order."""
        if rule not in self._planned:
            self._planned[rule] = dict.fromkeys(RULES[rule].each(self))
        return self._planned[rule]

    def possible(self, rule: str) -> dict[Names, None]:
        """The names of all jobs of a rule that a command can run: of some rules more than are planned."""
        every = RULES[rule].by_hand
        return dict.fromkeys(every(self)) if every else self.planned(rule)

    def outputs(self, rule: str, *names: str) -> tuple[str, ...]:
        """What a job of a rule writes."""
        return RULES[rule].paths(self.name, names, self._endings)

    def path(self, rule: str, *names: str) -> str:
        """The first output of a job of a rule."""
        return self.outputs(rule, *names)[0]

    @cached_property
    def _endings(self) -> dict[str, Any]:
        """The wildcards that no name of a job fills; of images `sample` writes a manifest, with shards in a folder."""
        held = (
            {"data": "zip", "array": "json"}
            if self.images
            else dict.fromkeys(("data", "array"), "safetensors")
        )
        return {**held, "disc": self.spec.divergences.grader if self.spec.divergences else ""}

    def net(self, model: str) -> str:
        """The nets of a model, all training seeds."""
        held = self.pretrained("models", model)
        return self.path("obtain", "models", model) if held else self.path("reconstruct", model)

    def guide(self, disc: str) -> str:
        """A discriminator or classifier that guides, one net for each training seed."""
        held = self.pretrained("discriminators", disc)
        return self.path("obtain", "discriminators", disc) if held else self.path("discriminate", disc)

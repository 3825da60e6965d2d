"""What an experiment runs and where every file lies: the sweep's runs, and every path, formed here only."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from guidelab.errors import UserError
from guidelab.nearest import one_of
from guidelab.spec import Experiment, Variant, format_weight, split_point
from guidelab.spec.look import seeds_of


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


class Layout:
    """The runs and paths of one experiment."""

    def __init__(self, name: str, spec: Experiment):
        self.name, self.spec = name, spec
        self.root = f"results/{name}"

    # ---- what there is -------------------------------------------------------------------------------------

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
    def _by_point(self) -> dict[str, list[Run]]:
        """The runs by point: a plan of thousands is asked once for every job."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.point, []).append(run)
        return found

    def runs_at(self, point: str) -> list[Run]:
        """The runs of one point such as `cfg/w4.00` or `none`.

        Raises:
            UserError: no such point; names the closest.
        """
        variant, w = split_point(point)
        wanted = point if w else f"{variant}/w1.00"
        found = self._by_point.get(wanted, [])
        if not found:
            raise UserError(f"{self.name}: no point {point!r}; wanted {one_of(point, self._by_point)}")
        return found

    def parts(self, denoiser: str) -> list[tuple[int, ...]]:
        """The training jobs of a denoiser: which seeds are trained together."""
        train = self.spec.denoisers[denoiser].train
        return chunks(train.seeds, train.seeds_per_job)

    def graded(self, run: Run) -> list[str]:
        """The graders that grade a run's sampler."""
        graders = {n: d for n, d in self.spec.discriminators.items() if d.role == "grade"}
        return [n for n, d in graders.items() if any(run in self.runs_at(p) for p in d.points)]

    def has_density(self, variant: str) -> bool:
        """Whether the log-density is defined: the sampler is an ODE of a denoiser that is not random."""
        return variant in self._with_density

    @cached_property
    def _with_density(self) -> set[str]:
        """The variants of which that holds: a plan of thousands is asked several times for every job."""
        if self.spec.evaluate.density is None:
            return set()
        plain = {name for name, m in self.spec.models.items() if m.degrade == type(m.degrade)()}
        return {name for name, used in self.spec.variants.items() if set(self.models_of(used)) <= plain}

    # ---- paths ---------------------------------------------------------------------------------------------

    def fold(self, fold: str) -> str:
        """The file of a fold of real data."""
        return f"{self.root}/data/{fold}.{'zip' if self.spec.images else 'safetensors'}"

    def checkpoints(self, denoiser: str) -> tuple[str, ...]:
        """The snapshot files of a denoiser."""
        return tuple(
            f"{self.root}/checkpoints/{denoiser}/{part_name(p)}.safetensors" for p in self.parts(denoiser)
        )

    def model(self, model: str) -> str:
        """The nets of a model, all training seeds."""
        released = self.released("models", model)
        return self.obtained("models", model) if released else f"{self.root}/models/{model}.safetensors"

    def guide(self, disc: str) -> str:
        """The guiding discriminators, one for each training seed."""
        if self.released("discriminators", disc):
            return self.obtained("discriminators", disc)
        return f"{self.root}/discriminators/{disc}.safetensors"

    def released(self, kind: str, name: str) -> str | None:
        """The row of checkpoints.csv a model or discriminator is taken from, or None where it is trained here.

        Args:
            kind: `models` or `discriminators`.
            name: of the entry.
        """
        entry = getattr(self.spec, kind).get(name)
        return entry.checkpoint if entry and self.spec.weights == "released" else None

    def obtained(self, kind: str, name: str) -> str:
        """Something published by others, in our form: a model, discriminator, autoencoder or statistics."""
        return f"{self.root}/obtained/{kind}/{name}.safetensors"

    def latents(self, side: str) -> str:
        """Images as an autoencoder sees them: of a fold (`data/train`) or of a guide's samples (`generated/dg`)."""
        return f"{self.root}/latents/{side}.zip"

    @property
    def trained(self) -> list[str]:
        """The denoisers trained here: all, or those that a model without released weights needs."""
        if self.spec.weights == "trained":
            return list(self.spec.denoisers)
        used = {m.denoiser for n, m in self.spec.models.items() if not self.released("models", n)}
        return [name for name in self.spec.denoisers if name in used]

    def at(self, folder: str, run: Run, suffix: str = "safetensors") -> str:
        """A per-run file: `samples`, `density`, `measurements`, ..."""
        return f"{self.root}/{folder}/{run.point}/{run.part}.{suffix}"

    def samples(self, run: Run) -> str:
        """A run's samples; of images the manifest, with the shards in a folder beside it."""
        return self.at("samples", run, "json" if self.spec.images else "safetensors")

    def generated(self, disc: str) -> str:
        """The generated side of a guiding discriminator, as `samples`."""
        return f"{self.root}/generated/{disc}.{'json' if self.spec.images else 'safetensors'}"

    def features(self, features: str, of: str) -> str:
        """Features of a fold (`data/test`) or of a run (`cfg/w2.00/seed0`)."""
        return f"{self.root}/features/{features}/{of}.safetensors"

    def fields(self, figure: str) -> str:
        """The arrays a figure draws."""
        return f"{self.root}/fields/{figure}.safetensors"

    def figure(self, figure: str) -> tuple[str, str, str]:
        """A figure as PDF, PNG and the rows it plots."""
        stem = f"results/figures/{self.name}/{figure}"
        return f"{stem}.pdf", f"{stem}.png", f"{stem}.csv"

    # ---- divergences ---------------------------------------------------------------------------------------

    @property
    def diverging(self) -> list[Run]:
        """The runs whose divergences are estimated: those a grader grades, when the experiment asks for it."""
        asked = self.spec.divergences
        return [run for run in self.runs if asked.grader in self.graded(run)] if asked else []

    @property
    def null_grader(self) -> list[str]:
        """The grader of real against real, where there is one."""
        asked = self.spec.divergences
        return [f"{self.root}/nulls/{asked.grader}.safetensors"] if asked and asked.null_real else []

    @property
    def null_rows(self) -> list[str]:
        """What that grader finds."""
        return [f"{self.root}/divergences/null.csv"] if self.null_grader else []

    @property
    def divergences(self) -> tuple[str, str, str, str]:
        """All rows about divergences, and the table made of them as CSV, Markdown and LaTeX."""
        table = f"results/tables/{self.name}_divergences"
        return f"{self.root}/divergences.csv", f"{table}.csv", f"{table}.md", f"{table}.tex"

    @property
    def theorem_table(self) -> list[str]:
        """The exact table of the samplers that discriminator guidance's theorem is about, where it is asked for."""
        asked = self.spec.divergences
        return [f"results/tables/{self.name}_dg_theorem.csv"] if asked and asked.theorem else []

    def graded_samples(self, disc: str, run: Run) -> str:
        """The manifest of the images a grader of images is trained on."""
        return self.at(f"grading/{disc}", run, "json")

    @property
    def costs_table(self) -> list[str]:
        """What training scores and discriminators took, where samplers are graded."""
        return [f"results/tables/{self.name}_costs.csv"] if self.spec.divergences else []

    def preview(self, run: Run) -> str:
        """A few samples of a run as one picture."""
        return self.at("previews", run, "png")

    @property
    def drawn(self) -> list[str]:
        """The figures that need arrays of their own: all but those made of measurements alone."""
        return [figure for figure in self.figures if getattr(self.spec.paper.figures, figure).arrays]

    @property
    def previewed(self) -> list[Run]:
        """The runs with a picture of a few samples: those of the headline, where samples are images."""
        return [r for p in self.spec.paper.headline for r in self.runs_at(p)] if self.spec.images else []

    @property
    def table(self) -> tuple[str, str, str]:
        """The experiment's table as CSV, Markdown and LaTeX."""
        return (
            f"results/tables/{self.name}.csv",
            f"results/tables/{self.name}.md",
            f"results/tables/{self.name}.tex",
        )

    @property
    def story(self) -> str:
        """The experiment's findings in words."""
        return f"results/tables/{self.name}.story.md"

    @property
    def collected(self) -> tuple[str, str, str, str]:
        """All rows, the chosen weights, the flat metrics DVC shows, and the discriminators' test reports."""
        names = ("measurements.csv", "selected.csv", "metrics.json", "discriminators.csv")
        first, second, third, fourth = (f"{self.root}/{name}" for name in names)
        return first, second, third, fourth

    @property
    def figures(self) -> list[str]:
        """The names of the figures asked for."""
        return self.spec.paper.figures.given

    def having(self, *roles: str) -> list[str]:
        """The discriminators of some roles."""
        return [name for name, disc in self.spec.discriminators.items() if disc.role in roles]

    def models_of(self, variant: Variant) -> list[str]:
        """The models a variant needs, main first, each once."""
        return list(dict.fromkeys([variant.main, *(t.ref for t in variant.guide if t.ref)]))

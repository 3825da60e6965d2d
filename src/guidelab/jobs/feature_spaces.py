"""Feature spaces of images: an extractor's features, the reference, k, and how many images each side uses.

The same Inception features may be compared with a published batch of real images and its statistics in one space, and
with a split of the data in another.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from guidelab.errors import UserError, closest
from guidelab.io import load_arrays, wanted
from guidelab.jobs.measure import Measurement
from guidelab.jobs.measured_source import by_function, check_block, check_point, combined, measurer
from guidelab.jobs.reference_side import File, check_features, named, reference, split_of
from guidelab.metrics.images import IMAGES, NOTHING, STATISTICS, Generated, Number, Reference
from guidelab.metrics.value import Value
from guidelab.registry import IMAGE_METRICS


@dataclass(frozen=True)
class FeatureSpace:
    """One feature space of a point: generated features with their description, and their reference.

    Attributes:
        job: of the measurement. name: of the space.
        generated: the file of generated features.
        reference: the real side.
        split: of the real images; empty where none are needed. statistics: name of the published file; empty where
            the distances are to the split. compared: the files of the real side.
        images_sha256: of the real images, by split.
        metrics: unqualified, in the given order. neighbours: k. counts: equal or all.
    """

    job: dict[str, Any]
    name: str
    generated: File
    reference: Reference
    split: str
    statistics: str
    compared: list[str]
    images_sha256: dict[str, str]
    metrics: list[str]
    neighbours: int
    counts: str

    @property
    def source(self) -> dict[str, Any]:
        """See `measure.Space`."""
        found: dict[str, Any] = self.generated.about["source"]
        return found

    @property
    def columns(self) -> dict[str, Any]:
        """See `measure.Space`."""
        about = self.generated.about
        return {
            "features": about["features"],
            "n_features": next(
                x.shape[1] for name, x in self.generated.tensors.items() if name.endswith("/features")
            ),
            "features_sha256": about["features_sha256"],
            "code": f"{self.source['code']}+{about['code']}+{self.job['code']}",
            "checkpoint_sha256": combined(self.source["nets_sha256"]),
        }

    def measured(self, seed: int, block: str) -> Iterator[Measurement]:
        """See `measure.Space`."""
        n = check_block(self.job, self.source, block, self.generated.path)
        generated = self._generated(f"seed{seed}/{block}/", n)
        how = {"k": self.neighbours, "counts": self.counts, "seed": self.job["blocks"][block][0]}
        for names in by_function(IMAGE_METRICS, self.metrics):
            try:
                numbers = measurer(IMAGE_METRICS, names[0])(generated, self.reference, names, **how)
            except ValueError as error:
                against = f", compared with {' and '.join(self.compared)}" if self.compared else ""
                raise UserError(
                    f"{self.generated.path}{against}: training seed {seed}, block {block}: {error}"
                ) from error
            for number in numbers:
                yield self._measurement(number if isinstance(number, Number) else self._own(number, n))

    def _own(self, named: tuple[str, Value], n: int) -> Number:
        """A number of a plugin's, with the reference that the metric needs."""
        metric, value = named
        needs = _needs([metric])
        if "real" in needs and self.reference.features is not None:
            return Number(metric, value, n, len(self.reference.features), IMAGES)
        if {"statistics", "spatial"} & needs:
            against = STATISTICS if self.reference.released else IMAGES
            return Number(metric, value, n, self.reference.n, against)
        return Number(metric, value, n, 0, NOTHING)

    def _measurement(self, number: Number) -> Measurement:
        """`reference_split` is the split, the published file, or none."""
        split = {NOTHING: "none", STATISTICS: self.statistics}.get(number.against, self.split)
        metric = f"{number.metric}@{self.name}"
        return Measurement(metric, number.value, number.n_generated, number.n_reference, split)

    def _generated(self, prefix: str, n: int) -> Generated:
        """The generated side of one training seed and block: the parts its metrics need."""
        given, path, needs = self.generated.tensors, self.generated.path, _needs(self.metrics)

        def part(name: str, shape: tuple[int | None, ...]) -> Tensor | None:
            return wanted(given, f"{prefix}{name}", path, shape) if name in needs else None

        features = wanted(given, f"{prefix}features", path, (n, None))
        logits = part("logits", (n, None))
        classes = self.job["dataset"]["classes"]
        if "labels" in needs and logits is not None and logits.shape[1] != classes:
            raise UserError(
                f"measure: {self._of_labels}@{self.name}: the classifier has {logits.shape[1]} classes, the data {classes}; wanted "
                "the same. Take the metric out, or give features that know these classes."
            )
        return Generated(features, part("spatial", (n, None)), logits, part("labels", (n,)))

    @property
    def _of_labels(self) -> str:
        """The first metric that compares classes."""
        return next(metric for metric in self.metrics if "labels" in _needs([metric]))


def _needs(metrics: Iterable[str]) -> set[str]:
    """The parts of both sides that some metrics need."""
    return {word for metric in metrics for word in IMAGE_METRICS[metric].needs.split()}


def spaces(job: dict[str, Any]) -> list[FeatureSpace]:
    """Every space that a metric needs; a file of two spaces is read once.

    Raises:
        UserError: a metric or space that is not known, or files that do not fit each other or the point.
    """
    held: dict[str, File] = {}

    def read(role: str, name: str) -> File:
        paths = job["inputs"].get(f"{role}:{name}")
        if not paths:
            raise UserError(f"measure: no {role} {name!r} among the inputs of this job; wanted one file")
        if paths[0] not in held:
            held[paths[0]] = File(paths[0], *load_arrays(paths[0]))
        return held[paths[0]]

    found = [_space(job, name, metrics, read) for name, metrics in _by_space(job).items()]
    _check_same_images(found)
    return found


def _space(
    job: dict[str, Any], name: str, metrics: list[str], read: Callable[[str, str], File]
) -> FeatureSpace:
    options = job["spaces"][name]
    generated = read("features", options["of"])
    check_features(generated, options["of"])
    check_point(job, generated.about["source"], generated.path)
    statistics = read("statistics", name) if options["statistics"] else None
    published = named(statistics) if statistics else ""
    real, needs = None, _needs(metrics)
    if "real" in needs or (statistics is None and {"statistics", "spatial"} & needs):
        real = read("reference", name)
    split = split_of(real, options, generated) if real else ""
    return FeatureSpace(
        job=job,
        name=name,
        generated=generated,
        reference=reference(needs, options["of"], real, statistics),
        split=split,
        statistics=published,
        compared=[file.path for file in (statistics, real) if file],
        images_sha256={split: real.about["images_sha256"]} if real else {},
        metrics=metrics,
        neighbours=options.get("neighbours") or job["neighbours"],
        counts=options["counts"],
    )


def _by_space(job: dict[str, Any]) -> dict[str, list[str]]:
    """The metrics of each space, in the given order."""
    found: dict[str, list[str]] = {}
    for qualified in job["metrics"]:
        metric, _, name = qualified.partition("@")
        IMAGE_METRICS.entry(metric, f"measure: {qualified}")
        if name not in job["spaces"]:
            known = list(job["spaces"])
            raise UserError(
                f"measure: {qualified}: no space {name!r}; wanted one of {', '.join(known)}{closest(name, known)}"
            )
        found.setdefault(name, []).append(metric)
    return found


def _check_same_images(found: list[FeatureSpace]) -> None:
    """Refuse spaces whose features are of different images, generated or real.

    Raises:
        UserError: names two files.
    """
    first = found[0]
    seen: dict[str, tuple[str, str]] = {}
    for space in found:
        if space.generated.about["images_sha256"] != first.generated.about["images_sha256"]:
            raise UserError(
                f"{space.generated.path} and {first.generated.path}: are features of different images. Delete the older of "
                "the two and run again."
            )
        for split, sha256 in space.images_sha256.items():
            path, other = seen.setdefault(split, (space.compared[-1], sha256))
            if other != sha256:
                raise UserError(
                    f"{space.compared[-1]} and {path}: are features of different reference images. Delete the older of the "
                    "two and run again."
                )

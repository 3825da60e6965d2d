"""Extract features of generated and real images with torch-fidelity's loop, and compare them with the recorded features."""

from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from guidelab.compute.device import device
from guidelab.compute.precision import moved, settle
from guidelab.data.zip_reader import ZipImages
from guidelab.errors import UserError
from guidelab.features.extractor import Extractor
from guidelab.io import load_arrays
from guidelab.io.shards import load_manifest
from guidelab.jobs.examples import ShardImages
from guidelab.jobs.extract import build_extractor, on_device, released
from guidelab.jobs.measured_source import check_block, check_point
from guidelab.metrics.fidelity import extracted
from guidelab.plan.plan import Plan
from guidelab.study.verify.cases import Case


class Sides:
    """Features of generated and real images, extracted with torch-fidelity's loop; real images are extracted once per space."""

    def __init__(self, plan: Plan, name: str, bar: "tqdm[Any]") -> None:
        self.plan, self.name, self.bar = plan, name, bar
        self.where = device()
        settle(self.where)
        self._extractors: dict[str, Extractor] = {}
        self._real: dict[tuple[str, str], Tensor] = {}
        self.largest: dict[str, float] = {}  # difference from recorded features, by their file

    def extractor(self, of: str, fold: str) -> Extractor:
        """The extractor of some features, as `extract` makes it."""
        if of not in self._extractors:
            job = self.plan.job("extract", self.name, of, f"data/{fold}")
            options = {**job.spec, "inputs": job.inputs}
            made = build_extractor({**options, "extractor": released(options)})
            self._extractors[of] = on_device(made, self.where)
        return self._extractors[of]

    def generated(self, case: Case, logits: bool) -> tuple[Tensor, Tensor | None]:
        """Features [N, F] and logits [N, K] of the samples of a case.

        Raises:
            UserError: absent or damaged shards, or samples of another point or block.
        """
        (path,) = self.plan.job("sample", self.name, *case.run.names).outputs
        source = load_manifest(path)
        check_point(case.measure.spec, source, path)
        check_block(case.measure.spec, source, case.block, path)
        images = ShardImages(path, case.seed, case.block)
        features, found = self._of(images, case.options, logits)
        self._compare(
            case.options, "/".join(case.run.names), f"seed{case.seed}/{case.block}/features", features
        )
        return features, found

    def real(self, case: Case) -> Tensor:
        """Features [M, F] of the real images of a case."""
        key, fold = (case.options["of"], case.options["reference"]), case.options["reference"]
        if key not in self._real:
            (path,) = self.plan.job("prepare", self.name, fold).outputs
            self._real[key] = self._of(ZipImages(path), case.options, False)[0]
            self._compare(case.options, f"data/{fold}", "features", self._real[key])
        return self._real[key]

    def _of(
        self, images: ShardImages | ZipImages, options: dict[str, Any], logits: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Features and logits of some images.

        Raises:
            UserError: some are not finite.
        """
        extractor = self.extractor(options["of"], options["reference"])

        def extract(batch: Tensor) -> tuple[Tensor, Tensor | None]:
            found = extractor(moved(batch, self.where))
            self.bar.update(len(batch))
            return found.features, found.logits

        self.bar.total = (self.bar.total or 0) + len(images)
        self.bar.refresh()
        features, found = extracted(images, extract, logits=logits)
        odd = int((~features.isfinite().all(dim=1)).sum())
        if odd:
            raise UserError(
                f"{images.path}: {odd} of {len(images)} images have {options['of']} features that are not finite; torch-fidelity "
                "computes no number of them"
            )
        return features, found

    def _compare(self, options: dict[str, Any], of: str, key: str, features: Tensor) -> None:
        """Update `largest` with the largest absolute difference from the recorded features, if their file exists; refuse another shape."""
        (path,) = self.plan.job("extract", self.name, options["of"], of).outputs
        if not Path(path).is_file():
            return
        recorded = load_arrays(path)[0].get(key)
        if recorded is None or recorded.shape != features.shape:
            raise UserError(f"{path}: holds no {key} {tuple(features.shape)}. Delete the file and run again.")
        largest = float((recorded - features).abs().max())
        self.largest[options["of"]] = max(self.largest.get(options["of"], 0.0), largest)

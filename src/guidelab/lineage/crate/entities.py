"""The entities of a crate: included files, described files, the run, and every job with its command and run record."""

import io
import json
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from guidelab.errors import counted
from guidelab.lineage.trail.book import Step
from guidelab.provenance.places import in_git
from guidelab.provenance.runs import Run

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
}
_TERMS = "https://w3id.org/ro/terms/workflow-run/context"  # sha256, resourceUsage
_WORKFLOW = "Snakefile"
_TYPES = {
    ".md": "text/markdown",
    ".tex": "application/x-tex",
    ".cff": "text/yaml",
    ".yaml": "text/yaml",
    ".lock": "text/plain",
}


@dataclass(frozen=True)
class About:
    """Metadata that the files do not contain.

    Attributes:
        version: of the code, as git has it. date: of publication, ISO 8601.
        params: the experiment's part of params.yaml, as text. citations: title and URL of the works it follows.
        license: SPDX name. authors: names.
    """

    version: str
    date: str
    params: str
    license: str
    authors: Sequence[str] = ()
    citations: Sequence[tuple[str, str]] = ()
    title: str = "guidelab"
    keywords: Sequence[str] = field(
        default_factory=lambda: ["diffusion models", "guidance", "reproducibility"]
    )


class Crate:
    """Adds entities to a crate of the library's."""

    def __init__(self, crate: Any, root: Path, about: About, name: str):
        self.crate, self.root, self.about, self.name = crate, root, about, name
        self.files: dict[str, Any] = {}
        self.described: dict[str, Any] = {}
        self.tools: dict[str, Any] = {}

    def _context(self, identifier: str, **properties: Any) -> Any:
        from rocrate.model.contextentity import ContextEntity

        return self.crate.add(
            ContextEntity(
                self.crate,
                identifier,
                properties={k.replace("type_", "@type"): v for k, v in properties.items()},
            )
        )

    def describe(self, table: str) -> None:
        """The crate as a whole: name, licence, authors, citations, profiles; the workflow and its parameters."""
        crate, about = self.crate, self.about
        crate.metadata.extra_contexts.append(_TERMS)
        crate.name = f"{about.title}: {self.name}"
        crate.description = (
            f"One run of the experiment {self.name}: {table} and the other printed results, the measurements behind them, and "
            "for every job its inputs, outputs, parameters, code digest, run time and machine. "
            "Checkpoints and samples are described by their sha256 and not inside."
        )
        crate.datePublished = about.date
        crate.keywords = ", ".join(about.keywords)
        crate.license = self._context(
            f"https://spdx.org/licenses/{about.license}", type_="CreativeWork", name=about.license
        )
        crate.root_dataset["version"] = about.version
        authors = [
            self._context(f"#author-{i}", type_="Organization", name=n) for i, n in enumerate(about.authors)
        ]
        if authors:
            crate.root_dataset["author"] = authors
        cited = [self._context(url, type_="ScholarlyArticle", name=title) for title, url in about.citations]
        if cited:
            crate.root_dataset["citation"] = cited
        workflow = crate.add_workflow(
            self.root / _WORKFLOW, _WORKFLOW, main=True, lang="snakemake",
            properties={"name": "guidelab's workflow", "version": about.version},
        )  # fmt: skip
        crate.root_dataset["conformsTo"] = [
            *(
                self._context(url, type_="CreativeWork", name=name, version=url.rsplit("/", 1)[1])
                for url, name in PROFILES.items()
            ),
            self._context(
                "https://w3id.org/workflowhub/workflow-ro-crate/1.0", type_="CreativeWork", name="Workflow RO-Crate", version="1.0"
            ),
        ]  # fmt: skip
        self.files[_WORKFLOW] = workflow
        self.files["params.yaml"] = crate.add_file(
            io.StringIO(about.params),
            "params.yaml",
            properties={
                "name": f"params.yaml, the part of {self.name}",
                "encodingFormat": "text/yaml",
            },
        )

    def add_file(self, path: str, recorded: str | None) -> None:
        """A file inside the crate, under its own path."""
        suffix = Path(path).suffix
        kind = _TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "text/plain"
        about = {"name": path, "encodingFormat": kind} | ({"sha256": recorded} if recorded else {})
        if path not in self.files:
            self.files[path] = self.crate.add_file(self.root / path, path, properties=about, record_size=True)

    def entity(self, book_sha: str | None, path: str) -> Any:
        """A file inside, or the description of one that is not."""
        if path in self.files:
            return self.files[path]
        if path not in self.described:
            about = {"sha256": book_sha} if book_sha else {}
            kept = "in git" if in_git(path) else "kept in DVC's store"
            self.described[path] = self._context(
                f"#{path}",
                type_="CreativeWork",
                name=path,
                description=f"not inside: {kept}",
                **about,
            )
        return self.described[path]

    def add_run(self, steps: Sequence[Step], table: str) -> None:
        """The run as one action of the workflow, and every job as one of its own."""
        shas = {path: sha for step in steps for path, sha in step.outputs.items()}
        printed = [self.files[p] for p in self.files if p.startswith(("results/tables/", "results/figures/"))]
        begun = [t for step in steps for t in _times(step)]
        whole = {
            "name": f"made {table}",
            "description": counted(len(steps), "job"),
            "actionStatus": "http://schema.org/CompletedActionStatus",
        }
        whole |= {"startTime": min(begun), "endTime": max(begun)} if begun else {}
        run = self.crate.add_action(
            self.files[_WORKFLOW],
            "#run",
            object=[self.files["params.yaml"]],
            result=printed,
            properties={"@type": "CreateAction", **whole},
        )
        self.crate.root_dataset["mentions"] = [run]
        for number, step in enumerate(steps, 1):
            action = self._job(number, step, shas)
            self.crate.root_dataset.append_to("mentions", action)

    def _job(self, number: int, step: Step, shas: Mapping[str, str]) -> Any:
        payload = self._context(
            f"#job-{number}-parameters",
            type_="PropertyValue",
            name="parameters",
            value=json.dumps(dict(step.told), sort_keys=True),
        )
        properties: dict[str, Any] = {
            "@type": "CreateAction",
            "name": f"{step.rule} {step.name}",
            "actionStatus": "http://schema.org/CompletedActionStatus",
            "description": _description(step),
        }
        times = _times(step)
        properties |= {"startTime": times[0], "endTime": times[1]} if times else {}
        action = self.crate.add_action(
            self._tool(step),
            f"#job-{number}",
            object=[*(self.entity(shas.get(p), p) for p in step.files), payload],
            result=[self.entity(sha, p) for p, sha in step.outputs.items()],
            properties=properties,
        )
        if step.run:
            used = self._context(
                f"#job-{number}-seconds",
                type_="PropertyValue",
                name="seconds",
                value=f"{step.run.seconds:g}",
                unitText="s",
            )
            action["resourceUsage"] = used
        return action

    def _tool(self, step: Step) -> Any:
        """The command that ran, at the version its code's digest says."""
        key = f"#guidelab-{step.rule}-{step.code or 'unknown'}"
        if key not in self.tools:
            self.tools[key] = self._context(
                key,
                type_="SoftwareApplication",
                name=f"guidelab {step.rule}",
                softwareVersion=f"code digest {step.code}" if step.code else "not recorded",
            )
        return self.tools[key]


def _times(step: Step) -> list[str]:
    """Start and end of a job, where they were kept."""
    if step.run is None or not step.run.started:
        return []
    begun = datetime.fromisoformat(step.run.started)  # `runs` lets nothing else through
    return [begun.isoformat(), (begun + timedelta(seconds=step.run.seconds)).isoformat()]


def _description(step: Step) -> str:
    run = step.run
    if step.accepted:
        return f"{_ran(run)}; code {step.accepted['code']} gives the same result: {step.accepted['ledger']}"
    return _ran(run)


def _ran(run: Run | None) -> str:
    """What a job took, and on what."""
    if run is None:
        return "time and machine not recorded"
    on = ", ".join(f"{k} {v}" for k, v in (run.machine or {}).items()) or "machine not recorded"
    software = ", ".join(f"{k} {v}" for k, v in (run.software or {}).items())
    return f"{run.seconds:g} s on {on}" + (f"; {software}" if software else "")

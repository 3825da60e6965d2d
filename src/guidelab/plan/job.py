"""A job: what one Snakemake rule instance runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Files = Mapping[str, tuple[str, ...]]  # a label and the files that go by it


@dataclass(frozen=True)
class Job:
    """One command: files in, files out, its part of the spec, and the modules its spec names.

    A builder leaves out the rule and the outputs: both come from the table of rules.
    """

    inputs: Files
    spec: dict[str, Any]
    modules: tuple[str, ...] = ()
    rule: str = ""
    outputs: tuple[str, ...] = field(default=())

    @property
    def files(self) -> list[str]:
        """All input files, each once, in order."""
        return list(dict.fromkeys(path for paths in self.inputs.values() for path in paths))

    def payload(self, code: str) -> str:
        """The command's standard input, canonical: the spec, the labelled inputs and the digest of the code it runs."""
        content = {**self.spec, "inputs": self.inputs, "code": code}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

"""Store Snakemake's job records with the results, so that a clone detects changed parameters and code."""

from guidelab.provenance.carry import export, restore
from guidelab.provenance.manifest import write_manifest

__all__ = ["export", "restore", "write_manifest"]

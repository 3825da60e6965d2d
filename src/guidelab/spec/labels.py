"""Labels and groups of variants in figures and tables: from params.yaml, else derived from the guidance terms."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from guidelab.spec.base import Strict
from guidelab.spec.terms import Term

if TYPE_CHECKING:
    from guidelab.spec.experiment import Experiment
    from guidelab.spec.variants import Variant

CFG, ICG, AUTOGUIDANCE, DG, CG, TRUNCATION = "CFG", "ICG", "autoguidance", "DG", "CG", "naive truncation"
ALONE, SUM = "no guidance", "several terms"
METHODS = "Methods"  # the part of a table for variants without a group of their own
_LONG = {DG: "discriminator (DG)", CG: "classifier guidance (CG)"}  # where it is the only term
_KINDS = {
    "discriminator": DG,
    "classifier": CG,
    "truncation": TRUNCATION,
    "projected": CFG,
    "independent": ICG,
}
_FORMS = {"projected": "CFG, projected (APG)", "independent": "independent condition (ICG)"}


class Look(Strict):
    """How figures draw a variant, where the default is not wanted."""

    color: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] | None = None
    marker: Annotated[str, Field(pattern=r"^[os^v<>DdpPhXx*+]$")] | None = None  # as matplotlib names it


def printed(e: "Experiment") -> dict[str, dict[str, Any]]:
    """Variant -> its label; section of tables; method, hue and main model; `like`, the first variant of the same nets and terms.

    Variants that differ only in sampler steps or in the discriminator's iterations share a look. A default label that
    several variants would have is completed by the variant's name.
    """
    defaults = {name: _label(e, v) for name, v in e.variants.items()}
    given = [v.label or defaults[name] for name, v in e.variants.items()]
    first: dict[Any, str] = {}
    found = {}
    for name, variant in e.variants.items():
        label = variant.label or defaults[name]
        if not variant.label and given.count(label) > 1:
            label = f"{label} ({name.replace('_', ' ')})"
        method = _method(e, variant)
        found[name] = {
            "label": label,
            "section": variant.group or METHODS,
            "method": method,
            "hue": variant.group or method,
            "main": variant.main,
            "like": first.setdefault(_content(variant), name),
            **(variant.look.model_dump(exclude_none=True) if variant.look else {}),
        }
    return found


def _content(variant: "Variant") -> Any:
    """What two variants share that are drawn alike."""
    terms = tuple(t.model_dump_json(exclude={"iterations", "weight"}) for t in variant.guide)
    return variant.main, variant.real, terms


def _kind(e: "Experiment", variant: "Variant", term: Term) -> str:
    """The family of one term: a reference that does not see the classes of the main model is CFG's."""
    if term.method != "reference":
        return _KINDS.get(term.method, term.method.rpartition(":")[2])
    return CFG if _classes(e, variant.main) > _classes(e, term.ref) else AUTOGUIDANCE


def _classes(e: "Experiment", model: str | None) -> bool:
    """Whether a model is of one class, or knows which."""
    found = e.models.get(model or "")
    net = e.denoisers.get(found.denoiser) if found else None
    if found is None or net is None or found.unlabelled:
        return False
    return net.classes != "AB" if net.classes else bool(net.conditional)


def _method(e: "Experiment", variant: "Variant") -> str:
    kinds = dict.fromkeys(_kind(e, variant, term) for term in variant.guide)
    return SUM if len(kinds) > 1 else next(iter(kinds), ALONE)


def _label(e: "Experiment", variant: "Variant") -> str:
    """`CFG, interval`; `DG + autoguidance, 18 steps`."""
    if variant.real:
        return f"real {'images' if e.images else 'points'} of {variant.real}"
    kinds = [_kind(e, variant, term) for term in variant.guide]
    if len(set(kinds)) > 1:
        words = " + ".join(dict.fromkeys(kinds))
    else:
        words = _single(kinds[0], variant.guide) if kinds else ALONE
    return f"{words}, {variant.steps} steps" if variant.steps else words


def _single(kind: str, terms: list[Term]) -> str:
    """A method of one kind, with what sets it apart."""
    term = terms[0]
    if term.boost:
        return f"{kind}, boosted"
    if term.iterations:
        return f"{kind}, {term.iterations:,} iterations"
    if kind == DG and term.stages == "first":
        return f"{kind}, first stage"
    if len(terms) > 1:
        return f"{kind}, schedule"
    if kind not in (DG, CG) and (term.sigma_lo > 0 or term.sigma_hi is not None):
        return f"{kind}, interval"
    return _FORMS.get(term.method, _LONG.get(kind, kind))

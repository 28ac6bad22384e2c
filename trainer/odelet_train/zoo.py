"""The members of the families in `odelet_models`, as jobs of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from odelet_models import FAMILIES, load_family
from odelet_models.family import Family, Member
from odelet_train.checkpoint import WeightsCard
from odelet_train.job import Job, perform
from odelet_train.uses import export_settings


def find(name: str) -> tuple[Family, str]:
    """The family of a member, and the member's name. name: of a member, or of a family, whose first member is meant.

    Raises ValueError for another name.

    >>> find("resnet")[1], find("odenet")[1]
    ('resnet', 'odenet')
    """
    if name in FAMILIES:  # no other family is imported
        family = load_family(name)
        return family, name if name in family.members else next(iter(family.members))
    families = [load_family(key) for key in FAMILIES]
    for family in families:
        if name in family.members:
            return family, name
    known = ", ".join(member for family in families for member in family.members)
    raise ValueError(f"name={name!r} is no member of a family; choose one of {known}")


def job_of(name: str) -> Job:
    """The training of a member. name: as for `find`. Raises ValueError for an unknown name."""
    family, name = find(name)
    member = family.members[name]
    return Job(
        name=name,
        built_by=address(member),
        build=member.build,
        data=family.data(),
        loss=member.loss,
        metric=family.metric,
        score=lambda network: scored(family, member, network),
        uses={key: replace(use, settings=export_settings(member, use)) for key, use in member.uses.items()},
        settings=member.settings,
    )


def train_member(
    name: str,
    out: str | Path,
    *,
    changes: dict[str, Any] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> WeightsCard:
    """Train a member of a family, test it once, and write its weights and card to `out`.

    changes: settings of training that differ from the member's own. The files are NAME.safetensors and NAME.json, and
    during training NAME.ckpt, from which `resume` goes on. Raises ValueError for an unknown name, and the errors of
    `fit`.
    """
    return perform(job_of(name), out, changes=changes, resume=resume, progress=progress)[0]


def scored(family: Family, member: Member, network: Any) -> float:
    """The score of a network on the test part, by the first use of the member."""
    use = next(iter(member.uses.values()))
    return family.score(use.module(network).eval(), *family.data().test)


def address(member: Member) -> str:
    """The `module:name` of what builds a member."""
    return f"{member.build.__module__}:{member.build.__qualname__}"

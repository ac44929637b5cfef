"""Attachment: which trainer a program and a datamodule belong to."""

from collections.abc import Iterable
from typing import Any

Attachments = list[tuple[Any, Any]]
"""Owners with the trainers they have or had."""


def attach(trainer: Any, owners: Iterable[Any]) -> Attachments:
    """Give owners their trainer where they have a place for it; return those they had before."""
    attached = [owner for owner in owners if hasattr(type(owner), "trainer")]
    before = [(owner, _trainer_of(owner)) for owner in attached]
    for owner in attached:
        owner.trainer = trainer
    return before


def give_back(before: Attachments) -> None:
    """Undo :func:`attach`."""
    for owner, trainer in before:
        owner.trainer = trainer


def _trainer_of(owner: Any) -> Any:
    try:
        return owner.trainer
    except RuntimeError:  # how an LTModule says that it has none
        return None

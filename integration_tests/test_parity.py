"""The table of docs/lightning-parity.md against the signatures it speaks of, ours and Lightning's.

Where lightning is installed but pytest is not (the bench environment), the last check runs by hand:

    PYTHONPATH=integration_tests .venv-bench/bin/python -c \
        "import test_parity; test_parity.check_against_lightning()"
"""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

import lt
from lt_loop import arguments
from lt_loop.hooks import HOOKS

PAGE = Path(__file__).parent.parent / "docs" / "lightning-parity.md"
STATUSES = ("same", "different", "not yet", "only here")


class Row(NamedTuple):
    section: str
    name: str
    meant: list[str]  # ``Trainer(max_epochs)``, ``trainer.fit``: a row may stand for two functions
    here: str
    note: str


def rows() -> list[Row]:
    """Read the tables: the heading of each says in backticks what a row's ``name`` stands in."""
    found: list[Row] = []
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("## "):
            section, patterns = line, re.findall(r"`(.+?)`", line) or ["name"]
        elif line.startswith("| `"):
            _, cell, here, note, _ = (part.strip() for part in line.split("|"))
            name = cell.strip("`")
            meant = [re.sub(r"\bname\b", name, pattern) for pattern in patterns]
            found.append(Row(section, name, meant, here, note))
    return found


def names(*statuses: str) -> set[str]:
    return {name for row in rows() if row.here in statuses for name in row.meant}


def parameters(function: Callable[..., Any]) -> set[str]:
    kept = inspect.signature(function).parameters.values()
    return {p.name for p in kept if p.name != "self" and p.kind is not p.VAR_KEYWORD}


def public(thing: Any, package: str) -> set[str]:
    """Return what an object has by its own instance and by the classes of one package."""
    classes = [cls for cls in type(thing).__mro__ if cls.__module__.startswith(package)]
    found = set(vars(thing)).union(*map(vars, classes))
    inherited = vars(nn.Module()) if isinstance(thing, nn.Module) else {}
    return {name for name in found if not name.startswith("_") and name not in inherited}


def spelled(trainer: Any, module: Any, datamodule: Any, callback: Any, package: str) -> set[str]:
    """Return all public names of four objects, in the spelling of the page."""
    kind = type(trainer)
    arguments_of = {
        "Trainer": kind.__init__,
        **{f"trainer.{fn}": getattr(kind, fn) for fn in ("fit", "validate", "test", "predict")},
        "module.log": type(module).log,
        "module.log_dict": type(module).log_dict,
        "module.save_hyperparameters": type(module).save_hyperparameters,
        "datamodule.save_hyperparameters": type(datamodule).save_hyperparameters,
    }
    owners = {"trainer": trainer, "module": module, "datamodule": datamodule, "callback": callback}
    return {
        *(f"{owner}({name})" for owner, fn in arguments_of.items() for name in parameters(fn)),
        *(f"{owner}.{name}" for owner, one in owners.items() for name in public(one, package)),
    }


def our_names() -> set[str]:
    trainer = lt.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    found = spelled(trainer, lt.LTModule(), lt.LTDataModule(), lt.Callback(), "lt_")
    hooks = {
        f"{owner.replace('program', 'module')}.{hook.name}"
        for hook in HOOKS.values()
        for owner in hook.owners
    }
    flags = parameters(lt.LTModule.log) - {"name", "value", "metric_attribute"}
    handed_on = {f"module.log_dict({flag})" for flag in flags}  # it takes them as **flags
    return found | hooks | handed_on


def test_every_line_of_a_table_is_a_row():
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    heads = [line for line in lines if line in ("| name | here | note |", "| --- | --- | --- |")]
    assert len(rows()) == len(lines) - len(heads)
    assert len(heads) == 2 * len({row.section for row in rows()})
    assert {row.here for row in rows()} == set(STATUSES)


def test_every_public_name_of_ours_has_a_row():
    assert our_names() - names(*STATUSES) == set()


def test_what_is_said_to_be_here_is_here():
    ours = our_names() | {f"module.{name}" for name in dir(lt.LTModule)}
    assert names("same", "different", "only here") - ours == set()


def test_what_is_said_to_be_missing_is_missing():
    refused = {f"Trainer({name})" for name in arguments.NOT_YET}
    assert names("not yet") & our_names() == refused
    assert refused <= names("not yet")


def test_no_row_stands_twice_and_all_are_in_order():
    every = [name for row in rows() for name in row.meant]
    assert sorted(set(every)) == sorted(every)
    for section in {row.section for row in rows()}:
        of_section = [row.name for row in rows() if row.section == section]
        assert of_section == sorted(of_section), section


def test_a_row_says_what_is_different_and_what_to_do_instead():
    assert [row for row in rows() if row.here != "same" and not row.note] == []


def test_links_lead_somewhere():
    for target, _, anchor in re.findall(r"\]\(([\w./-]+)(#([\w-]+))?\)", PAGE.read_text("utf-8")):
        headings = re.findall(r"^#+ (.+)$", (PAGE.parent / target).read_text("utf-8"), re.MULTILINE)
        assert not anchor or anchor in [h.lower().replace(" ", "-") for h in headings], target


def check_against_lightning() -> None:
    """Compare the left column with Lightning's own names, both ways."""
    import lightning.pytorch as pl

    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    theirs = spelled(
        trainer, pl.LightningModule(), pl.LightningDataModule(), pl.Callback(), "lightning."
    )
    theirs |= {"callback.log", "callback.log_dict"}  # put onto callbacks when a run begins
    assert theirs - names("same", "different", "not yet") == set(), "Lightning's, without a row"
    assert names("same", "different", "not yet") - theirs == set(), "not Lightning's"


def test_the_names_are_lightnings():
    import pytest

    pytest.importorskip("lightning.pytorch", reason="lightning is in the bench environment alone")
    check_against_lightning()

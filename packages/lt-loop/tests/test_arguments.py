"""Trainer's arguments become limits, ports and callbacks, or an error that says what to do."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from toys import LogKeeper, make_trainer

from lt_loop import Callback, Limits, Trainer
from lt_loop.arguments import (
    HARDWARE,
    NOT_YET,
    REMOVED,
    SWITCHES,
    choose_callbacks,
    choose_ports,
    fast_dev_run_limits,
    gpus_as_words,
    hardware_words,
    limits_from,
    refuse_unserved,
)
from lt_loop.installed_store import InstalledStore
from lt_loop.run import Ports
from lt_loop.solo import DuckBackend, IterableFeed, NoStore, OneProcess

Install = Callable[..., None]

PARAMETERS = inspect.signature(Trainer).parameters
DEFAULTS = {name: p.default for name, p in PARAMETERS.items() if p.default is not p.empty}


def given(**words: Any) -> dict[str, Any]:
    return DEFAULTS | words


# Arguments that Trainer does not have, or does not serve


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("max_epoch", r" Did you mean 'max_epochs'\?"),
        ("acumulate_grad_batches", r" Did you mean 'accumulate_grad_batches'\?"),
        ("device", r" Did you mean 'devices'\?"),
        ("banana", ""),
    ],
)
def test_an_unknown_argument_is_refused_with_the_closest_one(name: str, hint: str) -> None:
    message = (
        rf"^Trainer takes Lightning's arguments\. Received {name}=3, which is none of them\.{hint}$"
    )
    with pytest.raises(TypeError, match=message):
        Trainer(**{name: 3})


@pytest.mark.parametrize("name", REMOVED)
def test_an_argument_of_an_earlier_lightning_is_answered_with_todays(name: str) -> None:
    with pytest.raises(TypeError) as caught:
        Trainer(**{name: 3})

    assert str(caught.value) == f"Trainer no longer takes {name}. Use {REMOVED[name]}."
    assert name not in PARAMETERS


@pytest.mark.parametrize("name", [n for n in REMOVED.values() if n.isidentifier()])
def test_what_is_named_instead_is_an_argument(name: str) -> None:
    assert name in PARAMETERS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_registry", "best"),
        ("plugins", ["one"]),
    ],
)
def test_an_argument_is_refused_rather_than_ignored(name: str, value: Any) -> None:
    message = (
        rf"^This version does not serve {name} yet\. Received {name}=.*\. Leave it out; "
        r"docs/known-limits\.md lists what to do instead\.$"
    )
    with pytest.raises(ValueError, match=message) as caught:
        Trainer(**{name: value})

    assert f"Received {name}={value!r}. " in str(caught.value)


@pytest.mark.parametrize("name", NOT_YET)
def test_whoever_spells_out_a_default_is_served(name: str) -> None:
    accepted = NOT_YET[name] if isinstance(NOT_YET[name], tuple) else (NOT_YET[name],)

    assert DEFAULTS[name] in accepted
    for value in accepted:
        refuse_unserved(given(**{name: value}))


# Words that speak of hardware


def test_words_that_were_not_given_say_nothing() -> None:
    assert {name: DEFAULTS[name] for name in HARDWARE} == HARDWARE
    assert hardware_words(given()) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accelerator", "cpu"),
        ("strategy", "ddp"),
        ("devices", 1),
        ("devices", [0]),
        ("num_nodes", 2),
        ("precision", 32),
        ("deterministic", False),
        ("benchmark", False),
        ("detect_anomaly", True),
        ("inference_mode", False),
        ("sync_batchnorm", True),
    ],
)
def test_a_word_that_was_given_goes_to_the_backend_as_it_is(name: str, value: Any) -> None:
    assert hardware_words(given(**{name: value})) == {name: value}


@pytest.mark.parametrize(
    ("gpus", "devices"),
    [
        (1, 1),
        (-1, -1),
        ([1, 3], [1, 3]),
        ((1, 3), [1, 3]),
        ("1", [1]),  # an index, as it always was
        ("1, 3", [1, 3]),
        ("0,", [0]),
        ("-1", -1),
    ],
    ids=repr,
)
def test_gpus_is_an_older_spelling(gpus: Any, devices: Any) -> None:
    expected = {"accelerator": "gpu", "devices": devices}

    assert hardware_words(given(gpus=gpus, precision=16)) == {"precision": 16, **expected}


@pytest.mark.parametrize("gpus", [True, False, 1.5, "two", "", "0;1", {"gpu": 0}], ids=repr)
def test_gpus_that_are_neither_a_number_nor_indices_are_refused(gpus: Any) -> None:
    message = (
        r"^gpus is a number of GPUs, a list of their indices, or a string like '0,1'\. "
        r"Received gpus=.*\. Prefer accelerator='gpu' and devices\.$"
    )
    with pytest.raises(TypeError, match=message) as caught:
        gpus_as_words(gpus, {})

    assert f"Received gpus={gpus!r}. " in str(caught.value)


@pytest.mark.parametrize(("word", "value"), [("accelerator", "gpu"), ("devices", 2)])
def test_gpus_beside_the_newer_spelling_is_refused(word: str, value: Any) -> None:
    message = (
        r"^gpus is the older spelling of accelerator and devices\. Received gpus=2 and "
        rf"{word}={value!r}\. Give accelerator='gpu' and devices alone\.$"
    )
    with pytest.raises(ValueError, match=message):
        hardware_words(given(gpus=2, **{word: value}))


# Limits


def test_defaults_are_those_of_limits() -> None:
    assert limits_from(given()) == Limits()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_epochs", 3),
        ("max_steps", 0),
        ("limit_val_batches", 0),
        ("num_sanity_val_steps", 0),
        ("max_time", {"hours": 1}),
        ("gradient_clip_algorithm", "value"),
    ],
)
def test_a_limit_that_was_given_is_kept(name: str, value: Any) -> None:
    assert limits_from(given(**{name: value})) == Limits(**{name: value})


def test_only_where_none_means_something_it_is_not_the_default() -> None:
    limits = limits_from(given(check_val_every_n_epoch=None, val_check_interval=5))

    assert limits == Limits(check_val_every_n_epoch=None, val_check_interval=5)


@pytest.mark.parametrize(("fast_dev_run", "batches"), [(True, 1), (1, 1), (3, 3)])
def test_a_fast_run_tries_so_many_batches_of_everything(fast_dev_run: Any, batches: int) -> None:
    words = {
        "max_epochs": 50,
        "max_steps": 1000,
        "limit_train_batches": 0.5,
        "val_check_interval": 100,
        "check_val_every_n_epoch": 10,
        "num_sanity_val_steps": -1,
    }

    assert limits_from(given(fast_dev_run=fast_dev_run, **words)) == Limits(
        max_epochs=1,
        max_steps=batches,
        limit_train_batches=batches,
        limit_val_batches=batches,
        limit_test_batches=batches,
        limit_predict_batches=batches,
        num_sanity_val_steps=0,
    )


@pytest.mark.parametrize("fast_dev_run", [False, 0])
def test_a_run_that_is_not_fast_is_not_limited(fast_dev_run: Any) -> None:
    assert limits_from(given(fast_dev_run=fast_dev_run)) == Limits()


def test_a_fast_run_leaves_other_arguments_alone() -> None:
    limits = limits_from(given(fast_dev_run=True, accumulate_grad_batches=4, log_every_n_steps=1))

    assert (limits.accumulate_grad_batches, limits.log_every_n_steps) == (4, 1)


def test_a_negative_number_of_batches_is_refused() -> None:
    message = r"^fast_dev_run is a number of batches\. Received fast_dev_run=-1\.$"
    with pytest.raises(ValueError, match=message):
        fast_dev_run_limits(-1)


# Ports


SELECT = """
from types import SimpleNamespace
from lt_loop.solo import DuckBackend, OneProcess

class Chosen(DuckBackend):
    name = "{name}"

def made(**words):
    backend = Chosen()
    backend.words = words
    return SimpleNamespace(backend=backend, world=OneProcess(), reasons=dict(device="{name}"))
"""


def select(name: str) -> str:
    """The code of a package that announces a backend."""
    return SELECT.format(name=name)


def chosen(words: Any = None, **ports: Any) -> Ports:
    nothing = dict.fromkeys(("backend", "world", "feed", "store"))
    return choose_ports(**(nothing | ports), words=words or {}, root=".")


def test_with_nothing_installed_the_defaults_serve(install: Install) -> None:
    ports = chosen()

    assert [type(port) for port in (ports.backend, ports.world, ports.feed, ports.store)] == [
        *(DuckBackend, OneProcess, IterableFeed, InstalledStore),
    ]
    assert ports.reasons == {"backend": "duck-typed: lt-accel is not installed"}


@pytest.mark.parametrize(
    ("words", "wanted_by"),
    [
        ({"accelerator": "gpu", "devices": 2}, r"accelerator='gpu', devices=2"),
        ({"gpus": 1}, r"accelerator='gpu', devices=1"),
        ({"precision": "bf16-mixed"}, r"precision='bf16-mixed'"),
        ({"backend": "torch"}, r"backend='torch'"),
    ],
)
def test_a_word_that_needs_a_package_names_it(
    install: Install, words: dict[str, Any], wanted_by: str
) -> None:
    message = (
        rf"^Trainer\({wanted_by}\) needs 'torch' among the entry points of 'lt\.backends'\. "
        r"Received none from the installed packages\. Install lt-accel\.$"
    )
    with pytest.raises(LookupError, match=message):
        Trainer(**words)


@pytest.mark.parametrize("words", [{}, {"accelerator": "cpu", "devices": 2}])
def test_an_installed_backend_reads_the_words(install: Install, words: dict[str, Any]) -> None:
    install("lt.backends", "torch", select("torch"))

    ports: Any = chosen(words)

    assert (ports.backend.name, ports.backend.words) == ("torch", words)
    assert ports.reasons == {"device": "torch"}


def test_another_backend_is_taken_only_where_it_is_named(install: Install) -> None:
    install("lt.backends", "other", select("other"))
    named: Any = chosen({"devices": 2}, backend="other").backend

    assert type(chosen().backend) is DuckBackend
    assert (named.name, named.words) == ("other", {"devices": 2})
    with pytest.raises(LookupError, match=r"Received other from .* Did you mean 'other'\?"):
        chosen(backend="othr")


def test_a_world_that_was_given_goes_before_the_one_that_was_chosen(install: Install) -> None:
    install("lt.backends", "torch", select("torch"))
    world = OneProcess()

    assert chosen(world=world).world is world
    assert chosen().world is not world


def test_ports_that_are_ready_made_are_taken_as_they_are(install: Install) -> None:
    ready = {
        "backend": DuckBackend(),
        "world": OneProcess(),
        "feed": IterableFeed(),
        "store": NoStore(),
    }
    ports = chosen(**ready)

    assert {name: getattr(ports, name) for name in ready} == ready
    assert ports.reasons == {}


class Ranks(OneProcess):
    def __init__(self, world_size: int) -> None:
        self.world_size = world_size


class Composed(DuckBackend):
    def __init__(self, world: OneProcess | None) -> None:
        self.world = world


@pytest.mark.parametrize(
    ("own", "given", "received"),
    [
        (None, Ranks(2), "world=Ranks of 2 processes, and a Composed for one process"),
        (Ranks(2), None, "world=OneProcess of one process, and a Composed for Ranks of 2 proc"),
        (Ranks(2), Ranks(2), "world=Ranks of 2 processes, and a Composed for another Ranks of 2"),
        (Ranks(1), Ranks(1), "world=Ranks of one process, and a Composed for another Ranks of on"),
    ],
)
def test_a_backend_beside_another_world_than_its_own_is_refused(
    own: OneProcess | None, given: OneProcess | None, received: str
) -> None:
    with pytest.raises(ValueError, match=received) as refused:
        Trainer(backend=Composed(own), world=given)
    assert "Trainer(backend=chosen.backend, world=chosen.world)" in str(refused.value)


def test_a_backend_beside_its_own_world_or_without_one_to_compare_is_taken() -> None:
    ranks = Ranks(2)
    for backend, world in [
        (Composed(ranks), ranks),
        (Composed(None), Ranks(1)),
        (Composed(None), None),
        (DuckBackend(), ranks),
    ]:
        Trainer(backend=backend, world=world, logger=False, enable_progress_bar=False)


def test_a_backend_that_is_ready_made_reads_no_words() -> None:
    message = (
        r"^A ready-made backend knows its hardware\. Received backend=DuckBackend and "
        r"accelerator, devices\. Drop one of them\.$"
    )
    with pytest.raises(ValueError, match=message):
        chosen({"accelerator": "gpu", "devices": 2}, backend=DuckBackend())


FEED = """
from lt_loop.solo import IterableFeed

class made(IterableFeed):
    name = "{name}"
"""


def test_a_feed_may_be_named(install: Install) -> None:
    install("lt.feeds", "river", FEED.format(name="river"))
    feed: Any = chosen(feed="river").feed

    assert feed.name == "river"
    with pytest.raises(LookupError, match=r"^Trainer\(feed='torch'\) needs .*Install lt-data\.$"):
        chosen(feed="torch")


@pytest.mark.parametrize("imported", [True, False])
def test_the_feed_for_torch_is_taken_where_there_can_be_a_dataloader(
    install: Install, imported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if imported:
        monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    else:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert type(chosen().feed) is IterableFeed
    install("lt.feeds", "torch", FEED.format(name="torch"))

    assert getattr(chosen().feed, "name", None) == ("torch" if imported else None)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("backend", object(), r"the port Backend\. Received object, which lacks setup, wrap_step,"),
        ("world", 2, r"the port World\. Received int, which lacks rank, world_size,"),
        ("feed", [1], r"the port Feed\. Received list, which lacks open\."),
        ("store", {"a": 1}, r"the port Store\. Received dict, which lacks save, load, list, rem"),
    ],
)
def test_what_does_not_satisfy_its_port_is_refused(
    install: Install, name: str, value: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must satisfy {message}") as caught:
        Trainer(**{name: value})

    assert str(caught.value).endswith(". See lt_loop.ports.")


# Callbacks


class Bar(Callback):
    role = "progress_bar"


def names(*, root: str = ".", **words: Any) -> list[str]:
    """The types of the callbacks chosen."""
    nothing = dict.fromkeys(("callbacks", "logger", *SWITCHES))
    return [type(c).__name__ for c in choose_callbacks(nothing | words, root=Path(root))]


LOGGER = """
from lt_loop import Callback

class DefaultLogger(Callback):
    log_dir = "logs"
    made = []
    def __init__(self, save_dir):
        self.made.append(save_dir)
    def on_log(self, metrics, step): ...

made = DefaultLogger
"""

BAR = """
from lt_loop import Callback

class DefaultBar(Callback):
    role = "progress_bar"

made = DefaultBar
"""

KEEPER = BAR.replace("progress_bar", "checkpoint").replace("DefaultBar", "Keeper")
SUMMARY = BAR.replace("progress_bar", "model_summary").replace("DefaultBar", "Summary")


def test_with_nothing_installed_there_are_the_users_callbacks(install: Install) -> None:
    assert names() == []
    assert names(callbacks=Callback()) == ["Callback"]
    assert names(callbacks=[LogKeeper(), Bar()]) == ["LogKeeper", "Bar"]
    assert names(callbacks=(Callback(),), logger=[LogKeeper(), LogKeeper()]) == [
        *("Callback", "LogKeeper", "LogKeeper"),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, ["DefaultLogger", "Keeper", "DefaultBar"]),
        ({"logger": True, "enable_progress_bar": True}, ["DefaultLogger", "Keeper", "DefaultBar"]),
        ({"enable_checkpointing": False}, ["DefaultLogger", "DefaultBar"]),
        ({"logger": False}, ["DefaultBar"]),
        ({"logger": False, "enable_checkpointing": True}, ["Keeper", "DefaultBar"]),
        ({"logger": []}, ["DefaultBar"]),
        ({"enable_progress_bar": False}, ["DefaultLogger", "Keeper"]),
        ({"logger": False, "enable_progress_bar": False}, []),
        ({"logger": LogKeeper()}, ["LogKeeper", "DefaultBar"]),
        ({"callbacks": Bar()}, ["Bar", "DefaultLogger", "Keeper"]),
        ({"callbacks": Bar(), "enable_progress_bar": True}, ["Bar", "DefaultLogger", "Keeper"]),
        ({"callbacks": Callback()}, ["Callback", "DefaultLogger", "Keeper", "DefaultBar"]),
        ({"logger": False, "enable_model_summary": True}, ["DefaultBar", "Summary"]),
    ],
)
def test_defaults_come_after_the_users_and_only_where_wanted(
    install: Install, words: dict[str, Any], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    install("lt.callbacks", "logger", LOGGER)
    install("lt.callbacks", "progress_bar", BAR)
    install("lt.callbacks", "checkpoint", KEEPER)
    install("lt.callbacks", "model_summary", SUMMARY)

    assert names(**words) == expected


def test_no_checkpoint_is_saved_unasked_where_that_would_import_torch(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    install("lt.callbacks", "checkpoint", KEEPER)

    assert names(logger=LogKeeper()) == ["LogKeeper"]
    assert names(logger=LogKeeper(), enable_checkpointing=True) == ["LogKeeper", "Keeper"]


def test_nothing_else_that_is_installed_enters_a_run(install: Install) -> None:
    install("lt.callbacks", "spy", "raise AssertionError('loaded')")

    assert names() == []


def test_the_default_logger_writes_below_the_root(install: Install) -> None:
    install("lt.callbacks", "logger", LOGGER)

    (logger,) = Trainer(default_root_dir="here", backend=DuckBackend()).loggers

    assert logger.made == [Path("here")]


def test_a_fast_run_leaves_no_logs(install: Install) -> None:
    install("lt.callbacks", "logger", LOGGER)
    fast = {"fast_dev_run": True, "backend": DuckBackend()}

    assert Trainer(**fast).loggers == []
    assert Trainer(**fast, logger=True).loggers == []


@pytest.mark.parametrize(
    ("argument", "name"), [("logger", "logger"), ("enable_progress_bar", "progress_bar")]
)
def test_a_default_that_is_insisted_on_must_be_there(
    install: Install, argument: str, name: str
) -> None:
    message = (
        rf"^Trainer\({argument}=True\) needs '{name}' among the entry points of 'lt\.callbacks'\. "
        r"Received none from the installed packages\. Install lt-callbacks\.$"
    )
    with pytest.raises(LookupError, match=message):
        Trainer(**{argument: True})

    install("lt.callbacks", name, "made = lambda **words: None  # its library is not there")
    assert names() == []
    message = (
        rf"^Trainer\({argument}=True\) needs a library for it\. Received an lt-callbacks without "
        r"its extras\. Install lt-callbacks\[tqdm,tensorboard\]\.$"
    )
    with pytest.raises(LookupError, match=message):
        Trainer(**{argument: True})


def test_a_progress_bar_that_is_both_forbidden_and_given_is_refused() -> None:
    message = (
        r"^enable_progress_bar=False means no progress bar\. Received one in callbacks: Bar\. "
        r"Drop one of them\.$"
    )
    with pytest.raises(ValueError, match=message):
        names(callbacks=Bar(), enable_progress_bar=False)


@pytest.mark.parametrize("argument", ["callbacks", "logger"])
def test_what_is_no_callback_is_refused(argument: str) -> None:
    with pytest.raises(TypeError, match=rf"^{argument} takes callbacks as objects\. Received the"):
        names(**{argument: [LogKeeper]})
    message = rf"^{argument} takes instances of Callback\. Received 'csv' of type str\. Subclass"
    with pytest.raises(TypeError, match=message):
        names(**{argument: "csv"})


def test_arguments_about_data_become_limits() -> None:
    limits = limits_from(
        given(
            overfit_batches=2,
            reload_dataloaders_every_n_epochs=3,
            val_check_interval="00:00:10:00",
        )
    )

    assert limits == Limits(
        overfit_batches=2, reload_dataloaders_every_n_epochs=3, val_check_interval="00:00:10:00"
    )
    assert limits_from(given()) == Limits()


def test_a_trial_of_the_code_overfits_as_long_as_it_lasts() -> None:
    """As in Lightning: the batches are those of overfit_batches, the steps those of the trial."""
    limits = limits_from(given(fast_dev_run=2, overfit_batches=5, val_check_interval="00:01:00:00"))

    assert (limits.max_steps, limits.limit_train_batches, limits.limit_val_batches) == (2, 5, 5)
    assert (limits.limit_test_batches, limits.val_check_seconds) == (2, None)


@pytest.mark.parametrize("given", [0.5, 1.5, "3"])
def test_a_fast_dev_run_is_a_number_of_batches(given: Any) -> None:
    with pytest.raises(TypeError, match=r"^fast_dev_run is a number of batches, or True for one\."):
        make_trainer(fast_dev_run=given)


def test_a_fast_dev_run_has_no_minimum() -> None:
    limits = make_trainer(fast_dev_run=2, min_epochs=3, min_steps=100, max_epochs=5).limits

    assert (limits.max_epochs, limits.min_epochs, limits.min_steps) == (1, None, None)


def test_a_store_that_is_empty_yet_is_taken() -> None:
    class Shelf(NoStore):
        def __len__(self) -> int:
            return 0

    store = Shelf()
    assert make_trainer(store=store)._ports.store is store


@pytest.mark.parametrize("name", ["backend", "world", "feed", "store"])
def test_the_class_of_a_port_is_refused(name: str) -> None:
    cls = {"backend": DuckBackend, "world": OneProcess, "feed": IterableFeed, "store": NoStore}
    message = rf"^{name} is an object\. Received the class {cls[name].__name__}\. Make an instance"
    with pytest.raises(TypeError, match=message):
        make_trainer(**{name: cls[name]})


def test_two_progress_bars_are_refused() -> None:
    class Bar(Callback):
        role = "progress_bar"

    with pytest.raises(ValueError, match=r"^A run has one progress bar\. Received 2 in callbacks"):
        make_trainer(callbacks=[Bar(), Bar()], enable_progress_bar=True)


def test_a_logger_receives_what_is_logged() -> None:
    with pytest.raises(
        TypeError, match=r"^logger takes callbacks .* Callback, which has no on_log"
    ):
        make_trainer(logger=Callback())

"""What is said where a library is missing."""

import sys
from importlib import metadata

import pytest

import lt_callbacks
from lt_callbacks.extras import LIBRARIES, check, load, missing

NEEDED = {
    "BackboneFinetuning": "finetuning",
    "EMAWeightAveraging": "averaging",
    "GradCheckOnce": "gradients",
    "GradientCheck": "gradients",
    "MLFlowLogger": "mlflow-sqlite",
    "ModelSummary": "summary",
    "RichModelSummary": "rich",
    "RichProgressBar": "rich",
    "TensorBoardLogger": "tensorboard",
    "StochasticWeightAveraging": "averaging",
    "TQDMProgressBar": "tqdm",
    "WandbLogger": "wandb",
    "WeightAveraging": "averaging",
}
ARGUMENTS = {
    "StochasticWeightAveraging": {"swa_lrs": 0.1},
    "TensorBoardLogger": {"save_dir": "logs"},
}


@pytest.mark.parametrize(("name", "extra"), NEEDED.items())
def test_a_callback_without_its_library_says_what_to_run(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in LIBRARIES[extra]:
        monkeypatch.setitem(sys.modules, library, None)
    arguments = ARGUMENTS.get(name, {})

    with pytest.raises(ModuleNotFoundError) as caught:
        getattr(lt_callbacks, name)(**arguments)

    assert str(caught.value).startswith(f"{name} needs {LIBRARIES[extra][0]}")
    assert str(caught.value).endswith(f"Run: pip install 'lt-callbacks[{extra}]'")
    assert caught.value.name == LIBRARIES[extra][0]


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIBRARIES, "sweets", ("json", "no_such_library"))

    assert missing("sweets") == ["no_such_library"]
    with pytest.raises(
        ModuleNotFoundError,
        match=r"^Cake needs json and no_such_library\. Received a Python without no_such_library\.",
    ):
        check("sweets", wanted_by="Cake")


def test_what_is_installed_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIBRARIES, "sweets", ("json",))

    assert load("json.tool", extra="sweets", wanted_by="Cake") is sys.modules["json.tool"]


def test_the_extras_are_those_that_are_declared() -> None:
    try:
        declared = metadata.requires("lt-callbacks") or []
    except metadata.PackageNotFoundError:
        pytest.skip("lt-callbacks is run from its sources")
    for extra, libraries in LIBRARIES.items():
        lines = [line for line in declared if line.endswith(f"extra == '{extra}'")]
        assert len(lines) == len(libraries)
        assert all(any(line.startswith(library) for line in lines) for library in libraries)

"""The face hands on names, lazily where a name brings a library with it."""

import subprocess
import sys

import pytest

import lt
import lt_accel
import lt_data
import lt_loop
import lt_module


def test_every_name_is_the_one_of_its_package() -> None:
    assert lt.Trainer is lt_loop.Trainer
    assert lt.Callback is lt_loop.Callback
    assert lt.CombinedLoader is lt_data.CombinedLoader
    assert lt.LTModule is lt_module.LTModule
    assert lt.LTDataModule is lt_module.LTDataModule
    assert lt.seed_everything is lt_accel.seed_everything


def test_lightnings_names_are_other_names_of_ours() -> None:
    assert lt.LightningModule is lt.LTModule
    assert lt.LightningDataModule is lt.LTDataModule


@pytest.mark.parametrize("name", lt.__all__)
def test_all_is_exact(name: str) -> None:
    assert hasattr(lt, name)


@pytest.mark.parametrize("module", [lt.callbacks, lt.loggers])
def test_callbacks_and_loggers_are_found_under_lightnings_modules(module: object) -> None:
    for name in module.__all__:
        assert issubclass(getattr(module, name), lt.Callback)


def test_profilers_are_found_there_too() -> None:
    for name in lt.profilers.__all__:
        assert issubclass(getattr(lt.profilers, name), lt_loop.Profiler)
    with pytest.raises(AttributeError, match=r"SimpleProfiler\. Received 'XLAProfiler'"):
        _ = lt.profilers.XLAProfiler


def test_the_command_line_and_strategies_are_found_there_too() -> None:
    import lt.cli

    assert lt.cli.LightningCLI is lt.cli.LTCLI
    assert lt.strategies.DDPStrategy is lt_accel.DDPStrategy
    assert lt.utilities.rank_zero_only is lt_accel.rank_zero_only


def test_an_unknown_logger_is_named() -> None:
    with pytest.raises(AttributeError, match=r"CSVLogger, .* Received 'Tensor'"):
        _ = lt.loggers.Tensor


def test_importing_lt_brings_neither_tensorboard_nor_tqdm() -> None:
    """Beyond the packages themselves, importing lt costs what importing torch costs."""
    code = (
        "import sys, torch; before = set(sys.modules); import lt;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(new & {'tensorboard', 'tqdm', 'numpy', 'pandas', 'jsonargparse', 'yaml'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() in ("", "numpy")  # numpy comes with torch itself


def test_importing_lt_brings_no_part_of_torch_that_is_dear_and_seldom_used() -> None:
    code = (
        "import sys, lt;"
        "dear = ('fsdp', 'tensor', 'elastic', 'checkpoint', 'pipelining');"
        "print(*(name for name in dear if f'torch.distributed.{name}' in sys.modules));"
        "print('torch._dynamo' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.split() == ["False"]

"""PyTorchProfiler records some steps with torch.profiler."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.profiler import schedule

from lt_callbacks.profilers import PyTorchProfiler
from lt_callbacks.profilers import pytorch as module
from lt_loop import Trainer
from lt_loop.solo import DuckBackend


class Network(nn.Module):
    trainer: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        with self.trainer.profiler.profile("my own action"):
            return self.layers(batch).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layers(batch).square().mean()

    test_step = validation_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layers(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data(count: int = 8) -> list[Any]:
    return [torch.ones(3, 4) for _ in range(count)]


def trainer_with(profiler: Any, **words: Any) -> Trainer:
    words = {"max_epochs": 1, "num_sanity_val_steps": 0} | words
    return Trainer(
        backend=DuckBackend(), logger=False, enable_progress_bar=False, profiler=profiler, **words
    )


def counts(profiler: PyTorchProfiler) -> dict[str, int]:
    """How often each operator and label was recorded."""
    return {event.key: event.count for event in profiler.averages}


def test_three_steps_are_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = trainer_with("pytorch", default_root_dir=tmp_path)
    trainer.fit(Network(), data(), data(2))
    found = counts(trainer.profiler)

    for label in (
        "run_training_batch",
        "[Module]Network.training_step",
        "my own action",
        "[Backend]DuckBackend.backward",
        "[Layer]layers.0 (Linear)",
        "[Layer]layers (Sequential)",
        "aten::tanh",
    ):
        assert found[label] == 3, label
    assert found["aten::linear"] == 6
    assert "[Module]Network.validation_step" not in found
    report = capsys.readouterr().out
    assert report.startswith("FIT Profiler Report\n\n---")
    assert "aten::linear" in report
    assert trainer.profiler.summary() in report


@pytest.mark.parametrize("fn", ["validate", "test", "predict"])
def test_so_are_those_of_other_runs(fn: str) -> None:
    profiler = PyTorchProfiler(export_to_chrome=False)
    getattr(trainer_with(profiler), fn)(Network(), data())

    step = "validation" if fn == "validate" else fn
    assert counts(profiler)[f"[Module]Network.{step}_step"] == 3
    assert counts(profiler)["aten::linear"] == 6


@pytest.mark.parametrize(("batches", "recorded"), [(2, 1), (3, 2), (4, 3), (5, 3)])
def test_of_a_short_run_there_is_less(batches: int, recorded: int) -> None:
    profiler = PyTorchProfiler(export_to_chrome=False)
    trainer_with(profiler).fit(Network(), data(batches))

    assert counts(profiler)["run_training_batch"] == recorded


def test_a_run_of_one_batch_says_that_there_is_nothing() -> None:
    profiler = PyTorchProfiler(export_to_chrome=False)
    trainer_with(profiler).fit(Network(), data(1))

    assert profiler.summary() == (
        "FIT Profiler Report\n\nNothing was recorded: the run was over after 1 of the steps that "
        "the schedule waits for and warms up in. Run more batches, or pass schedule=None.\n"
    )


def test_without_a_schedule_everything_is_recorded() -> None:
    profiler = PyTorchProfiler(export_to_chrome=False, schedule=None)
    trainer_with(profiler).fit(Network(), data(7), data(2))

    assert counts(profiler)["run_training_batch"] == 7
    assert counts(profiler)["[Module]Network.validation_step"] == 2


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events:UserWarning")
def test_a_schedule_of_ones_own_is_followed(tmp_path: Path) -> None:
    ready: list[int] = []
    profiler = PyTorchProfiler(
        tmp_path,
        schedule=schedule(wait=1, warmup=1, active=1, repeat=2),
        on_trace_ready=lambda recorded: ready.append(recorded.step_num),
    )
    trainer_with(profiler).fit(Network(), data(8))

    assert ready == [3, 6]
    assert counts(profiler)["run_training_batch"] == 1  # of the last recording
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_a_trace_that_can_not_be_handed_over_ends_the_run_with_its_error(tmp_path: Path) -> None:
    def fail(recorded: Any) -> None:
        raise OSError("the disk is full")

    schedule_without_a_pause = schedule(wait=0, warmup=1, active=1)
    profiler = PyTorchProfiler(tmp_path, schedule=schedule_without_a_pause, on_trace_ready=fail)
    with pytest.raises(OSError, match="the disk is full"):
        trainer_with(profiler).fit(Network(), data(8))


def test_a_trace_is_written_for_other_tools(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(tmp_path / "new", "perf")
    trainer_with(profiler).fit(Network(), data())

    assert len(list((tmp_path / "new").glob("fit-perf-0.txt"))) == 1
    (trace,) = (tmp_path / "new").glob("fit-perf-0.*.pt.trace.json")
    names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert {"run_training_batch", "[Layer]layers.2 (Linear)"} <= names


def test_without_a_folder_it_goes_where_logs_go(tmp_path: Path) -> None:
    trainer_with(PyTorchProfiler(), default_root_dir=tmp_path).fit(Network(), data())

    assert len(list(tmp_path.glob("fit-0.*.pt.trace.json"))) == 1


def test_the_module_is_left_as_it_was() -> None:
    model = Network()
    before = {name: dict(vars(part)) for name, part in model.named_modules()}
    trainer_with(PyTorchProfiler(export_to_chrome=False)).fit(model, data())

    for name, part in model.named_modules():
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_always_called"):
            assert vars(part)[hooks] == before[name][hooks] == {}


def test_the_names_of_layers_can_be_left_out() -> None:
    profiler = PyTorchProfiler(export_to_chrome=False, record_module_names=False)
    trainer_with(profiler).fit(Network(), data())

    assert not [label for label in counts(profiler) if label.startswith("[Layer]")]


def test_a_step_that_fails_leaves_no_label_open() -> None:
    class Failing(Network):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layers(batch if batch_idx < 3 else batch[:, :1]).mean()

    profiler, model = PyTorchProfiler(export_to_chrome=False), Failing()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trainer_with(profiler).fit(model, data())

    assert counts(profiler)["[Layer]layers.0 (Linear)"] == 3
    assert counts(profiler)["run_training_batch"] == 3
    assert not model.layers[0]._forward_hooks
    assert not torch.autograd.profiler._is_profiler_enabled


def test_a_program_without_layers_is_recorded() -> None:
    class Plain:
        def __init__(self) -> None:
            self.weight = torch.ones(1, requires_grad=True)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return (self.weight * batch).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD([self.weight], lr=0.1)

    profiler = PyTorchProfiler(export_to_chrome=False)
    trainer_with(profiler).fit(Plain(), data())

    assert counts(profiler)["aten::mul"] >= 3


def test_each_run_has_a_record_of_its_own() -> None:
    profiler = PyTorchProfiler(export_to_chrome=False)
    trainer, model = trainer_with(profiler), Network()
    trainer.fit(model, data())
    trainer.validate(model, data())

    assert "run_training_batch" not in counts(profiler)
    assert profiler.summary().startswith("VALIDATE Profiler Report\n")


def test_it_works_without_a_trainer(tmp_path: Path) -> None:
    profiler = PyTorchProfiler(tmp_path)
    for _ in range(2):
        with profiler.profile("an action"):
            torch.ones(3).exp()
    report = profiler.summary()

    assert "aten::exp" in report
    assert counts(profiler)["an action"] == 2
    assert len(list(tmp_path.glob("profile.*.json"))) == 1
    assert profiler.summary() == report


def test_nothing_recorded_is_no_report() -> None:
    assert PyTorchProfiler().summary() == ""


def test_shapes_can_be_told_apart() -> None:
    profiler = PyTorchProfiler(export_to_chrome=False, group_by_input_shapes=True)
    trainer_with(profiler).fit(Network(), data())
    shapes = [event.input_shapes for event in profiler.averages if event.key == "aten::linear"]

    assert sorted(shape[1] for shape in shapes) == [[1, 4], [4, 4]]


def test_the_table_is_as_one_likes_it() -> None:
    profiler = PyTorchProfiler(
        export_to_chrome=False,
        row_limit=2,
        sort_by_key="count",
        table_kwargs={"max_name_column_width": 12},
    )
    trainer_with(profiler).fit(Network(), data())
    rows = profiler.summary().split("\n---")[2].splitlines()[1:]

    assert len(rows) == 2
    assert all(len(row.split("  ")[0]) <= 12 for row in rows)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (
            {"sort_by_key": "cpu_tme"},
            ValueError,
            r"^sort_by_key is one of cpu_time, .* Received sort_by_key='cpu_tme'\. Did you mean",
        ),
        (
            {"record_shape": True},
            TypeError,
            r"^profiler_kwargs may be activities, .* Received record_shape=True\. Did you mean",
        ),
        (
            {"table_kwargs": {"row_limit": 3}},
            TypeError,
            r"^table_kwargs may be .* Received row_limit=3\.",
        ),
    ],
)
def test_arguments_are_checked(words: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PyTorchProfiler(**words)


@pytest.mark.parametrize("key", module.SORT_KEYS)
def test_a_report_can_be_sorted_by_every_key(key: str) -> None:
    profiler = PyTorchProfiler(sort_by_key=key, profile_memory=True)
    with profiler.profile("an action"):
        torch.ones(3).exp()

    assert "aten::exp" in profiler.summary()


def test_nvtx_needs_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    with pytest.raises(ValueError, match=r"^emit_nvtx=True marks .* on a machine without CUDA\."):
        PyTorchProfiler(emit_nvtx=True)


def test_nvtx_marks_every_action_from_the_first_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    def telling(name: str) -> Any:
        @contextmanager
        def context(*arguments: Any, **words: Any) -> Any:
            label = " ".join([name, *arguments, *(f"{k}={v}" for k, v in words.items())])
            told.append(label)
            yield
            told.append(f"end of {label}")

        return context

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.profiler.profile", telling("tool"))
    monkeypatch.setattr("torch.autograd.profiler.emit_nvtx", telling("nvtx"))
    monkeypatch.setattr("lt_callbacks.profilers.operator_trace.record_function", telling("label"))
    profiler = PyTorchProfiler(emit_nvtx=True, record_shapes=True)
    trainer_with(profiler).fit(Network(), data(6))

    assert told[:3] == ["tool", "nvtx record_shapes=True", "label run_training_batch"]
    assert told[-2:] == ["end of nvtx record_shapes=True", "end of tool"]
    assert told.count("label [Module]Network.training_step") == 6
    assert told.count("end of label [Layer]layers.0 (Linear)") == 6
    assert capsys.readouterr().out == ""


@pytest.mark.gpu
def test_kernels_are_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    profiler = PyTorchProfiler(export_to_chrome=False)
    model = Network().cuda()
    trainer_with(profiler).fit(model, [batch.cuda() for batch in data()])

    assert sum(event.self_device_time_total for event in profiler.averages) > 0
    assert "CUDA" in capsys.readouterr().out


@pytest.mark.gpu
def test_nvtx_marks_do_no_harm() -> None:
    model = Network().cuda()
    trainer_with(PyTorchProfiler(emit_nvtx=True)).fit(model, [batch.cuda() for batch in data()])


def test_without_torch_it_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lt-callbacks\[profiler\]'$"):
        PyTorchProfiler()

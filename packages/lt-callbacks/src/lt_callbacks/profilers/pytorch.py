"""PyTorchProfiler: which operators and kernels the time goes to, by torch's own profiler."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from lt_callbacks import extras
from lt_callbacks.profilers.profiler import Profiler
from lt_callbacks.spelling import suggestion

if TYPE_CHECKING:
    from lt_callbacks.profilers.operator_trace import LayerNames, OperatorTrace, Scope

SORT_KEYS = (
    *("cpu_time", "cuda_time", "cpu_time_total", "cuda_time_total"),
    *("self_cpu_time_total", "self_cuda_time_total"),
    *("cpu_memory_usage", "cuda_memory_usage"),
    *("self_cpu_memory_usage", "self_cuda_memory_usage", "count"),
)
"""What the rows of the report can be sorted by."""

STEPS = MappingProxyType(
    {
        "fit": ("run_training_batch",),
        "validate": ("validation_step",),
        "test": ("test_step",),
        "predict": ("predict_step",),
    }
)
"""How the action ends whose end is the end of a step, by stage."""

ALL_STEPS = ("training_step", "validation_step", "test_step", "predict_step")
"""The same where nobody said which stage it is."""


@final
class PyTorchProfiler(Profiler):
    """Records a few steps of a run with ``torch.profiler``.

    The first batch warms up, the three after it are recorded, and the rest of the run costs about
    a microsecond for each action. Steps are those of the run itself: the validation inside a fit
    is recorded only where it falls among them; to see more of it, profile ``trainer.validate``.
    Actions and layers appear as labels among the operators.

    Without a trainer everything is recorded from the first action to :meth:`summary`.

    Args:
        dirpath: the folder of reports and traces; None for that of the trainer's logger.
        filename: writes reports to a file of about that name; None to standard output.
        group_by_input_shapes: a row for each shape of an operator's inputs; it records them.
        emit_nvtx: mark actions and operators for Nsight Systems instead of recording anything: run
            ``nsys profile --capture-range=cudaProfilerApi python ...``. Needs CUDA.
        export_to_chrome: write a trace into the folder, which chrome://tracing, Perfetto and
            TensorBoard read.
        row_limit: rows of the report, -1 for all.
        sort_by_key: what they are sorted by, one of ``SORT_KEYS``; None for the total time, on the
            GPU where there is one.
        record_module_names: whether the forward of each layer is labelled. It puts hooks on the
            layers while it records, for which a compiled module is compiled anew.
        table_kwargs: further arguments of torch's ``table``, such as ``max_name_column_width``.
        profiler_kwargs: arguments of ``torch.profiler.profile``: ``schedule``, ``activities``,
            ``on_trace_ready``, ``profile_memory``, ``with_stack``, ... Of several recordings that a
            schedule asks for, the report shows the last.

    Raises:
        ModuleNotFoundError: torch is not installed.
        TypeError: torch has no such argument.
        ValueError: the key is none of those, or NVTX is asked for without CUDA.
    """

    def __init__(  # noqa: PLR0913 - Lightning's arguments
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        group_by_input_shapes: bool = False,
        emit_nvtx: bool = False,
        export_to_chrome: bool = True,
        row_limit: int = 20,
        sort_by_key: str | None = None,
        record_module_names: bool = True,
        table_kwargs: Mapping[str, Any] | None = None,
        **profiler_kwargs: Any,
    ) -> None:
        super().__init__(dirpath, filename)
        torch_side = _torch_side()
        if emit_nvtx and not torch_side.has_cuda():
            raise ValueError(
                "emit_nvtx=True marks a timeline that CUDA tools record. Received it on a machine "
                "without CUDA. Leave it out."
            )
        _check_words("profiler_kwargs", profiler_kwargs, torch_side.profile_words())
        _check_words("table_kwargs", table_kwargs or {}, torch_side.table_words())
        device = "cuda" if torch_side.has_cuda() else "cpu"
        self._table = {
            "sort_by": _sort_key(sort_by_key or f"{device}_time_total"),
            "row_limit": row_limit,
            **(table_kwargs or {}),
        }
        self._words = profiler_kwargs
        self._by_shape, self._nvtx = group_by_input_shapes, emit_nvtx
        self._exports, self._names_layers = export_to_chrome, record_module_names
        self._program: Any = None
        self.restart()

    def restart(self) -> None:
        """Forget the recording."""
        self._trace: OperatorTrace | None = None
        self._layers: LayerNames | None = None
        self._scopes: dict[str, Scope] = {}
        self._over = self._recorded = False
        self._steps = 0
        self.averages: Any = None

    def watch(self, program: object) -> None:
        """Remember whose layers have names."""
        self._program = program

    def start(self, action_name: str) -> None:
        """Label what follows, if it is recorded."""
        if self._trace is None:
            if self._over or not self._begins_with(action_name):
                return
            self._begin()
        if self._trace is not None and self._trace.recording:
            self._recorded = self._recorded or self._begins_with(action_name)
            self._scopes[action_name] = self._trace.scope(action_name)

    def stop(self, action_name: str) -> None:
        """End the label; at the end of a step, see whether the next one is recorded."""
        if scope := self._scopes.pop(action_name, None):
            scope.close()
        if self._trace is not None and self._is_step(action_name):
            self._steps += 1
            self._trace.step()
            if self._trace.complete:
                self._end()
            else:
                self._label_layers()

    def _is_step(self, action_name: str) -> bool:
        return action_name.endswith(STEPS.get(self._stage or "", ALL_STEPS))

    def _begins_with(self, action_name: str) -> bool:
        return not self._under_way or self._is_step(action_name)

    def _begin(self) -> None:
        torch_side = _torch_side()
        if self._nvtx:
            self._trace = torch_side.NvtxTrace(self._words)
        else:
            words = self._words | ({"record_shapes": True} if self._by_shape else {})
            steps = self._under_way and "schedule" not in words
            self._trace = torch_side.ProfilerTrace(words, self._receive, three_steps=steps)
        self._trace.begin()
        self._label_layers()

    def _label_layers(self) -> None:
        """Label layers while something is recorded, and at no other time."""
        recording = self._trace is not None and self._trace.recording
        if recording and self._layers is None and self._names_layers:
            self._layers = _torch_side().LayerNames(self._program)
        elif not recording and self._layers is not None:
            self._layers.remove()
            self._layers = None

    def _receive(self, profile: Any) -> None:
        """Take what was recorded, while torch still has it."""
        if not self._recorded:  # the run ended before the first of the steps to record
            return
        self.averages = profile.key_averages(group_by_input_shape=self._by_shape)
        folder = self.folder()
        if self._exports and folder is not None:
            _torch_side().export(profile, folder, self.name_of_file(""))

    def _end(self) -> None:
        for scope in self._scopes.values():
            scope.close()
        self._scopes.clear()
        trace, self._trace, self._over = self._trace, None, True
        self._label_layers()
        if trace is not None:
            trace.end()

    def summary(self) -> str:
        """End the recording and return torch's table of it."""
        begun = self._over or self._trace is not None
        self._end()
        if self.averages is not None:
            return self.titled(self.averages.table(**self._table))
        if self._nvtx or not begun:
            return ""
        return self.titled(
            f"Nothing was recorded: the run was over after {self._steps} of the steps that the "
            "schedule waits for and warms up in. Run more batches, or pass schedule=None."
        )

    def teardown(self, stage: str | None) -> None:
        """End the recording."""
        self._end()
        super().teardown(stage)


def _torch_side() -> Any:
    return extras.load(
        "lt_callbacks.profilers.operator_trace", extra="profiler", wanted_by="PyTorchProfiler"
    )


def _sort_key(key: str) -> str:
    if key not in SORT_KEYS:
        raise ValueError(
            f"sort_by_key is one of {', '.join(SORT_KEYS)}. Received sort_by_key={key!r}."
            f"{suggestion(key, SORT_KEYS)}"
        )
    return key


def _check_words(argument: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for word in given:
        if word not in known:
            raise TypeError(
                f"{argument} may be {', '.join(known)}. Received {word}={given[word]!r}."
                f"{suggestion(word, known)}"
            )

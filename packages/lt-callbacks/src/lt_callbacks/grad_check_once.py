"""GradCheckOnce: whether gradients are right and complete, before the first step is taken."""

import logging
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, final

from lt_callbacks import extras
from lt_callbacks.spelling import suggestion
from lt_loop import Callback, Trainer

if TYPE_CHECKING:
    from lt_callbacks.custom_functions import Call, Calls

log = logging.getLogger("lt_callbacks")

Action = Literal["raise", "stop", "warn"]
ACTIONS = ("raise", "stop", "warn")


@final
class GradCheckOnce(Callback):
    """Looks at the gradients once in a fit, before its first optimizer step.

    **Missing gradients.** In the first backward passes, those of the first step, every parameter
    that requires a gradient must receive one; those that don't are named. With several optimizers
    each is asked about its own parameters before its first step.

    **Wrong gradients.** A custom ``torch.autograd.Function`` may have a backward that does not fit
    its forward. Those in the graph of the first loss are found, with the innermost module that
    calls each, and a copy of that module is checked by ``torch.autograd.gradcheck``: in float64, on
    the first samples of what it was really called with, parameters included. What can't be
    checked so, say because it computes in float32 only, is named in a warning. Functions and
    modules may be named, too. What is wrong on purpose, as a straight-through estimator, goes into
    ``ignore``.

    **Leaks**, on request. The output of one sample must not depend on another one: a batch is put
    through the module in evaluation mode, and outputs are differentiated by inputs. A transposed
    or reshaped batch dimension is found so; a normalization over the batch in training mode, which
    mixes samples by design, is not.

    It runs on the first batch that training reads anyway, and leaves weights, gradients, buffers,
    modes, random generators and the order of the data as they were: the run has the same bits as
    one without it.

    Args:
        missing: whether to look for missing gradients.
        ignore: patterns of names (``"head.*"``) to leave alone: of parameters that may go without
            a gradient, of submodules, and of classes of autograd functions.
        modules: names of submodules to check; ``"found"`` for those that call custom functions,
            none for no check.
        functions: functions to check, or classes of autograd functions, each with its inputs, of
            which those of floating point are differentiated by.
        samples: how many samples modules are checked on.
        leaks: whether to look for leaks.
        inputs: from a batch to what the module is called with, a tuple of arguments; None for its
            first part. For ``leaks`` only.
        if_found: ``"raise"`` a ValueError, ``"stop"`` the run at the next safe point, or
            ``"warn"`` through logging.

    Raises:
        ModuleNotFoundError: torch is not installed.
        ValueError: an argument is out of its range.
    """

    def __init__(  # noqa: PLR0913 - three checks, each with what it needs to know
        self,
        *,
        missing: bool = True,
        ignore: Sequence[str] = (),
        modules: Sequence[str] | Literal["found"] = "found",
        functions: Mapping[Callable[..., Any], Sequence[Any]] | None = None,
        samples: int = 2,
        leaks: bool = False,
        inputs: Callable[[Any], Any] | None = None,
        if_found: Action = "raise",
    ) -> None:
        extras.check("gradients", wanted_by="GradCheckOnce")
        if if_found not in ACTIONS:
            raise ValueError(
                f"if_found is one of {', '.join(map(repr, ACTIONS))}. Received "
                f"if_found={if_found!r}.{suggestion(str(if_found), ACTIONS)}"
            )
        if samples < 1:
            raise ValueError(f"samples is a number of at least 1. Received samples={samples!r}.")
        if isinstance(modules, str) and modules != "found":
            raise ValueError(
                "modules is a list of names of submodules, or 'found'. Received the string "
                f"{modules!r}. Pass [{modules!r}]."
            )
        self.missing, self.ignore, self.if_found = missing, tuple(ignore), if_found
        self.modules, self.functions, self.samples = modules, dict(functions or {}), samples
        self.leaks, self.inputs = leaks, inputs
        self._forget()

    def _forget(self) -> None:
        self._calls: Calls | None = None
        self._listens = bool(self.modules)
        self._leaks_due = self.leaks
        self._asked: set[int] = set()  # the optimizers that have been asked about their parameters

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin anew."""
        self._forget()

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Let go of the modules."""
        self._stop_listening()

    def _stop_listening(self) -> None:
        if self._calls is not None:
            self._calls.close()
            self._calls = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Check the functions that were named; see whether the modules are there."""
        if not isinstance(self.modules, str):
            known = [name for name, _ in pl_module.named_modules()]
            for name in self.modules:
                if name not in known:
                    raise ValueError(
                        f"modules names submodules of {type(pl_module).__name__}. Received "
                        f"{name!r}.{suggestion(name, known)}"
                    )
        check = _torch_side("numeric_gradients").check_function
        for function, inputs in self.functions.items():
            owner = getattr(function, "__self__", None)  # of MyFunction.apply
            named = owner if isinstance(owner, type) else function
            name = getattr(named, "__qualname__", repr(named))
            self._take(trainer, [check(name, function, inputs)])

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look for leaks in the first batch, and listen to what becomes of it."""
        if not (self._listens or self._leaks_due):
            return
        if not callable(getattr(pl_module, "named_modules", None)):
            return
        if self._leaks_due:
            self._leaks_due = False
            leak = _torch_side("sample_leaks").find_leak(pl_module, batch, self.inputs)
            if leak is not None:
                self._act(
                    trainer,
                    f"the output of sample {leak[0]} depends on sample {leak[1]} of the same "
                    "batch: look for a dimension that is taken for another one",
                )
        if self._listens:
            self._listens = False
            self._calls = _torch_side("custom_functions").Calls(pl_module)

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Any) -> None:
        """Check the modules that were named, or that call custom functions."""
        if self._calls is None:
            return
        calls = self._calls.close().noted
        self._calls = None
        if isinstance(self.modules, str):
            chosen = self._calling_custom_functions(calls, loss)
        else:
            chosen = [calls[name] for name in self.modules if name in calls]
        check = _torch_side("numeric_gradients").check_call
        verdicts = [
            check(call, samples=self.samples) for call in chosen if not self._ignored(call.name)
        ]
        self._take(trainer, verdicts)

    def _calling_custom_functions(self, calls: "dict[str, Call]", loss: Any) -> "list[Call]":
        finding = _torch_side("custom_functions")
        nodes = [
            node
            for node in finding.custom_nodes(loss)
            if not self._ignored(finding.function_of(node).__name__)
        ]
        chosen, outside = finding.innermost(calls, nodes)
        names = sorted({finding.function_of(node).__name__ for node in outside})
        if names:
            log.warning(
                "GradCheckOnce: %s is called outside of every module's forward, so what it is "
                "called with is not known. Name it: functions={%s: inputs}.",
                ", ".join(names),
                names[0],
            )
        return chosen  # type: ignore[no-any-return]

    def _ignored(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.ignore)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        """Look for missing gradients, if it is this optimizer's first step."""
        if not self.missing or id(optimizer) in self._asked:
            return
        self._asked.add(id(optimizer))
        named = getattr(pl_module, "named_parameters", None)
        held = {id(p) for group in getattr(optimizer, "param_groups", ()) for p in group["params"]}
        lacking = [
            name
            for name, parameter in (named() if named else ())
            if parameter.requires_grad
            and parameter.grad is None
            and (len(trainer.optimizers) == 1 or id(parameter) in held)
            and not self._ignored(name)
        ]
        if lacking:
            what = "a parameter that requires" if len(lacking) == 1 else "parameters that require"
            self._act(
                trainer,
                f"{what} a gradient received none: {', '.join(lacking)}. Use what it is for in "
                "training_step, freeze it by requires_grad_(False), or name it in ignore=",
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop listening; where there was no backward, because the batch was skipped, try again."""
        if self._calls is not None:
            self._stop_listening()
            self._listens = getattr(pl_module, "automatic_optimization", True)

    def _take(self, trainer: Trainer, verdicts: Sequence[Any]) -> None:
        for verdict in verdicts:
            if verdict.kind == "unknown":
                log.warning("GradCheckOnce: not checked: %s.", verdict.sentence)
        if wrong := [verdict.sentence for verdict in verdicts if verdict.kind == "wrong"]:
            self._act(trainer, f"the backward does not fit the forward in {'; '.join(wrong)}")

    def _act(self, trainer: Trainer, sentence: str) -> None:
        if self.if_found == "raise":
            raise ValueError(f"GradCheckOnce: {sentence}.")
        if self.if_found == "stop":
            trainer.stop(f"GradCheckOnce: {sentence}")
        else:
            log.warning("GradCheckOnce: %s.", sentence)


def _torch_side(module: str) -> Any:
    return extras.load(f"lt_callbacks.{module}", extra="gradients", wanted_by="GradCheckOnce")

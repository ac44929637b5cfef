"""GradientCheck: gradient norms by layer, and what to do when they are not as they should be."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from lt_callbacks import extras
from lt_callbacks.gradient_rule import Finding, GradientRule, Kind, total_norm
from lt_callbacks.spelling import suggestion
from lt_loop import Callback, Trainer

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("lt_callbacks")

Action = Literal["log", "warn", "stop", "raise"]
ACTIONS = ("log", "warn", "stop", "raise")
LOGGED = ("layers", "total", "nothing")

SKIPS_AT_MOST = 16
"""Steps that a loss scaler may skip in a row. Torch's starts at 2**16 and halves at each of
them: what still overflows then is not the scale's fault."""


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """The gradients that one optimizer is about to step with, measured and not yet read."""

    step: int
    names: list[str]
    norms: "Tensor"


@final
class GradientCheck(Callback):
    """Looks at the gradients of every n-th optimizer step, before they are clipped.

    It logs the 2-norm of each layer's gradient as ``grad_norm/<layer>`` and of all together as
    ``grad_norm_total``; a layer is a parameter, by its name in the module. It finds gradients that
    are not finite, that vanish and that explode, and names the layer: of several that are not
    finite the first that the backward pass met, which is the one to look at, because behind it NaN
    spreads to all. A NaN reaches every layer within a step or two of its origin, so to learn where
    it began, look at every step.

    The norms are computed on the device by one foreach operation for each optimizer, and read in
    one transfer after the step. The other steps cost about a microsecond. Norms are those of the
    gradients in their true scale. Of several optimizers each is asked about its own parameters.

    What is found is acted upon after the optimizer step, because only then it is known whether a
    loss scaler (``16-mixed``) skipped it. Gradients that overflow are the scaler's business:
    neither are their norms logged, nor are they judged, unless it skips 16 steps in a row.

    Each rank looks at its own gradients, which are the same on all of them where they are averaged
    (DDP).

    Args:
        every_n_steps: how often to look, in optimizer steps.
        if_non_finite: what to do about NaN or infinity: ``"log"`` no more than the norms,
            ``"warn"`` through logging, once for each layer until it recovers, ``"stop"`` the run
            at the next safe point, with the layer's name in the reason, or ``"raise"`` an error.
        if_vanishing: the same for norms below ``vanishing_below``.
        if_exploding: the same for norms above ``exploding_above``.
        vanishing_below: a norm; None not to look.
        exploding_above: a norm; None not to look.
        log_norms: of all ``"layers"`` and in total, in ``"total"`` alone, or ``"nothing"``.

    Raises:
        ModuleNotFoundError: torch is not installed.
        ValueError: an argument is out of its range.
    """

    def __init__(  # noqa: PLR0913 - three findings, each with its action
        self,
        every_n_steps: int = 50,
        *,
        if_non_finite: Action = "stop",
        if_vanishing: Action = "warn",
        if_exploding: Action = "warn",
        vanishing_below: float | None = 1e-7,
        exploding_above: float | None = 1e3,
        log_norms: Literal["layers", "total", "nothing"] = "layers",
    ) -> None:
        extras.check("gradients", wanted_by="GradientCheck")
        if every_n_steps < 1:
            raise ValueError(
                "every_n_steps is a number of optimizer steps of at least 1. "
                f"Received every_n_steps={every_n_steps}."
            )
        self.rule = GradientRule(vanishing_below=vanishing_below, exploding_above=exploding_above)
        self.actions: dict[Kind, Action] = {
            "non_finite": _one_of("if_non_finite", if_non_finite, ACTIONS),
            "vanishing": _one_of("if_vanishing", if_vanishing, ACTIONS),
            "exploding": _one_of("if_exploding", if_exploding, ACTIONS),
        }
        self.every_n_steps = every_n_steps
        self.log_norms = _one_of("log_norms", log_norms, LOGGED)
        self._forget()

    def _forget(self) -> None:
        self._samples: dict[int, Sample] = {}
        self._watched: dict[int, Any] = {}
        self._stepped: set[int] = set()
        self._stuck_at, self._skipped_before = -1, 0
        self._warned: dict[Kind, frozenset[str]] = {}

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin anew."""
        _measure()  # import it now, not an hour in
        self._forget()

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen to each optimizer: of several, a loss scaler may skip one and step another."""
        for optimizer in trainer.optimizers:
            if listen := getattr(optimizer, "register_step_post_hook", None):
                self._watched[id(optimizer)] = listen(self._note_step)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Let go of the optimizers."""
        for handle in self._watched.values():
            handle.remove()
        self._forget()

    def _note_step(self, optimizer: Any, *_: Any) -> None:
        self._stepped.add(id(optimizer))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        """Measure the gradients, if a check is due."""
        progress = trainer.progress
        if (progress.steps + progress.skipped_steps + 1) % self.every_n_steps:
            return
        measure = _measure()
        named = getattr(pl_module, "named_parameters", None)
        gradients = measure.held_gradients(list(named()) if named else [], optimizer)
        if gradients:
            norms = measure.norms(list(gradients.values()))
            # One that evaluates the loss several times, or steps several times, is here each time.
            self._samples[id(optimizer)] = Sample(progress.steps, list(gradients), norms)
            self._stepped.discard(id(optimizer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read what was measured, if anything was, and act upon it."""
        if self._samples:
            samples, self._samples = self._samples, {}
            self._read(trainer, samples)

    def _read(self, trainer: Trainer, samples: dict[int, Sample]) -> None:
        step, note = next(iter(samples.values())).step, ""
        advanced = trainer.progress.steps > step
        taken = [
            sample
            for key, sample in samples.items()
            if (key in self._stepped if key in self._watched else advanced)
        ]
        if not advanced:
            in_a_row = self._skips_in_a_row(step, trainer.progress.skipped_steps)
            if in_a_row < SKIPS_AT_MOST:
                return
            note = f" (a loss scaler has skipped {in_a_row} steps in a row)"
            taken = list(samples.values())
        norms: dict[str, float] = {}
        for sample in taken:
            norms.update(zip(sample.names, sample.norms.tolist(), strict=True))
        if advanced:
            self._log(trainer, norms)
        findings = self.rule.judge(norms)
        self._act(trainer, findings, f", at step {step}{note}")
        self._warned = {finding.kind: frozenset(finding.layers) for finding in findings}

    def _skips_in_a_row(self, step: int, skipped_steps: int) -> int:
        """Return how many times a step has been skipped, as far as samples show."""
        if self._stuck_at != step:
            self._stuck_at, self._skipped_before = step, skipped_steps - 1
        return skipped_steps - self._skipped_before

    def _log(self, trainer: Trainer, norms: dict[str, float]) -> None:
        if self.log_norms == "layers":
            for name, norm in norms.items():
                trainer.log(f"grad_norm/{name}", norm, on_step=True, on_epoch=False)
        if self.log_norms != "nothing":
            trainer.log("grad_norm_total", total_norm(norms), on_step=True, on_epoch=False)

    def _act(self, trainer: Trainer, findings: list[Finding], where: str) -> None:
        reasons = []
        for finding in findings:
            action, sentence = self.actions[finding.kind], finding.sentence + where
            known = self._warned.get(finding.kind, frozenset())
            if action == "raise":
                raise FloatingPointError(sentence)
            if action == "stop":
                reasons.append(sentence)
            elif action == "warn" and not known.issuperset(finding.layers):
                log.warning("GradientCheck: %s", sentence)
        if reasons:
            trainer.stop(reasons[0])


def _measure() -> Any:
    return extras.load("lt_callbacks.gradient_norms", extra="gradients", wanted_by="GradientCheck")


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    if value in allowed:
        return value
    raise ValueError(
        f"{name} is one of {', '.join(map(repr, allowed))}. Received {name}={value!r}."
        f"{suggestion(str(value), allowed)}"
    )

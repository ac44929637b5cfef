"""GradientCheck: gradient norms by layer, and what to do when they are not as they should be."""

import logging
from typing import TYPE_CHECKING, Any, Literal, final

from lt_callbacks import extras
from lt_callbacks.gradient_rule import Finding, GradientRule, Kind, total_norm
from lt_callbacks.spelling import suggestion
from lt_loop import Callback, Trainer

if TYPE_CHECKING:
    from lt_callbacks.gradient_sample import GradientSample
    from lt_callbacks.relu_watch import ReluWatch

log = logging.getLogger("lt_callbacks")

Action = Literal["log", "warn", "stop", "raise"]
ACTIONS = ("log", "warn", "stop", "raise")
LOGGED = ("layers", "total", "nothing")

SKIPS_AT_MOST = 16
"""Steps that a loss scaler may skip in a row. Torch's starts at 2**16 and halves at each of
them: what still overflows then is not the scale's fault."""


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

    On request, at the same steps: ``update_ratio/<layer>``, the 2-norm of a step's change of a
    parameter as a share of the parameter's (about 1e-3 is a healthy learning rate; the check keeps
    a copy of the parameters for the time of the step), and ``dead_relu/<module>``, the share of
    units of each ``nn.ReLU`` that put out zero for every sample of the step. Histograms of the
    gradients go to loggers whose ``experiment`` has ``add_histogram``, as TensorBoard's; a step
    that is drawn is looked at, too.

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
        if_dead: the same as ``if_vanishing``, for ReLUs with a share of dead units above
            ``dead_above``.
        dead_above: a share; None not to listen to ReLUs.
        log_update_ratios: whether to look at how much each step changes the parameters.
        histograms_every_n_steps: how often to draw histograms, in optimizer steps; None for never.

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
        if_dead: Action = "warn",
        dead_above: float | None = None,
        log_update_ratios: bool = False,
        histograms_every_n_steps: int | None = None,
    ) -> None:
        extras.check("gradients", wanted_by="GradientCheck")
        self.every_n_steps = _steps("every_n_steps", every_n_steps)
        self.histograms_every_n_steps = (
            None
            if histograms_every_n_steps is None
            else _steps("histograms_every_n_steps", histograms_every_n_steps)
        )
        self.rule = GradientRule(
            vanishing_below=vanishing_below, exploding_above=exploding_above, dead_above=dead_above
        )
        self.actions: dict[Kind, Action] = {
            "non_finite": _one_of("if_non_finite", if_non_finite, ACTIONS),
            "vanishing": _one_of("if_vanishing", if_vanishing, ACTIONS),
            "exploding": _one_of("if_exploding", if_exploding, ACTIONS),
            "dead": _one_of("if_dead", if_dead, ACTIONS),
        }
        self.log_norms = _one_of("log_norms", log_norms, LOGGED)
        self.log_update_ratios = log_update_ratios
        self._forget()

    def _forget(self) -> None:
        self._samples: dict[int, GradientSample] = {}
        self._watched: dict[int, Any] = {}
        self._stepped: set[int] = set()
        self._stuck_at, self._skipped_before = -1, 0
        self._warned: dict[Kind, frozenset[str]] = {}
        self._relus: ReluWatch | None = None
        self._has_drawn = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin anew."""
        _torch_side("gradient_sample")  # import it now, not an hour in
        self._forget()

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Listen to each optimizer: of several, a loss scaler may skip one and step another."""
        for optimizer in trainer.optimizers:
            if listen := getattr(optimizer, "register_step_post_hook", None):
                self._watched[id(optimizer)] = listen(self._note_step)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Let go of the optimizers and the ReLUs."""
        for handle in self._watched.values():
            handle.remove()
        if self._relus:
            self._relus.close()
        self._forget()

    def _note_step(self, optimizer: Any, *_: Any) -> None:
        self._stepped.add(id(optimizer))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Listen to the ReLUs, if a check is due and somebody asks about them."""
        if self.rule.dead_above is None or self._relus or _next(trainer) % self.every_n_steps:
            return
        if callable(getattr(pl_module, "named_modules", None)):
            self._relus = _torch_side("relu_watch").ReluWatch(pl_module)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        """Measure the gradients, if a check is due."""
        step, draw_every = _next(trainer), self.histograms_every_n_steps
        draws = draw_every is not None and step % draw_every == 0
        if step % self.every_n_steps and not draws:
            return
        named = getattr(pl_module, "named_parameters", None)
        held = _torch_side("gradient_norms").held_parameters
        if parameters := held(list(named()) if named else [], optimizer):
            # One that evaluates the loss several times, or steps several times, is here each time.
            self._samples[id(optimizer)] = _torch_side("gradient_sample").GradientSample.of(
                parameters,
                step=trainer.progress.steps,
                before=self._samples.get(id(optimizer)),
                keep_weights=self.log_update_ratios,
                keep_gradients=draws and trainer.is_global_zero,  # all ranks measure, one draws
            )
            self._stepped.discard(id(optimizer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read what was measured, if anything was, and act upon it."""
        if self._samples:
            samples, self._samples = self._samples, {}
            relus, self._relus = self._relus, None
            if relus:
                relus.close()
            self._read(trainer, samples, relus)

    def _read(
        self, trainer: Trainer, samples: "dict[int, GradientSample]", relus: "ReluWatch | None"
    ) -> None:
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
        ratios: dict[str, float] = {}
        for sample in taken:
            of_gradients, of_updates = sample.read()
            norms.update(of_gradients)
            ratios.update(of_updates)
            self._draw(trainer, sample, of_gradients)
        silence = _silence(relus)
        if advanced:
            self._log(trainer, norms, ratios, silence)
        findings = self.rule.judge(norms) + self.rule.judge_silence(silence)
        self._act(trainer, findings, f", at step {step}{note}")
        self._warned = {finding.kind: frozenset(finding.layers) for finding in findings}

    def _draw(self, trainer: Trainer, sample: "GradientSample", norms: dict[str, float]) -> None:
        """Hand histograms to the loggers that draw."""
        if sample.gradients is None:
            return
        boards = [getattr(logger, "experiment", None) for logger in trainer.loggers]
        drawing = [add for board in boards if (add := getattr(board, "add_histogram", None))]
        if not drawing and not self._has_drawn:
            log.warning(
                "GradientCheck: histograms_every_n_steps is for loggers that draw, such as "
                "TensorBoardLogger. There is none in this run."
            )
        self._has_drawn = True
        for name, gradient in sample.histograms(norms).items():
            for add in drawing:
                add(f"gradients/{name}", gradient, sample.step)

    def _skips_in_a_row(self, step: int, skipped_steps: int) -> int:
        """Return how many times a step has been skipped, as far as samples show."""
        if self._stuck_at != step:
            self._stuck_at, self._skipped_before = step, skipped_steps - 1
        return skipped_steps - self._skipped_before

    def _log(
        self,
        trainer: Trainer,
        norms: dict[str, float],
        ratios: dict[str, float],
        silence: dict[str, float],
    ) -> None:
        found = {f"update_ratio/{name}": ratio for name, ratio in ratios.items()}
        found |= {f"dead_relu/{name}": share for name, share in silence.items()}
        if self.log_norms == "layers":
            found |= {f"grad_norm/{name}": norm for name, norm in norms.items()}
        if self.log_norms != "nothing":
            found["grad_norm_total"] = total_norm(norms)
        for name, value in found.items():
            trainer.log(name, value, on_step=True, on_epoch=False)

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


def _next(trainer: Trainer) -> int:
    """Return the number of the step that comes next, skipped ones included."""
    progress = trainer.progress
    return progress.steps + progress.skipped_steps + 1


def _silence(relus: "ReluWatch | None") -> dict[str, float]:
    names, shares = relus.shares() if relus else ([], None)
    return {} if shares is None else dict(zip(names, shares.tolist(), strict=True))


def _torch_side(module: str) -> Any:
    return extras.load(f"lt_callbacks.{module}", extra="gradients", wanted_by="GradientCheck")


def _steps(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{name} is a number of optimizer steps of at least 1. Received {name}={value!r}."
        )
    return value


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    if value in allowed:
        return value
    raise ValueError(
        f"{name} is one of {', '.join(map(repr, allowed))}. Received {name}={value!r}."
        f"{suggestion(str(value), allowed)}"
    )

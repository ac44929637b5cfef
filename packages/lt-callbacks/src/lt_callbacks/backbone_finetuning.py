"""BackboneFinetuning: train the head first, then the backbone with a learning rate that rises."""

import logging
from collections.abc import Callable
from typing import Any, final

from lt_callbacks.finetuning import BaseFinetuning
from lt_loop import Trainer

log = logging.getLogger("lt_callbacks")


def multiplicative(epoch: int) -> float:
    """Return the factor of each epoch: the learning rate doubles."""
    return 2.0


@final
class BackboneFinetuning(BaseFinetuning):
    """Freezes ``module.backbone``, and trains it from some epoch on, at a learning rate of its own.

    That rate starts as a share of the rest's, and is multiplied at the start of each epoch, up to
    the rest's.

    Args:
        unfreeze_backbone_at_epoch: the index of the epoch from which on the backbone is trained.
        lambda_func: takes the index of the next epoch and returns the factor.
        backbone_initial_ratio_lr: the share with which the backbone's learning rate starts.
        backbone_initial_lr: the rate it starts with instead; None for the share.
        should_align: keep it from exceeding the rest's.
        initial_denom_lr: without meaning, as the rate is always given; it is Lightning's.
        train_bn: train batch normalization from the start, and with the backbone.
        verbose: log both learning rates at level INFO.
        rounding: to how many digits.

    Attributes:
        previous_backbone_lr: the backbone's learning rate in the last epoch; None before the first
            in which it is trained.

    Raises:
        ModuleNotFoundError: torch is not installed.
        ValueError: the epoch is negative.
    """

    def __init__(  # noqa: PLR0913 - Lightning's arguments
        self,
        unfreeze_backbone_at_epoch: int = 10,
        lambda_func: Callable[[int], float] = multiplicative,
        backbone_initial_ratio_lr: float = 10e-2,
        backbone_initial_lr: float | None = None,
        should_align: bool = True,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
        verbose: bool = False,
        rounding: int = 12,
    ) -> None:
        super().__init__()
        if unfreeze_backbone_at_epoch < 0:
            raise ValueError(
                "unfreeze_backbone_at_epoch is the index of an epoch, from 0. "
                f"Received {unfreeze_backbone_at_epoch}."
            )
        self.unfreeze_backbone_at_epoch = unfreeze_backbone_at_epoch
        self.lambda_func = lambda_func
        self.backbone_initial_ratio_lr = backbone_initial_ratio_lr
        self.backbone_initial_lr = backbone_initial_lr
        self.should_align, self.initial_denom_lr = should_align, initial_denom_lr
        self.train_bn, self.verbose, self.rounding = train_bn, verbose, rounding
        self.previous_backbone_lr: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what is frozen, the groups, and the backbone's learning rate."""
        return {**super().state_dict(), "previous_backbone_lr": self.previous_backbone_lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state."""
        super().load_state_dict(state_dict)
        self.previous_backbone_lr = state_dict["previous_backbone_lr"]

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin anew.

        Raises:
            AttributeError: the module has no backbone.
        """
        self.previous_backbone_lr = None
        if stage == "fit" and not hasattr(getattr(pl_module, "backbone", None), "parameters"):
            raise AttributeError(
                "BackboneFinetuning freezes the nn.Module self.backbone. Received "
                f"{type(pl_module).__name__} without one. Name it so, or subclass BaseFinetuning."
            )
        super().setup(trainer, pl_module, stage)

    def freeze_before_training(self, pl_module: Any) -> None:
        """Freeze the backbone."""
        self.freeze(pl_module.backbone, train_bn=self.train_bn)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        """Thaw the backbone, or raise its learning rate."""
        current = optimizer.param_groups[0]["lr"]
        if epoch == self.unfreeze_backbone_at_epoch:
            initial = self.backbone_initial_lr
            rate = current * self.backbone_initial_ratio_lr if initial is None else initial
            self.unfreeze_and_add_param_group(
                pl_module.backbone, optimizer, rate, self.initial_denom_lr, self.train_bn
            )
        elif epoch > self.unfreeze_backbone_at_epoch and self.previous_backbone_lr is not None:
            rate = self.lambda_func(epoch + 1) * self.previous_backbone_lr
            rate = current if self.should_align and rate > current else rate
            optimizer.param_groups[-1]["lr"] = rate
        else:
            return
        self.previous_backbone_lr = float(rate)
        if self.verbose:
            log.info(
                "Current lr: %s, Backbone lr: %s",
                round(float(current), self.rounding),
                round(float(rate), self.rounding),
            )

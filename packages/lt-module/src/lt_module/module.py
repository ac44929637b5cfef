"""LTModule: the research, in one class."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from lt_module.gathering import gathered, world_size
from lt_module.loading import (
    OnClass,
    constructed,
    device_of,
    hyperparameters_in,
    isolated_rng,
    load_weights,
    read,
)
from lt_module.step_hooks import StepHooks

T = TypeVar("T")


class LTModule(StepHooks, nn.Module):
    """An ``nn.Module`` with its data, its optimizer and its steps.

    Outside a run it is the plain module that it also is: ``log`` does nothing, the state dict has
    the keys it would have anyway, and it can be compiled, copied and pickled (without its trainer).

    A loop that runs it sets ``trainer``, which must have ``log``, ``place``, ``backward``,
    ``manual_backward``, ``clip_gradients``, ``optimizers``, ``stepped_optimizers``,
    ``lr_scheduler_configs``, ``current_epoch``, ``global_step``, ``global_rank``, ``local_rank``
    and ``loggers``.

    Attributes:
        automatic_optimization: whether the loop steps the optimizer. Set it to False in
            ``__init__`` to step ``self.optimizers()`` in ``training_step``.
        strict_loading: whether loading a state needs every key.
        example_input_array: an input that the module accepts, for summaries and graphs.
    """

    automatic_optimization: bool = True
    strict_loading: bool = True
    example_input_array: Any = None
    _trainer: Any = None

    @property
    def trainer(self) -> Any:
        """The trainer that runs this module.

        Raises:
            RuntimeError: there is none.
        """
        return self._running_trainer("trainer")

    @trainer.setter
    def trainer(self, trainer: Any) -> None:
        self.__dict__["_trainer"] = trainer
        for part in self.modules():
            if isinstance(part, LTModule):
                part.__dict__["_trainer"] = trainer

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled and copied: all but the trainer."""
        return {name: value for name, value in self.__dict__.items() if name != "_trainer"}

    @property
    def device(self) -> torch.device:
        """Where the first parameter or buffer is; the CPU for a module without any."""
        return next((tensor.device for tensor in self._tensors()), torch.device("cpu"))

    @property
    def on_gpu(self) -> bool:
        """Whether it is on a CUDA device."""
        return self.device.type == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first floating-point parameter or buffer; torch's default else."""
        floats = (tensor.dtype for tensor in self._tensors() if tensor.is_floating_point())
        return next(floats, torch.get_default_dtype())

    def _tensors(self) -> Iterator[Tensor]:
        yield from self.parameters()
        yield from self.buffers()

    @property
    def current_epoch(self) -> int:
        """The index of the epoch under way, 0 without a run."""
        return 0 if self._trainer is None else int(self._trainer.current_epoch)

    @property
    def global_step(self) -> int:
        """Optimizer steps taken, 0 without a run."""
        return 0 if self._trainer is None else int(self._trainer.global_step)

    @property
    def global_rank(self) -> int:
        """This process among all, 0 without a run."""
        return 0 if self._trainer is None else int(self._trainer.global_rank)

    @property
    def local_rank(self) -> int:
        """This process among those of its machine, 0 without a run."""
        return 0 if self._trainer is None else int(self._trainer.local_rank)

    @property
    def device_mesh(self) -> Any:
        """The devices this module is spread over, as torch's DeviceMesh; None for one."""
        return getattr(self._trainer, "device_mesh", None)

    @property
    def loggers(self) -> list[Any]:
        """The loggers of the run, none without one."""
        return [] if self._trainer is None else list(self._trainer.loggers)

    @property
    def logger(self) -> Any:
        """The first logger of the run, or None."""
        return next(iter(self.loggers), None)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print on rank 0 alone, above the progress bar where there is one."""
        if self.global_rank == 0:
            bar = getattr(self._trainer, "progress_bar_callback", None)
            write = getattr(bar, "print", print)
            write(*args, **kwargs)

    def log(  # noqa: PLR0913 - Lightning's flags
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Log a value; without a run, do nothing. It never waits for the device.

        A value on the CPU is read at once; one on an accelerator stays there, without its graph,
        until the loop turns what was logged into numbers.

        Args:
            name: what it is called; with both moments it becomes ``name_step`` and ``name_epoch``.
            value: a number, a tensor with one element, or a metric object as of torchmetrics, which
                the loop computes and resets at the end of the epoch.
            prog_bar: whether the progress bar shows it.
            logger: whether the loggers get it; None for yes.
            on_step: whether steps show it; None for yes in training steps.
            on_epoch: whether it is reduced over the epoch; None for yes elsewhere.
            reduce_fx: how: mean, sum, min, max, or a function of a list of floats.
            enable_graph: not served: a logged value has no graph.
            sync_dist: whether the epoch's value is reduced over ranks too.
            sync_dist_group: not served: all ranks take part.
            add_dataloader_idx: whether several loaders get ``/dataloader_idx_<n>`` appended.
            batch_size: samples the value stands for; None to look at the batch.
            metric_attribute: needs not be given: the loop keeps the metric object itself.
            rank_zero_only: whether other ranks log nothing.

        Raises:
            TypeError: the value is no number.
            ValueError: it has several elements, or a flag is not served.
        """
        trainer = self._trainer
        if trainer is None:
            return
        if enable_graph or sync_dist_group is not None:
            raise ValueError(
                "log takes neither enable_graph nor sync_dist_group. Received one of them for "
                f"{name!r}. Leave it out."
            )
        if isinstance(value, Tensor):
            value = _held(name, value)
        trainer.log(
            name,
            value,
            prog_bar,
            logger,
            on_step,
            on_epoch,
            reduce_fx,
            sync_dist,
            add_dataloader_idx,
            batch_size,
            rank_zero_only,
        )

    def log_dict(  # noqa: PLR0913 - Lightning's flags
        self,
        dictionary: Mapping[str, Any],
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Log several values with the same flags, those of :meth:`log`."""
        flags: dict[str, Any] = {
            "prog_bar": prog_bar,
            "logger": logger,
            "on_step": on_step,
            "on_epoch": on_epoch,
            "reduce_fx": reduce_fx,
            "enable_graph": enable_graph,
            "sync_dist": sync_dist,
            "sync_dist_group": sync_dist_group,
            "add_dataloader_idx": add_dataloader_idx,
            "batch_size": batch_size,
            "rank_zero_only": rank_zero_only,
        }
        collection: Any = dictionary
        if isinstance(collection, nn.Module):  # a MetricCollection: its metrics by their full names
            items: Any = collection.items
            dictionary = dict(items(keep_base=False, copy_state=False))
        for name, value in dictionary.items():
            self.log(name, value, **flags)

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """Return what all ranks pass, on every rank; all of them call it.

        A loss over the samples of all ranks takes ``sync_grads=True``. Before tensors are sent,
        ranks compare their shapes and dtypes, which costs each call one small message more. A rank
        that does not call it, as it has no batch, is waited for until ``hang_timeout``.

        Args:
            data: a tensor of shape ``(...)``, the same on every rank, or a dict, list or tuple of
                such. Numbers become tensors; anything else is returned as it is.
            group: a process group of torch; None for all ranks.
            sync_grads: whether gradients flow back to the ranks that the tensors came from, each
                the sum of those that the ranks have for it.

        Returns:
            Tensors of shape ``(world_size, ...)``; in a single process, of their own shape.

        Raises:
            RuntimeError: there are several ranks, and torch has no process group.
            ValueError: ranks differ in shapes, dtypes or structure; raised on all of them.
        """
        ranks = getattr(self._trainer, "world_size", 1)
        if ranks > 1 and world_size() == 1:
            raise RuntimeError(
                "all_gather talks over torch.distributed. Received a call in a world of "
                f"{ranks} that has no process group of torch. Use trainer.ports.world.gather."
            )
        return gathered(data, device=self.device, group=group, gradients=sync_grads)

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """Return the optimizer, or a list of several, to step in manual optimization.

        Args:
            use_pl_optimizer: whether stepping goes through the loop, which sees it then.
        """
        trainer = self._running_trainer("optimizers")
        found = list(trainer.stepped_optimizers if use_pl_optimizer else trainer.optimizers)
        return found[0] if len(found) == 1 else found

    def lr_schedulers(self) -> Any:
        """Return the learning-rate scheduler, a list of several, or None."""
        configs = self._running_trainer("lr_schedulers").lr_scheduler_configs
        found = [config.scheduler for config in configs]
        return (found[0] if len(found) == 1 else found) if found else None

    def manual_backward(self, loss: Tensor, **options: Any) -> None:
        """Add the gradients of a loss, in manual optimization, with the hooks around it.

        Args:
            loss: a scalar.
            **options: those of ``Tensor.backward``, as ``retain_graph``.
        """
        self._running_trainer("manual_backward").manual_backward(loss, **options)

    def toggle_optimizer(self, optimizer: Any) -> None:
        """Let only this optimizer's parameters require gradients, until :meth:`untoggle_optimizer`.

        Raises:
            RuntimeError: no trainer runs this module, or an optimizer is toggled already.
        """
        if "_toggled" in self.__dict__:
            raise RuntimeError(
                "One optimizer is toggled at a time. Received a second one. "
                "Call untoggle_optimizer first, or use toggled_optimizer(...) as a context."
            )
        everyone = self._running_trainer("toggle_optimizer").optimizers
        before = {p: p.requires_grad for one in everyone for p in _parameters(one)}
        own = {id(p) for p in _parameters(optimizer)}
        for parameter, required in before.items():
            parameter.requires_grad = required and id(parameter) in own
        self.__dict__["_toggled"] = before

    def untoggle_optimizer(self, optimizer: Any) -> None:
        """Undo :meth:`toggle_optimizer`."""
        for parameter, required in self.__dict__.pop("_toggled", {}).items():
            parameter.requires_grad = required

    @contextmanager
    def toggled_optimizer(self, optimizer: Any) -> Iterator[None]:
        """Toggle an optimizer inside a ``with`` block."""
        self.toggle_optimizer(optimizer)
        try:
            yield
        finally:
            self.untoggle_optimizer(optimizer)

    @OnClass
    def load_from_checkpoint(
        cls: type[T],  # noqa: N805 - a class method
        checkpoint_path: str | os.PathLike[str],
        map_location: Any = None,
        hparams_file: str | os.PathLike[str] | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> T:
        """Make a module of a checkpoint: its hyper-parameters, its weights.

        It needs a package that reads checkpoints, as lt-checkpoint, which also reads Lightning's
        ``.ckpt`` files. Random generators are left as they were.

        Args:
            checkpoint_path: a path or a URL.
            map_location: the device the module is moved to; None for the one it is made on.
            hparams_file: take the hyper-parameters from this file (``.yaml``, ``.json``, ``.csv``)
                instead.
            strict: whether every weight must be in both; None for ``strict_loading`` of the
                module. If not, a warning names what is missing.
            weights_only: Lightning's word for not unpickling. Nothing to say here.
            **kwargs: hyper-parameters that come before those in the checkpoint.

        Raises:
            LookupError: there is no whole checkpoint, or nothing that reads it.
            TypeError: the constructor needs an argument that was not saved.
            RuntimeError: the weights do not fit.
        """
        device, found = device_of(map_location), read(checkpoint_path)
        saved = found.get("hyper_parameters", {})
        if hparams_file is not None:
            saved = found["hyper_parameters"] = hyperparameters_in(hparams_file)
        with isolated_rng():
            module: Any = constructed(cls, saved, kwargs)
            module.configure_model()
            module.on_load_checkpoint(found)
            every = module.strict_loading if strict is None else strict
            load_weights(module, found["state_dict"], strict=every, path=str(checkpoint_path))
        loaded: T = module if device is None else module.to(device)
        return loaded

    def freeze(self) -> Self:
        """Let no parameter require a gradient, and evaluate; return the module."""
        return self.requires_grad_(False).eval()

    def unfreeze(self) -> Self:
        """Let every parameter require a gradient, and train; return the module."""
        return self.requires_grad_(True).train()


def _held(name: str, value: Tensor) -> Any:
    """Return a logged tensor as a number, or on its device without graph and storage."""
    if value.numel() != 1:
        raise ValueError(
            f"A logged tensor has one element. Received log({name!r}, ...) with shape "
            f"{tuple(value.shape)}. Reduce it, for example with .mean()."
        )
    return value.item() if value.is_cpu else value.detach().clone()


def _parameters(optimizer: Any) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]

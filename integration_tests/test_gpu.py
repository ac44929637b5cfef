"""Whole runs on a GPU, each beside the loop that it replaces; some of them on a CPU too."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lt
import lt_checkpoint
from lt_accel import DDP, FSDP
from lt_data import TorchFeed

pytestmark = pytest.mark.timeout(180)

EPOCHS, BATCHES, SIZE = 2, 8, 16
GPU = pytest.param("cuda", marks=pytest.mark.gpu)
PRECISIONS: dict[str, dict[str, Any]] = {
    "32-true": {},
    "64-true": {"dtype": torch.float64},
    "bf16-mixed": {"autocast": torch.bfloat16},
    "16-mixed": {"autocast": torch.float16},
    "bf16-true": {"dtype": torch.bfloat16},
    "16-true": {"dtype": torch.float16},
}


def data(*, shuffle: bool = True) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCHES * SIZE, 12, generator=generator)
    y = x.square().sum(1, keepdim=True) / 12
    pinned = torch.cuda.is_available()
    return DataLoader(TensorDataset(x, y), SIZE, shuffle=shuffle, pin_memory=pinned)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 32), nn.LayerNorm(32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, 1)
    )


def optimizer_of(module: nn.Module, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=0.01, eps=1e-4, **options)


class Model(lt.LTModule):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.net, self.options = network(), options

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.net(batch[0])

    def configure_optimizers(self) -> Any:
        return optimizer_of(self, **self.options)


class Kept(lt.Callback):
    """Keeps what was logged at each step."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []

    def on_log(self, metrics: Any, step: int) -> None:
        if value := metrics.get("loss_step"):
            self.seen.append((step, value))


def trainer(device: str, **words: Any) -> lt.Trainer:
    # The loop by hand shuffles as torch does, from its global generator.
    defaults = {"max_epochs": EPOCHS, "devices": 1, "feed": TorchFeed(order="torch")}
    defaults |= {"logger": False, "enable_progress_bar": False}
    return lt.Trainer(accelerator=device, **{**defaults, **words})


def by_hand(
    device: str, dtype: torch.dtype = torch.float32, autocast: torch.dtype | None = None
) -> tuple[nn.Module, list[float]]:
    """Return the trained network, and the losses of the steps that were taken."""
    net = network().to(device, dtype)
    optimizer = optimizer_of(net)
    scaler = torch.amp.GradScaler(device, enabled=autocast is torch.float16)
    losses = []
    batches = data()
    torch.manual_seed(2)
    for _ in range(EPOCHS):
        for x, y in batches:
            with torch.autocast(device, dtype=autocast, enabled=autocast is not None):
                loss = nn.functional.mse_loss(net(x.to(device, dtype)), y.to(device, dtype))
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            scaler.step(optimizer)
            scale = scaler.get_scale()
            scaler.update()
            if scaler.get_scale() >= scale:
                losses.append(loss.detach())
    return net, [float(loss) for loss in losses]


def assert_same_bits(module: nn.Module, expected: nn.Module) -> None:
    for name, weight in expected.state_dict().items():
        assert torch.equal(module.state_dict()[name].to(weight.device), weight), name


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_equals_the_loop_written_by_hand(device: str, precision: str) -> None:
    expected, losses = by_hand(device, **PRECISIONS[precision])
    model, batches, kept = Model(), data(), Kept()
    held_out = list(data(shuffle=False))  # a DataLoader draws a seed whenever it is read
    torch.manual_seed(2)
    trainer(
        device,
        precision=precision,
        gradient_clip_val=0.5,
        callbacks=[kept],
        log_every_n_steps=1,
    ).fit(model, batches, held_out)
    assert_same_bits(model.net, expected)
    assert kept.seen == list(enumerate(losses))


class NoWaiting(lt.Callback):
    """Lets torch refuse whatever waits for the GPU within an epoch, after its first step."""

    def on_train_batch_end(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def on_validation_start(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")

    on_train_epoch_end = on_exception = on_validation_start  # type: ignore[assignment]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")
def test_no_step_waits_for_the_gpu(precision: str, accumulate: int) -> None:
    try:
        trainer(
            "cuda",
            precision=precision,
            accumulate_grad_batches=accumulate,
            gradient_clip_val=0.5,
            callbacks=[NoWaiting()],
            log_every_n_steps=1000,
        ).fit(Model(), data(), list(data(shuffle=False)))
    finally:
        torch.cuda.set_sync_debug_mode("default")


class StopsAt(lt.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.stop("enough")


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_it_goes_on_in_the_midst_of_an_epoch(device: str, tmp_path: Path) -> None:
    def run(**words: Any) -> Model:
        lt.seed_everything(3)
        model = Model()
        path = words.pop("ckpt_path", None)
        one = trainer(device, feed=TorchFeed(), **words)
        one.fit(model, data(), ckpt_path=path)
        if path is None and words:
            one.save_checkpoint(tmp_path / "half.ckpt")
        return model

    expected = run()
    run(callbacks=[StopsAt(BATCHES + 3)])
    again = run(ckpt_path=tmp_path / "half.ckpt")
    assert_same_bits(again.net, expected.net)


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_saved_while_it_is_trained(device: str, tmp_path: Path) -> None:
    """What an asynchronous save holds are the weights of its step, not those of a later one."""
    seen: dict[int, Tensor] = {}

    class Watching(lt.Callback):
        def on_safe_point(self, trainer: Any, pl_module: Any) -> None:
            seen[trainer.global_step] = pl_module.net[0].weight.detach().cpu().clone()

    saving = lt_checkpoint.ModelCheckpoint(
        tmp_path, every_n_train_steps=1, save_top_k=-1, asynchronous=True, filename="{step}"
    )
    trainer(device, callbacks=[Watching(), saving], enable_checkpointing=True).fit(Model(), data())
    steps = 0
    for path in tmp_path.glob("*.ckpt"):
        state = lt_checkpoint.load(path)
        assert torch.equal(state["state_dict"]["net.0.weight"], seen[state["global_step"]])
        steps += 1
    assert steps == EPOCHS * BATCHES


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize(
    "word",
    [True, {"cuda_graph": True}, {"cuda_graph": True, "mode": "default"}],
    ids=["compiled", "recorded", "both"],
)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
# torch's own tracer looks at the loss that crosses from one graph to the next.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_and_recorded_runs_learn_the_same(word: Any, precision: str) -> None:
    def run(word: Any) -> tuple[Model, Kept, Any]:
        torch._dynamo.reset()
        model, kept = Model(capturable=True), Kept()
        model.net[3].p = 0.0  # compiled code draws other numbers
        torch.manual_seed(2)
        one = trainer(
            "cuda", compile=word, precision=precision, callbacks=[kept], log_every_n_steps=1
        )
        one.fit(model, data(), list(data(shuffle=False)))
        return model, kept, one.callback_metrics

    expected, losses, metrics = run(False)
    model, found, found_metrics = run(word)
    close = {"rtol": 2e-2, "atol": 2e-3} if precision == "bf16-mixed" else {}
    assert [step for step, _ in found.seen] == [step for step, _ in losses.seen]
    torch.testing.assert_close(
        [loss for _, loss in found.seen], [loss for _, loss in losses.seen], **close
    )
    torch.testing.assert_close(
        {name: float(value) for name, value in found_metrics.items()},
        {name: float(value) for name, value in metrics.items()},
        **close,
    )
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), **close)


@pytest.mark.gpu
def test_a_recorded_run_draws_new_numbers_at_each_step() -> None:
    """Dropout is recorded as a kernel, not as the mask that it drew."""

    class Masks(lt.LTModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            mask = nn.functional.dropout(torch.ones_like(batch), 0.5)
            self.log("loss", mask.mean(), on_step=True, on_epoch=True)
            return self.layer(mask).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    kept = Kept()
    words = {"compile": {"cuda_graph": True}, "callbacks": [kept], "log_every_n_steps": 1}
    trainer("cuda", max_epochs=1, **words).fit(Masks(), [torch.ones(10_000, 1)] * 10)
    assert len({value for _, value in kept.seen}) == 10


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_evaluation_and_prediction(device: str) -> None:
    model, batches = Model(), data(shuffle=False)
    one = trainer(device)
    (found,) = one.validate(model, batches)
    predicted = one.predict(model, batches)
    net = network().eval().to(device)
    with torch.no_grad():
        expected = [net(x.to(device)) for x, _ in batches]
        losses = [nn.functional.mse_loss(net(x.to(device)), y.to(device)) for x, y in batches]
    assert all(
        torch.equal(one, other.cpu()) for one, other in zip(predicted, expected, strict=True)
    )
    assert found["val_loss"] == pytest.approx(float(sum(losses)) / len(losses), rel=1e-6)


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_steps_that_are_not_finite_are_left_out(device: str, precision: str) -> None:
    class Broken(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            return loss * torch.nan if batch_idx == 3 else loss

    one = trainer(device, precision=precision, on_nonfinite="skip")
    model = Broken()
    result = one.fit(model, data())
    assert result.progress.skipped_steps >= EPOCHS
    assert result.progress.steps + result.progress.skipped_steps == EPOCHS * BATCHES
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", [DDP, FSDP])
def test_one_rank_over_nccl(strategy: Any) -> None:
    """In a process of its own, as this one may have used CUDA, which can't be forked."""
    lt.seed_everything(0)
    expected = Model().double()
    expected.net[3].p = 0.0
    net, optimizer = expected.net, optimizer_of(expected)
    for _ in range(EPOCHS):
        for x, y in data(shuffle=False):
            loss = nn.functional.mse_loss(net(x.double()), y.double())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    model = Model()
    model.net[3].p = 0.0
    trainer("cuda", strategy=strategy(start_method="spawn"), precision="64-true").fit(
        model, list(data(shuffle=False))
    )
    torch.testing.assert_close(
        {name: value.cpu() for name, value in model.net.state_dict().items()},
        net.state_dict(),
        rtol=1e-9,
        atol=1e-12,
    )

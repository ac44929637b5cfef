"""Files as users of Lightning have them run through lt, and compute what plain PyTorch computes.

Each file in user_files/ is one for Lightning 2, but for its imports: with those put back it runs
there. Its oracle is the loop that it saves its author from writing.
"""

import csv
import importlib.util
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import ExponentialLR, LinearLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset, random_split

import lt
from lt_data import TorchFeed

Row = dict[str, float]


@pytest.fixture(autouse=True)
def _in_torchs_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files shuffle as the loops by hand do, from torch's global generator."""
    monkeypatch.setitem(TorchFeed.__init__.__kwdefaults__, "order", "torch")


def user_file(name: str) -> ModuleType:
    path = Path(__file__).parent / "user_files" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"user_files.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_same_weights(module: nn.Module, *parts: nn.Module) -> None:
    """Buffers too; the parts come in the order in which the module has them."""
    expected = [tensor for part in parts for tensor in part.state_dict().values()]
    for (name, tensor), other in zip(module.state_dict().items(), expected, strict=True):
        assert torch.equal(tensor, other), name


def logged_rows(folder: Path) -> list[Row]:
    (file,) = folder.rglob("metrics.csv")
    with file.open(newline="") as lines:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(lines)]


def mean(values: Iterable[tuple[float, int]]) -> float:
    """Weighted by the size of the batches."""
    values = list(values)
    return sum(value * size for value, size in values) / sum(size for _, size in values)


def minimize(optimizer: torch.optim.Optimizer, loss: Tensor, *, clip: float | None = None) -> None:
    optimizer.zero_grad()
    loss.backward()
    if clip is not None:
        clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], clip)
    optimizer.step()


def accuracy(logits: Tensor, y: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == y).float().mean()


def test_an_autoencoder_with_a_plateau_and_early_stopping() -> None:
    file = user_file("autoencoder")
    model, curves, embeddings = file.main()

    torch.manual_seed(42)
    train, val = random_split(file.blobs(), [96, 32])
    train_loader = DataLoader(train, batch_size=16, shuffle=True)
    val_loader = DataLoader(val, batch_size=20)
    encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))
    decoder = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 64))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=0.02)
    plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    epochs, lrs, best, waited = [], [], float("inf"), 0

    def reconstruction_loss(x: Tensor, noise: float = 0.0) -> Tensor:
        x = x.flatten(1)
        noisy = x + noise * torch.randn_like(x) if noise else x
        return nn.functional.mse_loss(decoder(encoder(noisy)), x)

    while waited < 2:
        lrs.append(optimizer.param_groups[0]["lr"])
        losses = []
        for (x,) in train_loader:
            loss = reconstruction_loss(x, noise=0.1)
            minimize(optimizer, loss, clip=0.5)
            losses.append((loss.item(), len(x)))
        with torch.no_grad():
            val_loss = mean((reconstruction_loss(x).item(), len(x)) for (x,) in val_loader)
        plateau.step(val_loss)
        improved = val_loss < best - 0.002
        best, waited = (val_loss, 0) if improved else (best, waited + 1)
        epochs.append(
            {
                "train_loss": mean(losses),
                "train_loss_step": loss.item(),
                "train_loss_epoch": mean(losses),
                "val_loss": val_loss,
            }
        )

    assert_same_weights(model, encoder, decoder)
    assert curves.epochs == epochs
    assert curves.lrs == lrs
    assert len(set(lrs)) > 1, "the plateau is seen before the run is stopped"
    with torch.no_grad():
        expected = torch.cat([encoder(x.flatten(1)) for (x,) in val_loader])
    assert torch.equal(embeddings, expected)


def test_a_gan_in_manual_optimization(tmp_path: Path) -> None:
    file = user_file("gan")
    model, trainer = file.main(tmp_path)

    torch.manual_seed(7)
    generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    discriminator = nn.Sequential(
        nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Dropout(0.1), nn.Linear(16, 1)
    )
    optimizer_g, optimizer_d = (
        torch.optim.Adam(net.parameters(), lr=0.01, betas=(0.5, 0.999))
        for net in (generator, discriminator)
    )
    schedules = [ExponentialLR(optimizer, gamma=0.9) for optimizer in (optimizer_g, optimizer_d)]
    bce = nn.functional.binary_cross_entropy_with_logits
    rows, steps = [], 0
    for epoch in range(4):
        for index, (points,) in enumerate(DataLoader(file.circle(), batch_size=20, shuffle=True)):
            row, one, zero = {"epoch": epoch, "step": steps}, torch.ones(20, 1), torch.zeros(20, 1)
            z = torch.randn(20, 4)
            if index % 2 == 0:
                g_loss = bce(discriminator(generator(z)), one)
                minimize(optimizer_g, g_loss)
                row["g_loss"] = g_loss.item()
            real = bce(discriminator(points), one)
            fake = bce(discriminator(generator(z).detach()), zero)
            d_loss = (real + fake) / 2
            minimize(optimizer_d, d_loss, clip=0.1)
            row |= {"d_loss": d_loss.item(), "d_loss/real": real.item(), "d_loss/fake": fake.item()}
            rows.append(row)
            steps += 1
        for schedule in schedules:
            schedule.step()
        lr = schedules[0].get_last_lr()[0]
        rows.append({"epoch": epoch, "step": steps - 1, "lr_g": lr})

    assert_same_weights(model, generator, discriminator)
    assert logged_rows(tmp_path) == rows
    assert trainer.global_step == steps, "in Lightning: those of both optimizers added up"


def test_a_frozen_backbone_that_is_released_later() -> None:
    file = user_file("finetuning")
    model, watch = file.main()

    torch.manual_seed(3)
    backbone = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.25))
    head = nn.Linear(12, 3)
    backbone.requires_grad_(False).eval()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9)
    train_loader = DataLoader(file.three_classes(0), batch_size=12, shuffle=True)
    val_loader = DataLoader(file.three_classes(1), batch_size=25)
    losses, accuracies = [], []
    for epoch in range(4):
        if epoch == 2:
            backbone.requires_grad_(True).train()
            optimizer.add_param_group({"params": backbone.parameters(), "lr": 0.01})
        for x, y in train_loader:
            loss = nn.functional.cross_entropy(head(backbone(x)), y)
            minimize(optimizer, loss, clip=1.0)
            losses.append(loss.item())
        training = backbone.training
        backbone.eval()
        with torch.no_grad():
            accuracies.append(
                mean((accuracy(head(backbone(x)), y).item(), len(x)) for x, y in val_loader)
            )
        backbone.train(training)

    assert_same_weights(model, backbone, head)
    assert watch.losses == losses
    assert watch.accuracies == accuracies
    assert watch.backbone_trains == [False, False, True, True]


def test_several_loaders_of_validation_test_and_prediction() -> None:
    file = user_file("multi_loader")
    model, validated, tested, predicted = file.main()

    def scores(loaders: list[Any], *, batches: int | None = None) -> Iterator[tuple[float, float]]:
        """Loss, accuracy, and accuracy as an unweighted mean over batches, loader by loader."""
        for loader in loaders:
            with torch.no_grad():
                seen = [(net(x), y) for x, y in list(loader)[:batches]]
            accuracies = [(accuracy(logits, y).item(), len(y)) for logits, y in seen]
            yield (
                mean((nn.functional.cross_entropy(logits, y).item(), len(y)) for logits, y in seen),
                mean(accuracies),
                torch.tensor([value for value, _ in accuracies]).mean().item(),
            )

    torch.manual_seed(11)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    plateau = ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=0.02)
    train_loader, val_loaders = (
        DataLoader(file.domain(0, samples=64), batch_size=16, shuffle=True),
        file.loaders(seed=1),
    )
    for _ in range(5):
        for x, y in train_loader:
            minimize(optimizer, nn.functional.cross_entropy(net(x), y))
        photos, sketches = scores(val_loaders, batches=2)
        plateau.step(sketches[0])

    assert plateau.get_last_lr()[0] < 0.5, "the plateau of the second loader is seen"
    assert_same_weights(model, net)
    assert validated == {
        "val_loss/dataloader_idx_0": photos[0],
        "val_loss/dataloader_idx_1": sketches[0],
        "val_acc/photos": photos[1],
        "val_acc/sketches": sketches[1],
        "val_acc/worst": min(photos[2], sketches[2]),
    }
    photos, sketches = scores(file.loaders(seed=3))
    worst = {"test_acc/worst": min(photos[2], sketches[2])}
    assert tested == [
        {"test_loss/dataloader_idx_0": photos[0], "test_acc/photos": photos[1], **worst},
        {"test_loss/dataloader_idx_1": sketches[0], "test_acc/sketches": sketches[1], **worst},
    ]
    for batches, loader in zip(predicted, file.loaders(seed=5), strict=True):
        for probabilities, (x, _) in zip(batches, loader, strict=True):
            assert torch.equal(probabilities, net(x).softmax(dim=1))


def test_an_optimizer_that_evaluates_the_loss_itself() -> None:
    file = user_file("lbfgs")
    model, trainer, losses = file.main()

    torch.manual_seed(5)
    linear = nn.Linear(5, 3)
    optimizer = torch.optim.LBFGS(
        linear.parameters(), lr=0.5, max_iter=5, line_search_fn="strong_wolfe"
    )
    evaluated, first_losses = [], []
    for _ in range(3):
        for x, y in file.irises():

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad()
                loss = (
                    nn.functional.cross_entropy(linear(x), y) + 0.01 * linear.weight.square().sum()
                )
                loss.backward()
                evaluated.append(loss.item())
                return loss

            first_losses.append(optimizer.step(closure).item())
    with torch.no_grad():
        val_loss = mean(
            (nn.functional.cross_entropy(linear(x), y).item(), len(x)) for x, y in file.irises()
        )

    assert_same_weights(model, linear)
    assert model.evaluations == len(evaluated) > len(losses)
    assert losses == first_losses, "in Lightning: the loss of the last evaluation"
    assert trainer.callback_metrics == {
        "train_loss": evaluated[-1],
        "val_loss": val_loss,
        "val_evals": len(evaluated),
    }
    assert trainer.global_step == 6


def test_a_step_whose_parts_are_taken_over() -> None:
    file = user_file("custom_optimizer_step")
    model, trainer = file.warm_up()

    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
    (group,) = optimizer.param_groups
    loader, calls = file.samples(), []
    for epoch in range(3):
        for index, (x, y) in enumerate(loader):
            if index % 3 == 0:
                optimizer.zero_grad()
            (nn.functional.mse_loss(net(x), y) / 3).backward()
            if index % 3 == 2:
                if len(calls) < 6:
                    group["lr"] = (len(calls) + 1) / 6 * 0.1
                for layer in (net[0], net[3]):
                    clip_grad_norm_(layer.parameters(), 0.2)
                optimizer.step()
                calls.append((epoch, index, group["lr"]))
        if len(calls) >= 6:
            group["lr"] *= 0.5

    assert_same_weights(model, net)
    assert model.calls == calls
    assert trainer.global_step == len(calls) == 12


def test_an_optimizer_step_that_leaves_out_steps() -> None:
    file = user_file("custom_optimizer_step")
    model, trainer = file.every_second()

    torch.manual_seed(2)
    layer = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    loader = file.samples()
    for _ in range(3):
        for x, y in list(loader)[::2]:
            minimize(optimizer, nn.functional.mse_loss(layer(x), y))

    assert_same_weights(model, layer)
    assert model.batches == [*range(12)] * 3
    assert trainer.global_step == 18, "in Lightning 36: a step for each call of optimizer_step"


AROUND_A_BATCH = (
    "on_train_batch_start",
    "optimizer_step",
    "training_step",
    "on_before_zero_grad",
    "optimizer_zero_grad",
    "on_before_backward",
    "backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "configure_gradient_clipping",
    "on_train_batch_end",
)


def test_values_from_every_hook_that_may_log(tmp_path: Path) -> None:
    """Each hook logs the number of values before it, so that their order shows too."""
    file = user_file("log_everywhere")
    model, trainer, fitted, tested = file.main(tmp_path)

    tick = count(1)
    torch.manual_seed(1)
    layer = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rows: list[Row] = []
    newest: Row = {}

    def log(row: Row) -> None:
        rows.append(row)
        newest.update({k: v for k, v in row.items() if k not in ("epoch", "step")})

    def trained(epoch: int) -> Row:
        """Train an epoch and return its means."""
        values: dict[str, list[tuple[float, int]]] = {}
        for x, y in file.samples():
            ticks = {name: float(next(tick)) for name in AROUND_A_BATCH}
            loss = nn.functional.mse_loss(layer(x), y)
            optimizer.zero_grad()
            loss.backward()
            norm = torch.stack([p.grad.norm() for p in layer.parameters()]).norm()
            clip_grad_norm_(layer.parameters(), 1.0)
            optimizer.step()
            both = ticks | {"callback/loss_squared": (loss**2).item()}
            for name, value in both.items():
                values.setdefault(name, []).append((value, len(x)))
            at_step = {f"{name}_step": value for name, value in both.items()}
            alone = {"loss": loss.item(), "grad_norm": norm.item()}
            log({"epoch": epoch, "step": steps[-1], **at_step, **alone})
            steps.append(steps[-1] + 1)
        return {name: mean(value) for name, value in values.items()}

    def validated(epoch: int, sizes: tuple[int, ...]) -> None:
        """Validate on batches of these sizes."""
        row: Row = {"on_validation_start": next(tick), "on_validation_epoch_start": next(tick)}
        starts, at_steps = [], []
        for index, size in enumerate(sizes):
            starts.append((next(tick), size))
            at_steps.append((next(tick), size))
            row["on_validation_batch_end"] = next(tick)
            at = {"epoch": epoch, "step": 3 * epoch + index}
            log({**at, "validation_step_step": at_steps[-1][0]})
        row["on_validation_batch_start"] = mean(starts)
        row["validation_step_epoch"] = newest["validation_step"] = mean(at_steps)
        row["on_validation_epoch_end"] = next(tick)
        log({"epoch": epoch, "step": steps[-1] - 1, **row})

    steps = [0]
    validated(epoch=0, sizes=(4, 4))
    newest.clear()  # the sanity check leaves nothing but what callbacks log directly
    rows[:] = [{"callback/direct": 1.0, "step": 0}]
    at_start = {"on_train_start": next(tick)}
    for epoch in range(2):
        start, at_start = {**at_start, "on_train_epoch_start": next(tick)}, {}
        means = trained(epoch)
        validated(epoch, sizes=(4, 4, 2))
        rows.append({"callback/direct": 1.0, "step": steps[-1]})
        newest.update(means)
        means = {f"{name}_epoch": value for name, value in means.items()}
        end = {"on_train_epoch_end": next(tick), "callback/epoch": epoch}
        log({"epoch": epoch, "step": steps[-1] - 1, **means, **start, **end})

    assert fitted == newest
    table: Row = {"on_test_start": next(tick), "on_test_epoch_start": next(tick)}
    ticks = [(next(tick), next(tick), next(tick)) for _ in range(3)]
    table["on_test_batch_start"] = sum(start for start, _, _ in ticks)
    table["test_step"] = sum(step for _, step, _ in ticks) / 3
    table["on_test_batch_end"] = min(end for _, _, end in ticks)
    table["on_test_epoch_end"] = next(tick)
    rows.append({"epoch": 2, "step": 6, **table})
    assert tested == table
    assert logged_rows(tmp_path) == rows
    assert model.logged == next(tick) - 1
    assert trainer.callback_metrics == table
    assert_same_weights(model, layer)


def test_a_datamodule_from_stage_to_stage(tmp_path: Path) -> None:
    file = user_file("staged_datamodule")
    model, houses, metrics, predicted = file.main(tmp_path)

    data = {split: torch.load(tmp_path / f"{split}.pt") for split in ("train", "test")}
    pairs = list(zip(data["train"]["x"], data["train"]["y"], strict=True))
    train, val = random_split(pairs, [64, 16], torch.Generator().manual_seed(42))
    x, y = (torch.stack(part) for part in zip(*train, strict=True))
    statistics = x.mean(0), x.std(0), y.mean(0), y.std(0)

    def standardized(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x_mean, x_std, y_mean, y_std = statistics
        return (x - x_mean) / x_std, (y - y_mean) / y_std

    torch.manual_seed(9)
    layer = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    train_loader, val_loader = DataLoader(train, batch_size=16, shuffle=True), DataLoader(val, 16)
    for _ in range(3):
        for batch in train_loader:
            x, y = standardized(*batch)
            minimize(optimizer, nn.functional.l1_loss(layer(x), y))
        iter(val_loader)  # draws a number, as validation does
    with torch.no_grad():
        (x, y) = standardized(*next(iter(val_loader)))
        val_loss = nn.functional.l1_loss(layer(x), y).item()
        test = [
            standardized(*batch)
            for batch in zip(data["test"]["x"].split(16), data["test"]["y"].split(16), strict=True)
        ]
        test_loss = mean((nn.functional.l1_loss(layer(x), y).item(), len(x)) for x, y in test)

    assert_same_weights(model, layer)
    assert metrics == {"val_loss": val_loss, "test_loss": test_loss}
    assert torch.equal(torch.cat(predicted), torch.cat([layer(x) for x, _ in test]))
    assert houses.history == [
        *("prepare_data", "download train.pt", "download test.pt"),
        *(("setup", "fit"), "val_dataloader", "train_dataloader", ("teardown", "fit")),
        *("prepare_data", ("setup", "validate"), "val_dataloader", ("teardown", "validate")),
        *("prepare_data", ("setup", "test"), "test_dataloader", ("teardown", "test")),
        *("prepare_data", ("setup", "predict"), "predict_dataloader", ("teardown", "predict")),
    ]


def test_a_stream_without_a_length() -> None:
    file = user_file("stream")
    model, trainer, progress = file.main()

    torch.manual_seed(4)
    embedding, gru = nn.Embedding(8, 16), nn.GRU(16, 16, batch_first=True)
    head = nn.Linear(16, 8)
    weights = [*embedding.parameters(), *gru.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=0.02)
    schedule = LinearLR(optimizer, 1.0, 0.1, total_iters=10)
    train_loader, val_loader = (
        DataLoader(file.Sentences(seed=0, sentences=70), batch_size=10),
        DataLoader(file.Sentences(seed=1, sentences=40), batch_size=16),
    )

    def loss_of(tokens: Tensor) -> Tensor:
        states, _ = gru(embedding(tokens[:, :-1]))
        return nn.functional.cross_entropy(head(states).flatten(0, 1), tokens[:, 1:].flatten())

    batches = steps = epoch = 0
    validations: list[tuple[int, int, float]] = []
    while steps < 10:
        losses = []
        for window in windows_of_two(train_loader):
            optimizer.zero_grad()
            for place, tokens in enumerate(window, 1):
                loss = loss_of(tokens)
                (loss / len(window)).backward()
                losses.append((loss.item(), len(tokens)))
                batches += 1
                if place == len(window):
                    optimizer.step()
                    schedule.step()
                    steps += 1
                if batches % 4 == 0:
                    with torch.no_grad():
                        val = [(loss_of(t).item(), len(t)) for t in list(val_loader)[:2]]
                    validations.append((epoch, steps, mean(val)))
            if steps == 10:
                break
        else:
            epoch += 1

    assert_same_weights(model, embedding, gru, head)
    assert progress.batches == [float("inf")]
    assert progress.validations == validations
    assert len(list(train_loader)) == 7, "an epoch ends with half a window"
    assert trainer.callback_metrics == {
        "train_loss": mean(losses),
        "train_loss_step": losses[-1][0],
        "train_loss_epoch": mean(losses),
        "val_loss": validations[-1][2],
    }
    assert trainer.global_step == 10
    assert trainer.current_epoch == epoch, "in Lightning one more: it counts the epoch cut short"


def windows_of_two(loader: Iterable[Any]) -> Iterator[list[Any]]:
    batches = list(loader)
    for start in range(0, len(batches), 2):
        yield batches[start : start + 2]


def test_metric_objects() -> None:
    pytest.importorskip("torchmetrics")
    file = user_file("metrics")
    model, watch, tested = file.main()

    def accuracy_of(predicted: Tensor, y: Tensor) -> float:
        return (predicted == y).float().mean().item()

    def precision_of(predicted: Tensor, y: Tensor) -> float:
        return ((predicted * y).sum() / predicted.sum().clamp(min=1)).item()

    def f1_of(predicted: Tensor, y: Tensor) -> float:
        return (2 * (predicted * y).sum() / (predicted.sum() + y.sum())).item()

    torch.manual_seed(6)
    layer = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    steps, epochs = [], []
    for _ in range(2):
        trained = []
        for x, y in file.samples(0):
            logits = layer(x).squeeze(1)
            minimize(optimizer, nn.functional.binary_cross_entropy_with_logits(logits, y))
            trained.append(((logits > 0).float(), y))
            steps.append(accuracy_of(*trained[-1]))
        predicted, y = (torch.cat(part) for part in zip(*trained, strict=True))
        values = {
            "train_acc": accuracy_of(predicted, y),
            "train_acc_step": steps[-1],
            "train_acc_epoch": accuracy_of(predicted, y),
            "train_f1": f1_of(predicted, y),
        }
        with torch.no_grad():
            validated = [(layer(x).squeeze(1), y) for x, y in file.samples(1)]
        predicted, y = (torch.cat(part) for part in zip(*validated, strict=True))
        predicted = (predicted > 0).float()
        losses = [
            (nn.functional.binary_cross_entropy_with_logits(logits, y).item(), len(y))
            for logits, y in validated
        ]
        values |= {
            "val/loss": pytest.approx(mean(losses)),  # torchmetrics sums in float32
            "val/BinaryAccuracy": accuracy_of(predicted, y),
            "val/BinaryPrecision": precision_of(predicted, y),
            "val/f1": f1_of(predicted, y),
        }
        epochs.append(values)

    assert_same_weights(model, layer)
    assert watch.steps == steps
    assert watch.epochs == epochs
    with torch.no_grad():
        scored = [((layer(x).squeeze(1) > 0).float(), y) for x, y in file.samples(2)]
    assert tested == {
        "val/BinaryAccuracy": mean((accuracy_of(p, y), len(y)) for p, y in scored),
        "val/BinaryPrecision": mean((precision_of(p, y), len(y)) for p, y in scored),
    }


# --- habits of a line or two, each known in Lightning 2.6


class Line(lt.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def loss(self, batch: Any) -> Tensor:
        (x,) = batch
        return self.layer(x).square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def ones(batches: int = 3) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(torch.ones(4 * batches, 2)), batch_size=4)


def quiet(**words: Any) -> lt.Trainer:
    quietly: dict[str, Any] = {"logger": False, "enable_progress_bar": False}
    return lt.Trainer(**{"accelerator": "cpu", "max_epochs": 2, **quietly, **words})


def test_values_of_several_loaders_at_both_moments_have_lightnings_names() -> None:
    class Validated(Line):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.log("val_loss", self.loss(batch), on_step=True, on_epoch=True)

    trainer = quiet()
    trainer.fit(Validated(), ones(), [ones(), ones()])

    assert {
        "val_loss/dataloader_idx_0",
        "val_loss_epoch/dataloader_idx_0",
        "val_loss_epoch/dataloader_idx_1",
    } <= set(trainer.callback_metrics)


def test_a_step_shared_between_stages_hands_its_arguments_on() -> None:
    class Shared(Line):
        def shared_step(self, stage: str, batch: Any, batch_idx: int) -> Tensor:
            loss = self.loss(batch)
            self.log(f"{stage}_loss", loss)
            return loss

        def training_step(self, *args: Any) -> Tensor:
            return self.shared_step("train", *args)

        def validation_step(self, *args: Any) -> Tensor:
            return self.shared_step("val", *args)

    trainer = quiet()
    trainer.fit(Shared(), ones(), ones())

    assert set(trainer.callback_metrics) == {"train_loss", "val_loss"}


def test_a_value_called_step_is_where_the_others_are_drawn(tmp_path: Path) -> None:
    class AgainstEpochs(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = self.loss(batch)
            values = {"loss": loss, "step": float(self.current_epoch)}
            self.log_dict(values, on_step=False, on_epoch=True)
            return loss

    quiet(logger=lt.loggers.CSVLogger(tmp_path)).fit(AgainstEpochs(), ones())

    assert [row["step"] for row in logged_rows(tmp_path)] == [0, 1]


def test_log_dict_takes_its_flags_in_order() -> None:
    class Logging(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss = self.loss(batch)
            self.log_dict({"loss": loss}, True)
            return loss

    trainer = quiet()
    trainer.fit(Logging(), ones())

    assert "loss" in trainer.progress_bar_metrics


def test_an_optimizer_toggles_its_parameters() -> None:
    class Manual(Line):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            with optimizer.toggle_model(sync_grad=True):
                self.manual_backward(self.loss(batch))
            optimizer.step()
            optimizer.zero_grad()

    assert quiet().fit(Manual(), ones()).progress.steps == 6


def test_a_schedule_may_be_made_of_what_optimizers_returns() -> None:
    class Scheduled(Line):
        def on_train_start(self) -> None:
            self.schedule = ExponentialLR(self.optimizers(), gamma=0.5)

        def on_train_epoch_end(self) -> None:
            self.schedule.step()

    trainer = quiet()
    trainer.fit(Scheduled(), ones())

    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.1 * 0.5**2

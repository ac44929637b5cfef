"""Keep the loop: lt_accel alone computes it, in each precision, in one process or in two.

The function ``train`` below is an ordinary training loop. What changes is one line of words; the
weights at the end agree, to the precision's tolerance, with those of one process in double
precision.
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import lt_accel

STEPS, BATCH = 60, 64


def make_model() -> nn.Module:
    """Return a small network for pictures of 8 by 8, the same one at each call."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.LayerNorm(32), nn.Linear(32, 10))


def load() -> tuple[Tensor, Tensor]:
    """Return the pictures, with values from 0 to 1, and their digits."""
    digits = load_digits()
    return torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


def train(pictures: Tensor, targets: Tensor, **words: object) -> tuple[dict[str, Tensor], float]:
    """Train with what the words choose; return the weights and how many digits are right."""
    chosen = lt_accel.select(accelerator="cpu", **words)
    backend, world = chosen.backend, chosen.world

    def main() -> tuple[dict[str, Tensor], float]:
        model = make_model()
        backend.setup(model, [])  # moves, converts, spreads
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        backend.setup(model, [optimizer])
        step = backend.wrap_step(lambda x, y: cross_entropy(model(x), y), "train")
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(1))
        for index in range(STEPS):
            batch = order[index * BATCH % 1600 :][:BATCH]
            mine = batch[world.rank :: world.world_size]  # each process takes its share
            loss = step(*backend.place((pictures[mine], targets[mine])))
            backend.zero_grad(optimizer)
            backend.backward(loss)
            backend.clip(optimizer, 1.0)
            backend.step(optimizer)

        predict = backend.wrap_step(lambda x: model(x).argmax(1), "predict")
        everything = backend.wrap_step(lambda: predict(backend.place(pictures)), "evaluate")()
        right = float((everything.cpu() == targets).float().mean())
        weights = {
            name: value.full_tensor() if hasattr(value, "full_tensor") else value
            for name, value in model.state_dict().items()
        }
        return weights, right

    return world.launch(main)


def main() -> None:
    """Train in all ways there are on a CPU, and compare."""
    pictures, targets = load()
    expected, _ = train(pictures, targets, precision="64-true")
    tolerances = {
        "32-true": 1e-5,
        "64-true": 1e-12,
        "bf16-mixed": 5e-2,
        "16-mixed": 5e-2,
        "bf16-true": 5e-1,
        "16-true": 5e-2,
    }
    for precision, tolerance in tolerances.items():
        alone_or_two = ("single_device", "ddp")
        strategies = (*alone_or_two, "fsdp") if precision == "64-true" else alone_or_two
        for strategy in strategies:
            words = {"devices": 1 if strategy == "single_device" else 2, "strategy": strategy}
            weights, right = train(pictures, targets, precision=precision, **words)
            apart = max(
                float((weights[name].double() - value).abs().max())
                for name, value in expected.items()
            )
            print(f"{precision:10} {strategy:13} {right:.1%} right, weights {apart:.0e} apart")
            assert apart < tolerance, (precision, words, apart)


if __name__ == "__main__":
    main()

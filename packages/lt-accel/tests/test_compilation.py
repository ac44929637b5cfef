"""Compiled training steps: once, with the same results, on one process and two."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lt_accel import select

pytestmark = pytest.mark.timeout(90)


class Counting:
    """A backend of torch.compile that runs the graph as it is, and counts how often it got one."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return graph.forward


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> None:
    torch.compiler.reset()


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.0), nn.Tanh(), nn.Linear(8, 1))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    made = torch.randn(8, 8, 7, generator=generator, dtype=torch.float64)
    return [(one[:, :6], one[:, 6:]) for one in made]


def train(**words: Any) -> dict[str, Any]:
    """Train eight batches, two at a time, with an evaluation in between; return what came of it."""
    options = words.pop("compile")
    chosen = select(accelerator="cpu", precision="64-true", compile=options or False, **words)
    backend, world = chosen.backend, chosen.world

    def main() -> dict[str, Any]:
        model = make_model()
        backend.setup(model, [])
        (optimizer,) = backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])

        def step(x: Tensor, y: Tensor, index: int) -> Tensor:
            return mse_loss(model(x), y)

        closing, open_ = backend.wrap_step(step, "train"), backend.wrap_step(step, "accumulate")
        evaluate = backend.wrap_step(lambda x: model(x).mean(), "validate")
        means = []
        for index, (x, y) in enumerate(batches()):
            x, y = x[world.rank :: world.world_size], y[world.rank :: world.world_size]
            closes = bool(index % 2)
            if not closes:
                backend.zero_grad(optimizer)
            backend.backward((closing if closes else open_)(x, y, index) / 2, sync=closes)
            if closes:
                backend.step(optimizer)
                model.eval()
                means.append(backend.wrap_step(lambda: evaluate(batches()[0][0]), "evaluate")())
                model.train()
        graphs = getattr(options.get("backend"), "graphs", 0)
        return {"state": model.state_dict(), "means": backend.read(means), "graphs": graphs}

    return world.launch(main)


@pytest.mark.parametrize("words", [{"devices": 1}, {"devices": 2}], ids=["one", "ddp"])
def test_compiled_steps_do_the_same(words: dict[str, Any]) -> None:
    expected = train(compile={}, **{**words, "devices": 1})
    found = train(compile={"backend": Counting()}, **words)
    # The graph once, and once more when torch sees that the index changes from batch to batch.
    assert 1 <= found["graphs"] <= 2
    assert list(found["state"]) == list(make_model().state_dict())
    torch.testing.assert_close(found["state"], expected["state"], rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(found["means"], expected["means"], rtol=1e-13, atol=1e-14)


# What torch warns of in its own code when inductor is imported.
INDUCTOR = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@INDUCTOR
@pytest.mark.slow
def test_with_inductor() -> None:
    expected = train(compile={})
    found = train(compile={"dynamic": False})
    torch.testing.assert_close(found["state"], expected["state"], rtol=1e-12, atol=1e-13)


@INDUCTOR
def test_false_compiles_nothing_and_true_everything() -> None:
    def step() -> None: ...

    assert select(accelerator="cpu", compile=False).backend.wrap_step(step, "train") is step
    backend = select(accelerator="cpu", compile=True).backend
    assert backend.wrap_step(step, "validate") is step
    assert backend.wrap_step(step, "train") is not step


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("yes", "True, False or a dict .* Received compile='yes'"),
        ({"bakend": "eager"}, "Received 'bakend'. Did you mean 'backend'"),
    ],
)
def test_other_words_are_refused(word: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        select(accelerator="cpu", compile=word)

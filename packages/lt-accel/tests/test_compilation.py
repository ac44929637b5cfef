"""Compiled training steps: once, with the same results, on one process and two."""

import copy
import pickle
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


class Counted(nn.Module):
    """A program that counts in an attribute, weighs its loss by the count, and logs both."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 1, dtype=torch.float64)
        self.parts = nn.ModuleList(parts)
        self.steps = 0
        self.logged: list[Any] = []
        self.fails = False

    def log(self, name: str, value: Any) -> None:
        """Keep a value: Python's own work, which no graph could hold."""
        self.logged.append((name, float(torch.as_tensor(value).detach())))

    def forward(self, x: Tensor) -> Tensor:
        loss = self.layer(x).pow(2).mean() * (1 + self.steps)
        self.log("loss", loss)
        for part in self.parts:
            loss = loss + part(x)
        return loss

    def step(self, x: Tensor) -> Tensor:
        loss = self(x)
        if self.fails:
            raise RuntimeError("no more")
        return loss


def counted(word: Any, *, steps: int = 20) -> tuple[list[Any], Counted]:
    """Train a program that counts; return all it computed and logged, and the program."""
    torch.manual_seed(0)
    model = Counted(Counted(), nn.Sequential(nn.Tanh(), nn.Linear(6, 1), nn.Flatten(0)).double())
    model.parts[1].register_forward_hook(lambda _m, _i, out: out.mean())
    backend = select(accelerator="cpu", compile=word).backend
    (optimizer,) = backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.001)])
    step, losses = backend.wrap_step(model.step, "train"), []
    for index in range(steps):
        model.steps = model.parts[0].steps = index
        backend.zero_grad(optimizer)
        loss = step(batches()[index % 8][0])
        backend.backward(loss)
        backend.step(optimizer)
        losses.append(loss.item())
    return [losses, model.logged, model.parts[0].logged], model


# torch's own tracer looks at the loss that crosses from one graph to the next.
CROSSING = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@CROSSING
def test_a_number_that_a_module_counts_does_not_compile_anew() -> None:
    expected, _ = counted(False)
    backend = Counting()
    found, _ = counted({"backend": backend})
    assert found == expected
    # Three graphs lie around the two that log, each made once for a number and once for any.
    assert backend.graphs <= 6


def test_that_numbers_vary_is_said_of_compiled_steps_alone() -> None:
    seen: list[bool] = []

    def looking(graph: Any, inputs: Any) -> Any:
        seen.append(torch._dynamo.config.allow_unspec_int_on_nn_module)
        return graph.forward

    before = torch._dynamo.config.allow_unspec_int_on_nn_module
    step = select(accelerator="cpu", compile={"backend": looking}).backend.wrap_step(
        lambda x: x * 2, "train"
    )
    step(torch.ones(2))
    assert seen == [True]
    assert torch._dynamo.config.allow_unspec_int_on_nn_module is before is False


def test_compiled_steps_take_words() -> None:
    backend = select(accelerator="cpu", compile={"backend": Counting()}).backend
    step = backend.wrap_step(lambda x, *, scale: x * scale, "train")
    assert step(torch.ones(2), scale=3).tolist() == [3.0, 3.0]


@CROSSING
def test_between_compiled_steps_the_program_is_as_it_was() -> None:
    _, model = counted({"backend": Counting()}, steps=2)
    for part in (model, model.parts[0]):
        assert "log" not in vars(part)
    del model.parts[1]  # its hook is a lambda
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.log("own", 1)
        assert other.logged[-1] == ("own", 1.0)
    assert ("own", 1.0) not in model.logged


@CROSSING
def test_a_compiled_step_that_fails_leaves_the_program_as_it_was() -> None:
    model = Counted()
    backend = select(accelerator="cpu", compile={"backend": Counting()}).backend
    backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    model.fails = True
    with pytest.raises(RuntimeError, match="no more"):
        backend.wrap_step(model.step, "train")(batches()[0][0])
    assert len(model.logged) == 1
    assert "log" not in vars(model)


def test_a_log_of_the_instance_stays_its_own() -> None:
    model = Counted()
    model.log = own = lambda name, value: None  # type: ignore[method-assign]
    backend = select(accelerator="cpu", compile={"backend": Counting()}).backend
    backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    backend.wrap_step(model.step, "train")(batches()[0][0])
    assert vars(model)["log"] is own
    assert model.logged == []


def test_a_module_called_log_is_compiled() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log = nn.Linear(6, 1, dtype=torch.float64)

        def forward(self, x: Tensor) -> Tensor:
            return self.log(x).sum()

    model, graphs = Net(), Counting()
    backend = select(accelerator="cpu", compile={"backend": graphs, "fullgraph": True}).backend
    backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    x = batches()[0][0]
    assert torch.equal(backend.wrap_step(model.forward, "train")(x), model(x))
    assert graphs.graphs == 1


def test_one_whole_graph_says_that_it_has_no_place_to_log() -> None:
    model = Counted()
    word = {"backend": Counting(), "fullgraph": True}
    backend = select(accelerator="cpu", compile=word).backend
    backend.setup(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    with pytest.raises(RuntimeError, match="Log in on_train_batch_end, or leave out fullgraph"):
        backend.wrap_step(model.step, "train")(batches()[0][0])

"""Norms against those of autograd's gradients, one by one."""

import math
import multiprocessing
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lt_callbacks.gradient_norms import changes, copies, held_parameters, norms


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_they_are_those_of_autograd(dtype: torch.dtype) -> None:
    model = network(dtype)
    loss = model(torch.ones(4, 5, dtype=dtype)).square().sum()
    by_hand = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    loss.backward()

    parameters = held_parameters(
        list(model.named_parameters()), torch.optim.SGD(model.parameters(), lr=0.1)
    )
    measured = norms([p.grad for p in parameters.values()])

    expected = [math.sqrt(float(g.double().square().sum())) for g in by_hand]
    assert list(parameters) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert measured.tolist() == pytest.approx(expected, rel=1e-6)
    assert measured.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_a_half_precision_norm_does_not_overflow() -> None:
    gradient = torch.full((100,), 6e4, dtype=torch.float16)

    assert norms([gradient]).tolist() == pytest.approx([float(gradient[0]) * 10])


def test_dtypes_may_be_mixed() -> None:
    mixed = [torch.full((4,), 2.0, dtype=d) for d in (torch.float16, torch.float64, torch.float32)]

    assert norms(mixed).tolist() == [4.0, 4.0, 4.0]


def test_complex_and_sparse_gradients_have_norms() -> None:
    embedding = nn.Embedding(5, 1, sparse=True)
    (embedding(torch.tensor([0, 2, 2])).ravel() * torch.tensor([3.0, 1.0, 3.0])).sum().backward()

    assert norms([torch.tensor([3 + 4j]), embedding.weight.grad]).tolist() == [5.0, 5.0]


def test_empty_gradients_have_norm_zero() -> None:
    assert norms([torch.zeros(0), torch.ones(1)]).tolist() == [0.0, 1.0]


def test_only_the_optimizers_gradients_count_in_the_programs_order() -> None:
    model = network()
    model(torch.ones(1, 5)).sum().backward()
    optimizer = torch.optim.SGD(
        [{"params": [model[2].bias, model[0].weight]}, {"params": [model[0].bias]}], lr=0.1
    )
    model[0].bias.grad = None

    assert list(held_parameters(list(model.named_parameters()), optimizer)) == [
        "0.weight",
        "2.bias",
    ]


def test_without_names_a_parameter_goes_by_its_place() -> None:
    model = network()
    model(torch.ones(1, 5)).sum().backward()
    first, *rest = model.parameters()
    optimizer = torch.optim.SGD([{"params": [first]}, {"params": rest}], lr=0.1)

    assert list(held_parameters([], optimizer)) == ["0.0", "1.0", "1.1", "1.2"]


def test_nothing_is_waited_for() -> None:
    """Reading a number would be ``_local_scalar_dense``, a copy to the CPU ``_to_copy``."""

    class Recording(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            operations.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    model, operations = network(), []
    model(torch.ones(1, 5)).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    with Recording():
        norms(gradients)  # type: ignore[arg-type]

    assert operations == ["_foreach_norm", "stack"]


def of_sharded(rank: int, folder: str, expected: list[float]) -> None:
    """One of two processes: each holds half of every gradient."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    torch.manual_seed(0)
    parts = [distribute_tensor(torch.randn(n, 3), mesh, [Shard(0)]) for n in (4, 5)]
    assert norms(parts).tolist() == pytest.approx(expected, rel=1e-5)
    doubled = [part * 2 for part in parts]
    assert changes(copies(parts), doubled).tolist() == pytest.approx(expected, rel=1e-5)
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.timeout(60)
def test_of_gradients_spread_over_ranks_it_is_the_norm_of_the_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = [float(torch.randn(n, 3).norm()) for n in (4, 5)]

    context = multiprocessing.get_context("fork")
    ranks = [
        context.Process(target=of_sharded, args=(rank, str(tmp_path), expected))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(50)

    assert [process.exitcode for process in ranks] == [0, 0]

from lt_accel import SingleProcess


def test_one_process_alone() -> None:
    world = SingleProcess()
    assert (world.rank, world.world_size, world.local_rank) == (0, 1, 0)
    assert world.launch(lambda: "result") == "result"
    assert world.reduce([1.0, 2.0], "mean") == [1.0, 2.0]
    assert world.broadcast({"a": 1}) == {"a": 1}
    assert world.gather("mine") == ["mine"]
    assert world.barrier() is None  # type: ignore[func-returns-value]

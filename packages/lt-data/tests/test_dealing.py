"""Which part of a round each process takes."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from lt_data.dealing import Deal

SIZES = st.integers(1, 5)
WORLDS = st.integers(1, 4)


def dealt(deal: Deal, count: int) -> list[list[int]]:
    """The batches of one process, as positions."""
    found = []
    for start in range(0, count, deal.round):
        units = range(start, min(start + deal.round, count))
        share = deal.share(len(units))
        if share is None:
            break
        found.append(list(units[share]))
    return found


@given(WORLDS, SIZES, st.integers(0, 40), st.booleans())
def test_in_training_all_have_as_many_batches_and_together_see_all(
    world: int, size: int, count: int, drop_last: bool
) -> None:
    deals = [Deal(rank, world, size, drop_last=drop_last) for rank in range(world)]
    ranks = [dealt(deal, count) for deal in deals]

    assert {len(batches) for batches in ranks} == {deals[0].batches(count)}
    whole = count // (world * size) * (world * size)
    seen = [place for batches in ranks for batch in batches for place in batch]
    rest = count - whole
    if drop_last:
        assert sorted(seen) == list(range(whole))
        return
    assert sorted(set(seen)) == list(range(count))
    repeated = len(seen) - count
    assert repeated == (world - rest if 0 < rest < world else 0)
    tails = [len(batches[-1]) for batches in ranks] if rest else [0]
    assert max(tails) - min(tails) <= 1
    assert all(
        len(batch) == size for batches in ranks for batch in batches[: whole // world // size]
    )


@given(WORLDS, SIZES, st.integers(0, 40))
def test_in_training_a_round_is_what_one_process_with_the_whole_batch_sees(
    world: int, size: int, count: int
) -> None:
    ranks = [dealt(Deal(rank, world, size), count) for rank in range(world)]
    one = dealt(Deal(0, 1, world * size), count)

    together = [list(chain(*batches)) for batches in zip(*ranks, strict=True)]
    assert [list(dict.fromkeys(batch)) for batch in together] == one


@given(WORLDS, SIZES, st.integers(0, 40))
def test_in_evaluation_each_unit_is_seen_by_one_process(world: int, size: int, count: int) -> None:
    deals = [Deal(rank, world, size, training=False) for rank in range(world)]
    ranks = [dealt(deal, count) for deal in deals]

    seen = [place for batches in ranks for batch in batches for place in batch]
    assert sorted(seen) == list(range(count))
    assert [len(batches) for batches in ranks] == [deal.batches(count) for deal in deals]
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1
    for rank, batches in enumerate(ranks):
        assert list(chain(*batches)) == list(range(rank, count, world))


@given(WORLDS, SIZES, st.integers(0, 40))
def test_in_evaluation_the_batch_that_one_process_drops_is_dropped(
    world: int, size: int, count: int
) -> None:
    words = {"training": False, "drop_last": True}
    deals = [Deal(rank, world, size, **words) for rank in range(world)]
    ranks = [dealt(deal, count) for deal in deals]

    alone = dealt(Deal(0, 1, size, **words), count)
    assert list(chain(*alone)) == list(range(count // size * size))
    seen = [place for batches in ranks for batch in batches for place in batch]
    assert sorted(seen) == list(chain(*alone))
    assert all(len(batch) == size for batches in ranks for batch in batches)
    assert [len(batches) for batches in ranks] == [deal.batches(count) for deal in deals]
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1

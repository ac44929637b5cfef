"""The table of results, line by line."""

from lt_callbacks.result_table import result_table


def lines(metrics: dict[str, float]) -> list[str]:
    return result_table(metrics, title="Test metric").splitlines()


def test_one_loader() -> None:
    assert lines({"test_loss": 0.123456789, "acc": 1.0}) == [
        "────────────────────────",
        " Test metric      Value",
        "────────────────────────",
        " acc                  1",
        " test_loss     0.123457",
        "────────────────────────",
    ]


def test_several_loaders_stand_side_by_side_in_their_order() -> None:
    metrics = {f"acc/dataloader_idx_{n}": n / 2 for n in (10, 2, 0)} | {"n": 3.0}

    heading, _, acc, n = lines(metrics)[1:-1]
    assert " ".join(heading.split()) == "Test metric Value Loader 0 Loader 2 Loader 10"
    assert acc.split() == ["acc", "0", "1", "5"]
    assert n.split() == ["n", "3"]
    assert n.index("3") < acc.index("0")  # a value of no loader has a column of its own


def test_of_a_value_logged_both_ways_the_epochs_is_shown() -> None:
    metrics = {"loss": 2.0, "loss_step": 1.0, "loss_epoch": 2.0, "first_step": 9.0}

    assert [line.split() for line in lines(metrics)[3:-1]] == [
        ["first_step", "9"],
        ["loss_epoch", "2"],
    ]


def test_a_name_may_be_longer_than_the_title() -> None:
    table = lines({"accuracy_of_the_second_head": 0.5})

    assert len({len(line) for line in (table[0], table[2], table[-1])}) == 1
    assert table[3] == " accuracy_of_the_second_head     0.5"

"""A commit is acknowledged once it is stored, and never before."""

from backup.archive.receiver import Acknowledgements


class Dump:
    def __init__(self) -> None:
        self.acknowledged: list[tuple[str, int]] = []

    def acknowledge(self, file: str, position: int) -> None:
        self.acknowledged.append((file, position))


def test_nothing_is_acknowledged_before_it_is_stored() -> None:
    answers, dump = Acknowledgements(), Dump()
    answers.connect(dump)
    answers.expect(10, "binlog.000001", 100)
    answers.stored(9)
    assert dump.acknowledged == []
    answers.stored(10)
    assert dump.acknowledged == [("binlog.000001", 100)]


def test_one_answer_stands_for_all_that_waited() -> None:
    answers, dump = Acknowledgements(), Dump()
    answers.connect(dump)
    for mark in (10, 20, 30, 40):
        answers.expect(mark, "binlog.000001", mark)
    answers.stored(30)
    assert dump.acknowledged == [("binlog.000001", 30)]


def test_what_is_stored_already_is_acknowledged_at_once() -> None:
    answers, dump = Acknowledgements(), Dump()
    answers.connect(dump)
    answers.stored(50)
    answers.expect(50, "binlog.000002", 7)
    assert dump.acknowledged == [("binlog.000002", 7)]


def test_a_new_connection_is_not_answered_for_the_one_before() -> None:
    answers, first, second = Acknowledgements(), Dump(), Dump()
    answers.connect(first)
    answers.expect(10, "binlog.000001", 100)
    answers.connect(second)
    answers.stored(10)
    assert (first.acknowledged, second.acknowledged) == ([], [])

"""The checker of histories itself: it objects to each kind of bad history, and to nothing else."""
import itertools

from history import History


def told(*steps, subscribers=("sub",)):
    """A history with the time counting up from step to step: ("pub", n, qos), ("ack", n), ("got", n, qos), ("ask", name), ("read", name, n)."""
    tick = itertools.count()
    h, writes, reads = History(lambda: next(tick)), {}, {}
    for what, *args in steps:
        if what == "pub":
            writes[args[0]] = h.invoke("p", "t", args[0], args[1])
        elif what == "ack":
            h.acknowledged(writes[args[0]])
        elif what == "got":
            h.delivered("sub", "p", "t", args[0], args[1])
        elif what == "ask":
            reads[args[0]] = h.read_begun(args[0], "t")
        else:
            h.read_ended(reads[args[0]], args[1])
    return h.wrong(subscribers)


def objects(kind, *steps):
    wrong = told(*steps)
    assert len(wrong) == 1 and wrong[0].startswith(kind + ": "), f"{kind}: {wrong}"


def test_a_good_history_is_good():
    assert told(("pub", 1, 2), ("pub", 2, 2), ("got", 1, 2), ("ack", 1), ("ack", 2), ("got", 2, 2), ("ask", "a"), ("read", "a", 2)) == []


def test_what_was_not_acknowledged_may_come_or_not():
    assert told(("pub", 1, 1), ("pub", 2, 1), ("ack", 2), ("got", 2, 1)) == []
    assert told(("pub", 1, 1), ("got", 1, 1)) == []


def test_an_acknowledged_message_that_never_comes_is_lost():
    objects("lost", ("pub", 1, 1), ("ack", 1))


def test_one_that_comes_to_another_subscriber_is_lost_all_the_same():
    wrong = told(("pub", 1, 1), ("ack", 1), ("got", 1, 1), subscribers=("sub", "other"))
    assert len(wrong) == 1 and "never came to other" in wrong[0], wrong


def test_qos_2_twice_is_doubled_and_qos_1_twice_is_not():
    objects("doubled", ("pub", 1, 2), ("ack", 1), ("got", 1, 2), ("got", 1, 2))
    assert told(("pub", 1, 1), ("ack", 1), ("got", 1, 2), ("got", 1, 2)) == []
    assert told(("pub", 1, 2), ("ack", 1), ("got", 1, 1), ("got", 1, 1)) == []


def test_first_arrivals_that_go_back_are_reordered():
    objects("reordered", ("pub", 1, 1), ("pub", 2, 1), ("got", 2, 1), ("got", 1, 1))


def test_one_again_behind_a_later_one_is_not_reordered():
    assert told(("pub", 1, 1), ("pub", 2, 1), ("got", 1, 1), ("got", 2, 1), ("got", 1, 1)) == []


def test_what_nobody_published_is_invented():
    objects("invented", ("pub", 1, 1), ("got", 2, 1))


def test_what_came_before_it_was_published_is_invented():
    objects("invented", ("got", 1, 1), ("pub", 1, 1))


def test_a_read_of_less_than_was_acknowledged_before_is_stale():
    objects("stale", ("pub", 1, 1), ("got", 1, 1), ("pub", 2, 1), ("got", 2, 1), ("ack", 2), ("ask", "a"), ("read", "a", 1))
    objects("stale", ("pub", 1, 1), ("got", 1, 1), ("ack", 1), ("ask", "a"), ("read", "a", None))


def test_a_read_beside_a_write_may_see_it_or_not():
    for seen in (1, 2):
        assert told(("pub", 1, 1), ("got", 1, 1), ("ack", 1), ("pub", 2, 1), ("ask", "a"), ("got", 2, 1), ("ack", 2), ("read", "a", seen)) == []


def test_a_read_that_goes_back_behind_another_read_is_stale():
    steps = [("pub", 1, 1), ("got", 1, 1), ("ack", 1), ("pub", 2, 1), ("ask", "a"), ("read", "a", 2), ("ask", "b"), ("read", "b", 1)]
    objects("stale", *steps)
    assert told(*steps[:4], ("ask", "a"), ("ask", "b"), ("read", "a", 2), ("read", "b", 1)) == []  # at the same time


def test_a_read_of_what_is_written_later_is_early():
    objects("early", ("ask", "a"), ("read", "a", 1), ("pub", 1, 1))

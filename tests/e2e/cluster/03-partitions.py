"""Three segment stores on three machines (network namespaces with a bridge between them): cables are pulled, routes vanish in one direction, packets get lost."""
import importlib.util

import harness
from harness import await_true
from machines import Machines
from rawmqtt import *

spec = importlib.util.spec_from_file_location("three_nodes", harness.ROOT / "tests" / "e2e" / "cluster" / "01-three-nodes.py")
three = importlib.util.module_from_spec(spec)
spec.loader.exec_module(three)


def started(keel):
    three.subscribed(keel)
    publisher = three.Publisher(keel)
    publisher.start()
    publisher.await_more(30)
    return publisher


def test_each_machine_is_unplugged_in_turn():
    with Machines() as keel:
        publisher = started(keel)
        for n in (1, 2, 3):
            with keel.unplugged(n):
                publisher.await_more(40)
            publisher.await_more(20)
        publisher.stop()
        three.all_there(keel, publisher)
        return f"{publisher.acked} messages, the longest wait {publisher.longest:.2f} s"


def test_two_machines_that_do_not_hear_each_other():
    with Machines() as keel:
        publisher = started(keel)
        for a, b in ((1, 2), (2, 3), (3, 1)):
            with keel.deaf(b, [a]):
                publisher.await_more(40)
            publisher.await_more(20)
        publisher.stop()
        three.all_there(keel, publisher)
        return f"{publisher.acked} messages, the longest wait {publisher.longest:.2f} s"


def test_the_broker_loses_one_machine_that_the_others_still_hear():
    """Its stripes stay where they are: brokers wait for their leader, or for the lead to move; nothing is lost meanwhile."""
    with Machines() as keel:
        publisher = started(keel)
        with keel.deaf("b1", [2]):
            publisher.join(3)
        publisher.await_more(40)
        publisher.stop()
        three.all_there(keel, publisher)


def test_a_tenth_of_the_packets_gets_lost():
    with Machines() as keel:
        publisher = started(keel)
        with keel.lossy(keel.names, 10):
            publisher.await_more(30)
        publisher.stop()
        three.all_there(keel, publisher)
        return f"{publisher.acked} messages, the longest wait {publisher.longest:.2f} s"


def test_a_machine_that_is_alone_acknowledges_nothing():
    with Machines() as keel:
        publisher = started(keel)
        with keel.unplugged(1), keel.unplugged(2):
            before = publisher.acked
            publisher.join(3)
            assert publisher.acked <= before + 1
        publisher.await_more(30)
        publisher.stop()
        three.all_there(keel, publisher)
        await_true(keel.alive, "all of them live")

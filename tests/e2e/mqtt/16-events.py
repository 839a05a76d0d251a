"""$events: clients that come and go, as messages."""
import json
import time

import harness
from rawmqtt import *


def event(watch, kind, client_id):
    while True:
        m = watch.message()
        got = json.loads(m.payload)
        if got["clientid"] == client_id:
            assert (m.topic, m.qos) == (f"$events/client/{kind}", 1), (m.topic, m.qos)
            assert abs(got["ts"] / 1000 - time.time()) < 60
            return got


def test_a_clients_life_is_told():
    with harness.Keel("--shards", "2") as keel, Client(keel, "events-watch") as watch:
        assert watch.subscribe("$events/client/+", 1) == [1]
        for n in range(4):  # on both shards
            name = f"events-{n}-\u00fc"
            c = Client(keel, name, clean=False, props={"session_expiry": 60})
            got = event(watch, "connected", name)
            assert (got["clean_start"], got["session_present"], got["expiry"]) == (False, False, 60), got
            c.subscribe(["a/+", "$share/g/\"b\""], 2)
            assert [(e["filter"], e["qos"]) for e in (event(watch, "subscribed", name), event(watch, "subscribed", name))] == [("a/+", 2), ("$share/g/\"b\"", 2)]
            c.unsubscribe(["a/+", "never"])
            assert event(watch, "unsubscribed", name)["filter"] == "a/+"
            if n == 0:
                c.send(disconnect(0))
                reason = "normal"
            elif n == 1:
                c.sock.close()
                reason = "lost"
            else:
                other = Client(keel, name, clean=False, props={"session_expiry": 60})
                reason = "taken_over"
            assert event(watch, "disconnected", name)["reason"] == reason
            if n > 1:
                assert event(watch, "connected", name)["session_present"]
                other.close()
                event(watch, "disconnected", name)


def test_nobody_else_sees_or_makes_them():
    with harness.Keel() as keel, Client(keel, "events-wild") as c:
        c.subscribe("#", 1)
        Client(keel, "events-other").close()
        c.publish("$events/client/connected", b"{}", 1, reason=0x87)
        assert c.until_ping() == []
    with harness.Keel("--set", "events.rate=0") as keel, Client(keel, "events-off") as c:
        c.subscribe("$events/#", 1)
        Client(keel, "events-other").close()
        assert c.until_ping() == []

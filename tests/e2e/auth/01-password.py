"""Who is let in: passwords of the store's table and of a file, anonymous clients. [MQTT-3.1.3, 3.2.2, 4.12]"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import harness
from people import *


def test_a_password_lets_in_and_a_wrong_one_does_not(server):
    passwd(server, "alice", "wonderland")
    Client(server, "pw-1", user="alice", password="wonderland").close()
    Client(server, "pw-1", 4, user="alice", password="wonderland").close()
    assert refused(server, user="alice", password="looking-glass") == 0x86
    assert refused(server, version=4, user="alice", password="looking-glass") == 4
    assert refused(server, user="alice") == 0x86
    assert refused(server, user="alicf", password="wonderland") == 0x86
    assert refused(server, user="alice", password="") == 0x86


def test_a_change_of_a_password_counts_at_once(server):
    passwd(server, "bob", "one")
    Client(server, "pw-2", user="bob", password="one").close()
    passwd(server, "bob", "two")
    assert refused(server, user="bob", password="one") == 0x86
    Client(server, "pw-2", user="bob", password="two").close()


def test_a_removed_user_is_disconnected(server):
    passwd(server, "carol", "x")
    with Client(server, "pw-3", user="carol", password="x") as c:
        ctl(server, "passwd", "carol", "--delete")
        c.expect_closed(0x87)
    assert refused(server, user="carol", password="x") == 0x86
    assert "no user of this name" in ctl(server, "passwd", "carol", "--delete", ok=False)


def test_users_are_listed_with_their_groups(server):
    passwd(server, "dave", "x", "--groups", "ops,night")
    line = next(line for line in ctl(server, "users").splitlines() if line.startswith("dave\t"))
    assert line.split("\t")[1:3] == ["ops,night", "scram"], line
    ctl(server, "passwd", "dave", "--delete")
    assert "dave" not in ctl(server, "users")


def test_a_name_with_every_kind_of_character(server):
    name = "Zoë/+#%20 & Co"
    passwd(server, name, "pass wörd")
    Client(server, "pw-4", user=name, password="pass wörd").close()
    assert name in ctl(server, "users")
    ctl(server, "passwd", name, "--delete")


def test_anonymous_clients_come_in_on_loopback_only_when_it_is_so(server):
    Client(server, "anon").close()


def test_users_outlive_a_restart():
    with harness.Keel() as server:
        passwd(server, "erin", "kept")
        allow(server, "deny", "user", "erin", "publish", "x")
        server.restart()
        with Client(server, "pw-5", user="erin", password="kept") as c:
            c.publish("x", b"", 1, reason=0x87)
        assert refused(server, user="erin", password="lost") == 0x86


def test_nobody_is_anonymous_where_it_is_forbidden():
    with harness.Keel("--set", "auth.anonymous=false") as server:
        assert refused(server) == 0x87
        assert refused(server, version=4) == 5
        assert refused(server, user="x", password="y") == 0x86
        passwd(server, "f", "g")
        Client(server, "pw-6", user="f", password="g").close()


def test_without_any_user_a_name_is_nobodys():
    with harness.Keel() as server:
        Client(server, "pw-7", user="someone", password="anything").close()
        allow(server, "deny", "user", "someone", "publish", "#")
        with Client(server, "pw-7", user="someone", password="anything") as c:
            c.publish("t", b"", 1)  # the rule does not mean it: it did not prove its name


def test_the_listener_of_the_network_wants_names_unless_told_otherwise():
    with harness.Keel("--mqtt", "0.0.0.0:0") as server:
        server.host = "127.0.0.1"
        assert refused(server) == 0x87
        assert "auth.anonymous" in server.log()
    with harness.Keel("--mqtt", "0.0.0.0:0", "--set", "auth.anonymous=true") as server:
        server.host = "127.0.0.1"
        Client(server, "anon").close()
        assert "let in without a name" in server.log()


def test_a_password_file_of_ours_and_of_mosquitto_is_taken():
    dir = pathlib.Path(harness.tempfile.mkdtemp(prefix="keel-e2e-"))
    file = dir / "passwd"
    harness.run(harness.BUILD / "keel", "ctl", "passwd", "ours", "--to", file, "--password-file", "-", *FAST, input="one\n")
    theirs = dir / "theirs"
    theirs.touch(mode=0o600)
    assert harness.run("mosquitto_passwd", "-b", theirs, "theirs", "two").returncode == 0
    with open(file, "a") as out:
        out.write("# from another broker\n" + theirs.read_text())
    with harness.Apart(broker_args=["--set", f"auth.password_file={file}"]) as server:
        Client(server, "pf", user="ours", password="one").close()
        Client(server, "pf", user="theirs", password="two").close()
        assert refused(server, user="theirs", password="one") == 0x86
        assert refused(server, user="ours", password="two") == 0x86
        harness.run(harness.BUILD / "keel", "ctl", "passwd", "ours", "--to", file, "--password-file", "-", *FAST, input="three\n")
        harness.run(harness.BUILD / "keel", "ctl", "passwd", "theirs", "--to", file, "--delete")
        server.broker.popen.send_signal(harness.signal.SIGHUP)
        harness.await_true(lambda: "were read again" in server.log(), "the file is read again")
        Client(server, "pf", user="ours", password="three").close()
        assert refused(server, user="theirs", password="two") == 0x86
        file.write_text("nonsense\n")
        server.broker.popen.send_signal(harness.signal.SIGHUP)
        harness.await_true(lambda: "stay as they were" in server.log(), "a bad file is refused")
        Client(server, "pf", user="ours", password="three").close()
    harness.shutil.rmtree(dir)


def test_a_bad_password_file_stops_the_start_with_its_line():
    dir = pathlib.Path(harness.tempfile.mkdtemp(prefix="keel-e2e-"))
    (dir / "passwd").write_text("# users\nann:plaintext\n")
    done = harness.run(harness.BUILD / "keel-broker", "--set", f"auth.password_file={dir / 'passwd'}")
    assert done.returncode == 2 and "passwd:2:" in done.stderr and "keel ctl passwd" in done.stderr, done.stderr
    harness.shutil.rmtree(dir)


def test_slow_passwords_hold_up_nobody_else():
    with harness.Keel("--set", "auth.threads=1", "--set", "auth.queue_max=2", "--shards", "1") as server:
        done = harness.run(harness.BUILD / "keel", "ctl", "passwd", "slow", "--password-file", "-", "--admin", server.admin, "--set",
                           "auth.argon2_memory=65536", "--set", "auth.argon2_passes=6", input="x\n")
        assert done.returncode == 0, done.stderr
        with Client(server, "bystander") as bystander:
            waiting = [Client(server, open=False) for _ in range(8)]
            for i, c in enumerate(waiting):
                c.send(connect(f"slow-{i}", user="slow", password="x"))
            waiting[7].close()  # goes away meanwhile
            started = time.monotonic()
            bystander.until_ping()
            assert time.monotonic() - started < 0.1, "the shard stood still"
            codes = [c.expect(CONNACK, timeout=60).reason for c in waiting[:7]]
        assert codes.count(0) >= 2 and 0x89 in codes and set(codes) == {0, 0x89}, codes
        assert server.metric("keel_auth_busy_total") > 0


def test_mosquitto_clients_and_their_exit_codes(server):
    passwd(server, "mosq", "mosq-pw")
    base = ["mosquitto_pub", "-h", server.host, "-p", server.port, "-t", "m", "-m", "x", "-q", "1", "-u", "mosq"]
    assert harness.run(*base, "-P", "mosq-pw").returncode == 0
    assert harness.run(*base, "-P", "wrong").returncode != 0
    assert harness.run(*base, "-P", "wrong", "-V", "5").returncode != 0


def test_admin_wants_the_header_and_the_token():
    import urllib.error
    import urllib.request

    def ask(server, headers):
        try:
            request = urllib.request.Request(f"http://{server.admin}/auth/users", headers=headers)
            return urllib.request.urlopen(request, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code

    with harness.Keel("--set", "admin.token=secret") as server:
        assert ask(server, {}) == 403
        assert ask(server, {"X-Keel": "1"}) == 401
        assert ask(server, {"X-Keel": "1", "Authorization": "Bearer secreu"}) == 401
        assert ask(server, {"X-Keel": "1", "Authorization": "Bearer secret", "Origin": "http://evil"}) == 403
        assert ask(server, {"X-Keel": "1", "Authorization": "Bearer secret"}) == 200
        assert "token" in ctl(server, "users", ok=False)
        ctl(server, "users", flags=["--set", "admin.token=secret"])

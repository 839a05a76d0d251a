"""What the programs say about wrong flags, keys and files."""
import pathlib
import tempfile

from harness import BUILD, ROOT, Keel, run

PROGRAMS = (["keel", "dev"], ["keel-broker"], ["keel-segstore"])


def refused(*args, says):
    for program in PROGRAMS:
        done = run(BUILD / program[0], *program[1:], *args)
        assert done.returncode == 2, f"{program}: status {done.returncode} {done.stderr}"
        assert says in done.stderr, f"{program}: {done.stderr}"


def test_a_wrong_flag_is_named_with_the_nearest():
    refused("--shrads", "1", says="--shrads: unknown flag; did you mean --shards?")


def test_a_wrong_key_is_named_with_the_nearest():
    refused("--set", "mqtt.recieve_max=1", says='unknown key "mqtt.recieve_max"; did you mean "mqtt.receive_max"?')


def test_a_wrong_value_is_named_with_what_fits():
    refused("--set", "mqtt.receive_max=lots", says="mqtt.receive_max wants a number of packets from 1 to 65535")


def test_a_wrong_file_is_named_with_its_line():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "keel.yaml")
        path.write_text("mqtt:\n  receive_max: 10\n  recieve_max: 10\n")
        refused("--config", path, says=f'{path}:3: unknown key "mqtt.recieve_max"; did you mean "mqtt.receive_max"?')


def test_more_shards_than_stripes_are_refused_and_chosen_ones_fit():
    done = run(BUILD / "keel-segstore", "--shards", "3", "--set", "segstore.stripes=2")
    assert done.returncode == 2 and "lower shards or raise segstore.stripes" in done.stderr, done
    with Keel("--set", "segstore.stripes=1") as keel:
        assert keel.alive()


def test_help_is_given():
    for program in (["keel"], ["keel", "dev"], ["keel", "ctl"], ["keel", "config"], ["keel-broker"], ["keel-segstore"]):
        done = run(BUILD / program[0], *program[1:], "--help")
        assert done.returncode == 0 and len(done.stdout) > 20, f"{program}: {done.stdout} {done.stderr}"


def test_help_lists_the_flags_of_the_program_only():
    broker, store = {"mqtt", "mqtts", "ws", "wss", "admin"}, {"data", "segstore-admin"}
    both = {"config", "ready-fd", "shards", "segstore", "set", "help"}
    for program, flags in (("keel-broker", broker | both), ("keel-segstore", store | both), ("keel dev", broker | store | both)):
        name, *words = program.split()
        lines = run(BUILD / name, *words, "--help").stdout.splitlines()
        listed = {line.split()[0][2:] for line in lines if line.startswith("  --")}
        assert listed == flags, f"{program}: {listed ^ flags}"


def test_unknown_commands_are_refused():
    assert "did you mean dev?" in run(BUILD / "keel", "dav").stderr
    assert "did you mean status?" in run(BUILD / "keel", "ctl", "stat").stderr
    for words in (("bogus",), ("--verbose",), ("ctl", "bogus"), ("ctl", "users", "--bogus", "1")):
        done = run(BUILD / "keel", *words)
        assert done.returncode == 2 and "unknown" in done.stderr and "did you mean" not in done.stderr, done
    assert "--filtr: unknown flag; did you mean --filter?" in run(BUILD / "keel", "ctl", "stream", "create", "x", "--filtr", "a").stderr


def test_flags_of_other_commands_are_refused():
    for words, flag in ((("users", "--permanent"), "permanent"), (("ban", "list", "--stop"), "stop"), (("drain", "--reason", "x", "--stop"), "reason"),
                        (("members", "1", "--for", "3"), "for"), (("stream", "list", "--tls"), "tls"), (("bridge", "list", "--filter", "x"), "filter")):
        done = run(BUILD / "keel", "ctl", *words)
        assert done.returncode == 2 and f"--{flag}: unknown flag" in done.stderr, done


def test_a_flag_without_its_value_is_refused():
    for words in (("stream", "create", "x", "--filter", "a", "--max-age"), ("ban", "add", "client", "x", "--for"), ("bridge", "create", "x", "--topic"),
                  ("passwd", "x", "--to"), ("users", "--admin")):
        done = run(BUILD / "keel", "ctl", *words)
        assert done.returncode == 2 and f"{words[-1]}: a value is missing" in done.stderr, done


def test_the_documented_file_is_the_table():
    assert run(BUILD / "keel", "config").stdout == (ROOT / "deploy" / "keel.yaml").read_text()

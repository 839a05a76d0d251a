"""The tables are whole: every normative statement of MQTT 5.0 (statements.txt) and 3.1.1 (statements-3.1.1.txt) and every check of checks.txt has
a line, and every test that a line names exists."""
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]

# section: how many statements it has; numbers that appendix B leaves out are listed behind
STATEMENTS = {
    "statements.txt": (250, {
        "1.5.4": 3, "1.5.5": 1, "1.5.7": 1, "2.1.3": 1, "2.2.1": 6, "2.2.2": 1, "3.1.0": 2, "3.1.2": 30, "3.1.3": 12, "3.1.4": 6, "3.2.0": 2, "3.2.2": 22,
        "3.3.1": 13, "3.3.2": 20, "3.3.4": 10, "3.4.2": 3, "3.5.2": 3, "3.6.1": 1, "3.6.2": 3, "3.7.2": 3, "3.8.1": 1, "3.8.3": 5, "3.8.4": 8, "3.9.2": 2,
        "3.9.3": 2, "3.10.1": 1, "3.10.3": 2, "3.10.4": 6, "3.11.2": 2, "3.11.3": 2, "3.12.4": 1, "3.14.0": 1, "3.14.1": 1, "3.14.2": 4, "3.14.4": 3,
        "3.15.1": 1, "3.15.2": 3, "4.1.0": 2, "4.2.0": 1, "4.3.1": 1, "4.3.2": 5, "4.3.3": 13, "4.4.0": 2, "4.5.0": 2, "4.6.0": 6, "4.7.0": 1, "4.7.1": 2,
        "4.7.2": 1, "4.7.3": 4, "4.8.2": 6, "4.9.0": 3, "4.12.0": 7, "4.12.1": 2, "4.13.1": 1, "4.13.2": 1, "6.0.0": 4}, {"2.2.1-1", "3.1.4-5"}),
    "statements-3.1.1.txt": (141, {
        "1.5.3": 3, "2.2.2": 2, "2.3.1": 7, "3.1.0": 2, "3.1.2": 24, "3.1.3": 11, "3.1.4": 5, "3.2.0": 1, "3.2.2": 6, "3.3.1": 12, "3.3.2": 3, "3.3.4": 1,
        "3.3.5": 2, "3.6.1": 1, "3.8.1": 1, "3.8.3": 4, "3.8.4": 6, "3.9.3": 2, "3.10.1": 1, "3.10.3": 2, "3.10.4": 6, "3.12.4": 1, "3.14.1": 1,
        "3.14.4": 3, "4.1.0": 2, "4.3.1": 1, "4.3.2": 2, "4.3.3": 2, "4.4.0": 1, "4.5.0": 2, "4.6.0": 6, "4.7.1": 3, "4.7.2": 1, "4.7.3": 4, "4.8.0": 2,
        "6.0.0": 4, "7.0.0": 2, "7.1.1": 1, "7.1.2": 1}, set()),
}
CHECKS = 57


def lines(table):
    for line in (HERE / table).read_text().splitlines():
        if line and not line.startswith("#"):
            head, words = line.split(" | ")
            numbers, tests = head.split(": ", 1)
            yield numbers.split(), [t for t in tests.split() if t != "client"], words


def exists(test):
    """FILE::function of tests/e2e; sim::SCENARIO of tests/sim; unit::SUITE/test of tests/unit."""
    place, name = test.split("::")
    if place == "sim":
        return re.search(rf"\bX\({name}, ", (ROOT / "tests/sim/scenarios.h").read_text()) is not None
    if place == "unit":
        suite, name = name.split("/")
        return any(re.search(rf"^Test\({suite}, {name}[,)]", path.read_text(), re.M) for path in (ROOT / "tests/unit").rglob("test_*.c"))
    folder, number = place.split("/") if "/" in place else ("mqtt", place)
    files = list((HERE.parent / folder).glob(f"{number}-*.py"))
    return len(files) == 1 and re.search(rf"^def test_{name}\(", files[0].read_text(), re.M) is not None


def test_every_statement_has_a_line_and_one_only():
    for table, (total, counts, left_out) in STATEMENTS.items():
        wanted = {f"{section}-{n}" for section, count in counts.items() for n in range(1, count + 1)} - left_out
        assert len(wanted) == total
        found = [number for numbers, _, _ in lines(table) for number in numbers]
        assert len(found) == len(set(found)), f"{table}: {sorted(n for n in found if found.count(n) > 1)}"
        assert set(found) == wanted, f"{table}: without a line: {sorted(wanted - set(found))}; not in the standard: {sorted(set(found) - wanted)}"
    return " and ".join(f"{total} statements" for total, _, _ in STATEMENTS.values())


def test_every_check_has_a_line_and_one_only():
    assert [number for numbers, _, _ in lines("checks.txt") for number in numbers] == [str(n) for n in range(1, CHECKS + 1)]
    return f"{CHECKS} checks"


def test_every_test_that_is_named_exists():
    wrong = []
    for table in [*STATEMENTS, "checks.txt"]:
        for numbers, tests, words in lines(table):
            assert tests and words, f"{table}: {numbers} names no test"
            wrong += [f"{table}: {numbers[0]} {test}" for test in tests if not exists(test)]
    assert not wrong, "no such test: " + ", ".join(wrong)

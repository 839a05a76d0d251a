"""A machine that forbids io_uring: one sentence says what and how to lift it."""
import sys

from harness import BUILD, ROOT, run

NORING = [sys.executable, ROOT / "tests" / "e2e" / "process" / "noring.py"]


def test_a_forbidden_io_uring_ends_each_program_with_one_sentence():
    for program in ("keel-segstore", "keel-broker"):
        done = run(*NORING, BUILD / program, "--data", "/tmp/keel-e2e-noring", "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--segstore-admin", "127.0.0.1:0",
                   "--segstore", "127.0.0.1:0" if program == "keel-segstore" else "127.0.0.1:1", timeout=20)
        assert done.returncode not in (0, -6, -11), f"{program}: {done.returncode} {done.stderr}"
        assert "io_uring" in done.stderr and "EPERM" in done.stderr and "seccomp" in done.stderr, f"{program}: {done.stderr}"


def test_keel_dev_ends_too():
    done = run(*NORING, BUILD / "keel", "dev", "--data", "/tmp/keel-e2e-noring", "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--segstore",
               "127.0.0.1:0", timeout=20)
    assert done.returncode not in (0, -6, -11) and "keel-segstore ended with status" in done.stderr, done.stderr

#!/usr/bin/python3
"""Runs the end-to-end tests: every function test_* of every tests/e2e/*/NN-*.py, two files at a time.

    tests/e2e/run.py [-v] [-j N] [word ..]     only tests whose "file::function" contains one of the words

The tests of a file share one server (its own server(), else harness.server()), handed to those that have a parameter; it is started anew when a test broke it.
Prints ok, FAIL or skip per test, the reason and the server's last words below, and "N passed, N failed" at the end.
"""
import importlib.util
import inspect
import multiprocessing
import pathlib
import signal
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import harness  # noqa: E402

TEST_TIMEOUT_S = 120


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tests_of(path):
    """Names in the order of the file, without running it."""
    return [line.split("(")[0][4:] for line in path.read_text().splitlines() if line.startswith("def test_")]


def timed_out(*_):
    raise AssertionError(f"not finished within {harness.patience(TEST_TIMEOUT_S)} s")


def run_one(test, shared):
    """('ok' | 'skip' | 'FAIL', reason)"""
    signal.signal(signal.SIGALRM, timed_out)
    signal.alarm(int(harness.patience(TEST_TIMEOUT_S)))
    try:
        note = test(shared()) if inspect.signature(test).parameters else test()
        return "ok", note or ""
    except harness.Skip as skip:
        return "skip", str(skip)
    except BaseException as failure:  # a failed test must not end the run
        last = [f for f in traceback.extract_tb(failure.__traceback__) if str(HERE) in f.filename]
        where = " < ".join(f"{pathlib.Path(f.filename).name}:{f.lineno}" for f in reversed(last))
        return "FAIL", f"{type(failure).__name__}: {failure} ({where})"
    finally:
        signal.alarm(0)


def run_file(job):
    path, names = job
    results, server, findings = [], None, harness.Findings()

    def shared():
        nonlocal server
        if server is not None and not server.alive():
            server.close()
            server = None
        if server is None:
            server = getattr(module, "server", harness.server)()
        return server

    try:
        module = load(path)
    except BaseException as failure:
        return [(path, names[0], "FAIL", f"cannot be loaded: {failure}", 0.0)]
    for name in names:
        started = time.monotonic()
        verdict, reason = run_one(getattr(module, name), shared)
        if server is not None and not server.alive() and verdict != "skip":
            verdict, reason = "FAIL", f"{reason} the server ended: {server.log()[-1500:]}"
        if found := findings.take():
            verdict, reason = "FAIL", f"{reason}\n{found}"
        results.append((path, name, verdict, reason, time.monotonic() - started))
    if server is not None:
        server.close()
    if found := findings.take():  # leaks are told at the end
        results.append((path, "test_the_server_ends_clean", "FAIL", found, 0.0))
    findings.close()
    return results


def main(args):
    verbose = "-v" in args
    jobs_at_once = int(args[args.index("-j") + 1]) if "-j" in args else 2
    words = [a for i, a in enumerate(args) if not a.startswith("-") and (i == 0 or args[i - 1] != "-j")]
    jobs, order = [], sorted(HERE.glob("*/[0-9][0-9]-*.py"))
    for path in order:
        names = [n for n in tests_of(path) if not words or any(w in f"{path.parent.name}/{path.stem}::{n}" for w in words)]
        if names:
            jobs.append((path, names))
    passed = failed = skipped = 0
    with multiprocessing.Pool(jobs_at_once, maxtasksperchild=1) as pool:
        for results in pool.imap_unordered(run_file, jobs):
            for path, name, verdict, reason, seconds in results:
                passed, failed, skipped = passed + (verdict == "ok"), failed + (verdict == "FAIL"), skipped + (verdict == "skip")
                title = f"{path.parent.name}/{path.stem}: {name[5:].replace('_', ' ')}"
                if verdict != "ok" or verbose or reason:
                    print(f"{verdict:4} {title} [{seconds:.1f} s]" + (f"\n     {reason}" if reason else ""), flush=True)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

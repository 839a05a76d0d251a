#!/usr/bin/python3
"""Breaks the code on purpose, one fault at a time, and sees whether the named test finds it.

    tests/mutants.py [-j N] [--under COMMAND] [--list FILE] [--write] [word ..]

Takes the lines of tests/sim/mutants.txt, or of another list, that contain one of the words; all without one. A fault is made in a copy of its file, which
is compiled alone and linked in front of the archive: no other file is built for it. Two at a time, or N. COMMAND is put before each
compilation and each check ("nice -n 19"). Prints "found" or "NOT FOUND" per line with the seeds it took, and "N passed, N failed" at
the end; --write keeps what a whole run took in tests/sim/mutants_found.txt.

A check must pass while nothing is broken. A fault that does not compile is not found, nor one whose check has to be stopped, unless
its line ends with "hangs"; nor one at which the program ends without telling what failed.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIST = ROOT / "tests/sim/mutants.txt"
FOUND = ROOT / "tests/sim/mutants_found.txt"
BUILD = "build/release"
PROGRAMS = {"unit": f"{BUILD}/unit", "store": f"{BUILD}/unit_store", "sim": f"{BUILD}/sim"}
LIMIT_S = 600  # of a check; one that is expected to hang is stopped earlier
HANG_S = 40
MEMORY_BYTES = 6 << 30  # a fault may ask for all there is
ANY_SOURCE = "shared/base/err.c"  # what make would do if this had changed tells how things are compiled and linked

Fault = collections.namedtuple("Fault", "name path original replacement kind what runs seed hangs")


class Wrong(Exception):
    """Why a fault counts as not found."""


def parse(line):
    fields = [field.replace("\\n", "\n") for field in line.split(" | ")]
    if len(fields) != 5:
        raise Wrong(f"five fields are wanted, there are {len(fields)}")
    check, _, hangs = fields[4].strip().partition(" ")
    match = re.fullmatch(r"(unit|store):(\S+)|(sim):(\w+):(\d+)(?:@(\d+))?", check)
    if not match or hangs not in ("", "hangs"):
        raise Wrong(f"no such kind of check: {fields[4].strip()}")
    tests, pattern, sim, scenario, runs, seed = match.groups()
    return Fault(fields[0].strip(), fields[1].strip(), fields[2], fields[3], tests or sim, pattern or scenario, int(runs or 0), int(seed or 1), hangs != "")


def said(fault):
    """The check as it stands in the list."""
    if fault.kind != "sim":
        return f"{fault.kind}:{fault.what}"
    return f"sim:{fault.what}:{fault.runs}" + (f"@{fault.seed}" if fault.seed != 1 else "")


def counted(number, one, many):
    return f"{number} {one if number == 1 else many}"


class House:
    """A copy of the tree as it is now, and how it compiles and links: what is edited during a long run does not matter."""

    def __init__(self, directory, under, kinds):
        self.root = pathlib.Path(directory)
        self.under = under
        self.lock = threading.Lock()
        targets = [PROGRAMS[kind] for kind in sorted(kinds)]
        make = ["make", "--no-print-directory", "MODE=release"]
        subprocess.run([*make, "-j2", *targets], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        plan = subprocess.run([*make, "-n", "-W", ANY_SOURCE, *targets], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        commands = [shlex.split(each) for line in plan.splitlines() for each in line.split(";")]
        compiler = [c for c in commands if c[-1:] == [ANY_SOURCE]][0]
        self.compiler = compiler[: compiler.index("-MMD")]
        self.linkers = {c[c.index("-o") + 1]: c for c in commands if "-o" in c and c[c.index("-o") + 1] in targets}
        for part in ("shared", "broker", "segstore", "keel", "tests"):
            shutil.copytree(ROOT / part, self.root / part, ignore=shutil.ignore_patterns("*.pyc", "__pycache__"))
        for linker in self.linkers.values():
            for word in linker:
                if word.endswith((".o", ".a")) and not (self.root / word).exists():
                    (self.root / word).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / word, self.root / word)
        for target in targets:
            shutil.copy2(ROOT / target, self.root / target)

    def run(self, command, seconds):
        """Its output and status; the status is None when it had to be stopped."""
        limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))  # noqa: E731
        began = time.monotonic()
        process = subprocess.Popen([*self.under, *command], cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                   start_new_session=True, preexec_fn=limit)
        try:
            output, _ = process.communicate(timeout=seconds)
            status = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            status = None
        return output, status, time.monotonic() - began

    def build(self, fault, directory):
        """The program with the fault in it; as the Makefile has it, but for the one object."""
        source = (self.root / fault.path).read_text() if fault.path.endswith(".c") and (self.root / fault.path).exists() else ""
        if source.count(fault.original) != 1:
            raise Wrong(f"the original is there {source.count(fault.original)} times")
        broken = pathlib.Path(directory) / "broken.c"
        broken.write_text(source.replace(fault.original, fault.replacement))
        linker = list(self.linkers[PROGRAMS[fault.kind]])
        program = str(pathlib.Path(directory) / "program")
        mutant = str(pathlib.Path(directory) / "broken.o")
        linker[linker.index("-o") + 1] = program
        unlikely = f"{BUILD}/buggy/{fault.path[:-2]}.o"
        compiler = list(self.compiler)
        if unlikely in linker:
            compiler.append("-DKEEL_BUGGIFY")
            linker.remove(unlikely)
        linker.insert(linker.index("-o") + 2, mutant)
        for command in ([*compiler, "-c", "-o", mutant, str(broken)], linker):
            output, status, _ = self.run(command, LIMIT_S)
            if status != 0:
                errors = [line for line in output.splitlines() if "error" in line] or output.splitlines()[-1:]
                raise Wrong("it does not build: " + errors[0])
        return program


def failure(fault, output, status):
    """What it took to find it, and what was told; None when the check passed."""
    if fault.kind == "sim":
        failed = re.search(r"^FAILED \S+ seed (\d+)[^:]*: (.*)", output, re.M)
        if failed and "runs for minutes without end" in failed[2]:
            raise Wrong("it hangs, and the line does not say so")
        if failed:
            return f"after {int(failed[1]) - fault.seed + 1} of {fault.runs} seeds", failed[2]
        if status == 0 and re.search(rf"^{fault.runs} passed, 0 failed", output, re.M):
            return None
    else:
        synthesis = re.search(r"Tested: (\d+) \| Passing: (\d+)", output)
        if synthesis and int(synthesis[1]) > 0 and (status == 0) == (synthesis[1] == synthesis[2]):
            if status == 0:
                return None
            history = re.search(r"RAFT_SEED=(\d+), step \d+: (.*)", output)
            if history:
                seed = int(history[1])
                return f"after {counted(seed % 100000, 'history', 'histories')} of {5 if seed > 100000 else 3} replicas", history[2]
            failed = [line for line in output.splitlines() if re.match(r"\[FAIL\] \w+::\w+", line)]
            names = [re.search(r"::(\w+)", line)[1] for line in failed if "Timed out" not in line]
            if names:
                return f"by {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""), ""
            if failed:
                raise Wrong("it hangs, and the line does not say so")
    raise Wrong(f"the check ended with status {status} and did not tell why: " + " ".join(output.split()[-12:]))


def check(house, fault, program, seconds):
    if fault.kind == "sim":
        command = [program, f"--scenario={fault.what}", f"--seed={fault.seed}", f"--runs={fault.runs}", "--first"]
    else:
        command = [program, "-j1", "--color=never", "--filter", fault.what]
    output, status, spent = house.run(command, seconds)
    if status is None:
        return None, spent
    return failure(fault, output, status) or "passed", spent


def unsound(house, fault):
    """Why its check proves nothing, or "". Of those that name the same scenario from the same seed on the longest is asked for."""
    try:
        result, _ = check(house, fault, PROGRAMS[fault.kind], LIMIT_S)
    except (Wrong, OSError, subprocess.SubprocessError) as wrong:
        return str(wrong)
    return "" if result == "passed" else "it fails, or hangs, while nothing is broken"


def look(house, fault, why_not):
    """One fault: (found, words)."""
    if why_not:
        return False, f"the check is not sound: {why_not}"
    directory = tempfile.mkdtemp(dir=house.root)
    try:
        result, spent = check(house, fault, house.build(fault, directory), HANG_S if fault.hangs else LIMIT_S)
    except Wrong as wrong:
        return False, str(wrong)
    except (OSError, subprocess.SubprocessError) as error:  # of the machine: no memory, no room
        return False, f"it was not tried: {error}"
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if fault.hangs:
        return result is None, f"hangs, as it should: stopped after {HANG_S} s" if result is None else f"it does not hang: {result}"
    if result is None:
        return False, f"it hangs, and the line does not say so: stopped after {LIMIT_S} s"
    if result == "passed":
        return False, f"all passed, {spent:.0f} s"
    return True, result[0] + (f": {result[1]}" if result[1] else "")


def key(fault):
    return (fault.kind, fault.what, fault.seed)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("-j", type=int, default=min(2, os.cpu_count() or 1))
    options.add_argument("--under", default="")
    options.add_argument("--write", action="store_true")
    options.add_argument("--list", type=pathlib.Path, default=LIST)
    options.add_argument("words", nargs="*")
    options = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    words = [word for word in options.words if word]
    began = time.monotonic()
    faults, results = [], {}
    for line in options.list.read_text().splitlines():
        if line and not line.startswith("#") and (not words or any(word in line for word in words)):
            try:
                faults.append(parse(line))
            except Wrong as wrong:
                results[line.split(" | ")[0]] = (False, str(wrong))
                print(f"NOT FOUND: {line.split(' | ')[0]}: {wrong}")
    longest = {}
    for fault in faults:
        if key(fault) not in longest or fault.runs > longest[key(fault)].runs:
            longest[key(fault)] = fault
    with tempfile.TemporaryDirectory(prefix="keel-mutants.") as directory, concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        house = House(directory, shlex.split(options.under), {fault.kind for fault in faults})
        checks = {k: pool.submit(unsound, house, fault) for k, fault in longest.items()}
        jobs = {}
        for fault in faults:
            # The checks stand before the faults in the queue, so whoever waits for one here waits for what is under way or done.
            jobs[pool.submit(lambda f=fault: look(house, f, checks[key(f)].result()))] = fault
        try:
            for job in concurrent.futures.as_completed(jobs):
                fault = jobs[job]
                found, told = results[fault.name] = job.result()
                print(f"{'found' if found else 'NOT FOUND'}: {fault.name} ({said(fault)}): {told}", flush=True)
        finally:  # also when it is interrupted: what has not begun is not begun
            pool.shutdown(cancel_futures=True)
    passed = sum(found for found, _ in results.values())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = f"{(time.monotonic() - began) / 60:.1f} minutes, {options.j} at a time; {(used.ru_utime + used.ru_stime) / 60:.1f} of one processor"
    if options.write and not words and options.list == LIST:
        FOUND.write_text("# What each fault of mutants.txt took to be found when the whole list was last run: written by tests/mutants.py --write.\n"
                         f"# {passed} of {len(results)} found, {took}.\n#   name | check | found\n\n"
                         + "".join(f"{f.name} | {said(f)} | {results[f.name][1] if results[f.name][0] else 'NOT FOUND: ' + results[f.name][1]}\n" for f in faults))
    print(took)
    print(f"{passed} passed, {len(results) - passed} failed")
    return 0 if passed == len(results) and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())

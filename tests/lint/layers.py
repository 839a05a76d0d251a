#!/usr/bin/python3
"""Checks every include line of shared/, broker/, segstore/ and keel/ against tests/lint/layers.

Prints file:line: sentence for each that is not in the plan, for each that no file makes use of, and where the table of ARCHITECTURE.md says something
else; the exit status says whether there was one.
"""
import pathlib
import re
import sys

PLAN = pathlib.Path("tests/lint/layers")
ROOMS = ("shared", "broker", "segstore", "keel")
WORLD = re.compile(r"(sys/.*|time\.h|unistd\.h|pthread\.h|threads\.h|liburing\.h|fcntl\.h|signal\.h|poll\.h|netinet/.*|arpa/.*|netdb\.h)$")
WORLD_ALLOWED = {"sys/uio.h"}  # struct iovec is a type, not a call
INCLUDE = re.compile(r'\s*#\s*include\s+([<"])([^>"]+)[>"]')


def read_plan():
    plan = {}
    for number, line in enumerate(PLAN.read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        folder, kind, below = words[0], words[1], words[2:]
        for other in below:
            if other not in plan:
                sys.exit(f"{PLAN}:{number}: {other} is not a floor below {folder}")
        plan[folder] = (kind, {folder, *below}, number)
    return plan


def folder_of(path, plan):
    folder = str(pathlib.PurePosixPath(path).parent)
    while folder not in plan and "/" in folder:
        folder = folder.rsplit("/", 1)[0]
    return folder if folder in plan else None


def check(path, plan, used):
    """The sentences about one file; used: the edges that were met, (folder, floor below)."""
    own = folder_of(path, plan)
    if own is None:
        yield 1, "its folder is not in tests/lint/layers"
        return
    kind, allowed, _ = plan[own]
    includes = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        mark, target = found.groups()
        includes.append((mark, target))
        if mark == "<":
            if kind == "pure" and WORLD.match(target) and target not in WORLD_ALLOWED:
                yield number, f"<{target}> touches the world, {own} is pure"
        elif not pathlib.Path(target).is_file():
            yield number, f'"{target}" is not written from the root'
        else:
            floor = folder_of(target, plan)
            used.add((own, floor))
            if floor not in allowed:
                yield number, f"{own} may not include {floor} ({target})"
    header = str(path.with_suffix(".h"))
    first = includes[0][1] if includes and includes[0][0] == '"' else ""
    beside = str(pathlib.PurePosixPath(first).parent) == str(path.parent)  # a room's inner header may stand before: it includes the own one
    if path.suffix == ".c" and pathlib.Path(header).is_file() and first != header and not beside:
        yield 1, f'its own header "{header}" comes first'


def check_table(plan):
    """The rows of ARCHITECTURE.md: | `folder` | what it is | the last words of the folders it may use; in brackets, what of them |"""
    table, told = pathlib.Path("ARCHITECTURE.md"), set()
    for number, line in enumerate(table.read_text().splitlines(), 1):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        folder = cells[0].strip("`")
        if len(cells) != 3 or folder not in plan:
            continue
        told.add(folder)
        said = sorted(re.sub(r"\(.*?\)", "", cells[2]).replace(" ", "").split(","))
        may = sorted(floor.rsplit("/", 1)[-1] for floor in plan[folder][1] - {folder}) or ["nothing"]
        if said != may:
            yield f"{table}:{number}: {folder} may use {', '.join(may)}, says {PLAN}"
    for folder in sorted(plan.keys() - told):
        yield f"{table}:1: {folder} has no row"


def main():
    plan, used, wrong = read_plan(), set(), 0
    for room in ROOMS:
        for path in sorted(pathlib.Path(room).rglob("*.[ch]")):
            for number, sentence in check(path, plan, used):
                print(f"{path}:{number}: {sentence}")
                wrong += 1
    for folder, (_, allowed, number) in plan.items():
        for floor in sorted(allowed - {folder}):
            if (folder, floor) not in used:
                print(f"{PLAN}:{number}: no file of {folder} includes anything of {floor}")
                wrong += 1
    for sentence in check_table(plan):
        print(sentence)
        wrong += 1
    return 1 if wrong else 0


sys.exit(main())

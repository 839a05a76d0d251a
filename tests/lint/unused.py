#!/usr/bin/python3
"""Functions of the libraries that no program needs: nobody calls them, or only their own file, where they should be static.

Reads the objects of `make`: what a function of build/release/libcore.a or libedge.a is used by, beside its own file and tests. KEPT are those that only tests,
the simulator or benchmarks call, each with its reason. Prints what is wrong, and exits with 1 then."""
import collections
import pathlib
import subprocess
import sys

BUILD = "build/release"
MAINS = ["broker/main.o", "segstore/main.o", "keel/main.o"]
KEPT = {
    "what a test or the simulator sees of a state": """
        mqtt_conn_memory_bytes mqtt_conn_state_name mqtt_conn_version match_bytes match_misses match_nodes node_chain node_raft node_repairs node_stripe
        offsets_bytes pool_slab_bytes pool_used_count raft_first rows_bytes stripe_actions_failed stripe_hash stripe_time_ns wants_bytes""",
    "what a test asks without what stands around it": "bridge_matches config_defaults match_add_at scram_keys_make stripe_save stripe_status_lag",
    "the port is whole": "io_close",
    "for a protocol to come (tests, benchmarks)": "op_run_add op_run_begin op_run_end",
}


def symbols(path):
    """(object, letter, name) of each symbol of an archive or object."""
    for line in subprocess.run(["nm", "-A", "-P", path], check=True, capture_output=True, text=True).stdout.splitlines():
        where, name, letter = line.split()[:3]
        yield where, letter, name


def main():
    missing = [path for path in ["libcore.a", "libedge.a", *MAINS] if not pathlib.Path(BUILD, path).exists()]
    if missing:
        sys.exit(f"{missing[0]} is not there: make")
    defined = {}
    wanted = collections.Counter()
    for path in ["libcore.a", "libedge.a", *MAINS]:
        for where, letter, name in symbols(f"{BUILD}/{path}"):
            if letter == "T" and path not in MAINS:
                defined[name] = where
            elif letter == "U":
                wanted[name] += 1
    kept = {name for names in KEPT.values() for name in names.split()}
    unused = {name for name in defined if not wanted[name]}
    for name in sorted(unused - kept):
        print(f"{defined[name]} {name}: no other file of a program uses it: delete it, or make it static")
    for name in sorted(kept - unused):
        print(f"{name}: a program uses it, or it is gone: take it out of the list in tests/lint/unused.py")
    sys.exit(bool(unused ^ kept))


if __name__ == "__main__":
    main()

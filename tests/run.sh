#!/usr/bin/env bash
# Builds and runs every test, one part after the other; ends with "N passed, N failed" over all of them.
#   tests/run.sh [part ..]      build unit store sim fuzz crash e2e chaos lint, or those named
# Each part writes build/test-<part>.log; of a part that fails the log's failures are printed. A part that could not even count is one failure.
set -u
cd "$(dirname "$0")/.."
mkdir -p build
make="make --no-print-directory -j2"
passed=0
failed=0

# What needs nothing but a processor goes on behind what mostly waits, and only takes what that leaves: lint, from e2e on, when both are to be run.
behind=
trap '[ -z "$behind" ] || kill "$behind" 2>/dev/null' EXIT
behind_begin() {
    chrt -i 0 tests/lint/lint.sh >build/lint-behind.log 2>&1 &
    behind=$!
}

# The last count in a log: Criterion's synthesis, or "N passed, N failed".
count() {
    local log=$1 status=$2 part=$3 line ok bad
    line=$(grep -aE 'Synthesis: Tested: [0-9]+|^[0-9]+ passed, [0-9]+ failed' "$log" | tail -1)
    case $line in
    *Synthesis*)
        ok=$(grep -oE 'Pass(ing|ed): [0-9]+' <<<"$line" | grep -oE '[0-9]+')
        bad=$(($(grep -oE 'Fail(ing|ed): [0-9]+' <<<"$line" | grep -oE '[0-9]+') + $(grep -oE 'Crash(ing|ed): [0-9]+' <<<"$line" | grep -oE '[0-9]+')))
        ;;
    *passed*)
        read -r ok _ bad _ <<<"$line"
        ;;
    *)
        ok=0
        bad=0
        ;;
    esac
    [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    passed=$((passed + ok))
    failed=$((failed + bad))
    printf '%-6s %5d passed, %d failed  %4d s  build/test-%s.log\n' "$part" "$ok" "$bad" "$SECONDS" "$part"
    [ "$bad" -eq 0 ] || grep -aE '^FAIL|FAIL\]|CRASH|Assertion|assertion failed|Unexpected|ERROR|error:|seed|Error [0-9]|^     ' "$log" | head -60 | sed 's/^/    /'
}

run() {
    local part=$1 log=build/test-$1.log status
    shift
    SECONDS=0
    "$@" >"$log" 2>&1
    status=$?
    count "$log" $status "$part"
    return $status
}

fuzz_targets() { find tests/fuzz -name 'fuzz_*.c' -exec basename {} .c \; 2>/dev/null | sort | sed 's|^|build/fuzz/|'; }
part_build() { $make all build/release/unit build/release/unit_store && { [ ! -d tests/sim ] || $make build/release/sim build/release/crash; } && { [ ! -d tests/e2e/clients ] || $make clients next; }; }
part_lint() {
    local status=0
    if [ -z "$behind" ]; then
        tests/lint/lint.sh
        return
    fi
    wait "$behind" || status=1
    cat build/lint-behind.log
    return $status
}
part_unit() { build/release/unit -j2; }
part_store() { build/release/unit_store -j2; }
# 200 seeds, half of them on each core; each of the first 100 twice, for the same trace.
sim_half() { build/release/sim --seed="$1" --runs=50 --verify && build/release/sim --seed="$2" --runs=50; }
part_sim() {
    local first second status=0
    [ -d tests/sim ] || return 0
    sim_half 1 101 >build/sim-1.log 2>&1 &
    first=$!
    sim_half 51 151 >build/sim-2.log 2>&1 &
    second=$!
    wait $first || status=1
    wait $second || status=1
    cat build/sim-1.log build/sim-2.log
    grep -hE '^[0-9]+ passed, [0-9]+ failed' build/sim-1.log build/sim-2.log | awk '{ok += $1; bad += $3} END {print ok + 0 " passed, " bad + 0 " failed"}'
    return $status
}
part_fuzz() {
    local targets
    targets=$(fuzz_targets)
    [ -n "$targets" ] || return 0
    # shellcheck disable=SC2086
    $make $targets >build/fuzz-build.log 2>&1 || { tail -20 build/fuzz-build.log; return 1; }
    # shellcheck disable=SC2086
    tests/fuzz/run.sh 5 $targets
}
# Cuts of two recorded runs, sectors of 4096 and of 512 bytes.
part_crash() {
    local status=0
    build/release/crash --seed=1 --cuts=300 2>/dev/null >build/crash-1.log || status=1
    build/release/crash --seed=2 --cuts=300 2>/dev/null >build/crash-2.log || status=1
    cat build/crash-1.log build/crash-2.log
    grep -hE '^[0-9]+ passed, [0-9]+ failed' build/crash-1.log build/crash-2.log | awk '{ok += $1; bad += $3} END {print ok + 0 " passed, " bad + 0 " failed"}'
    return $status
}
part_e2e() { [ ! -f broker/main.c ] || tests/e2e/run.py; }
part_chaos() { [ ! -f broker/main.c ] || tests/e2e/chaos.py --bounded; }

parts=("$@")
[ $# -gt 0 ] || parts=(build unit store sim fuzz crash e2e chaos lint)
for part in "${parts[@]}"; do
    [ "$part" != e2e ] || [[ " ${parts[*]} " != *" lint "* ]] || behind_begin
    if ! run "$part" "part_$part" && [ "$part" = build ]; then
        break # nothing that follows would say anything new
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]

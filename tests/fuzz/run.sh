#!/usr/bin/env bash
# Runs each fuzz target for some seconds: tests/fuzz/run.sh SECONDS TARGET ..
# A crash leaves its input in build/fuzz/found/ and is a failure; inputs that found new code are kept in build/fuzz/corpus/ for the next run.
# Seeds lie in tests/fuzz/seeds/<target>/, inputs of fixed bugs among them. Ends with "N passed, N failed".
set -u
cd "$(dirname "$0")/../.."
seconds=$1
shift
passed=0
failed=0
run_one() {
    local target=$1 name
    name=$(basename "$target")
    mkdir -p "build/fuzz/corpus/$name" build/fuzz/found
    local seeds=()
    [ -d "tests/fuzz/seeds/$name" ] && seeds=("tests/fuzz/seeds/$name")
    "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/found/$name-" "build/fuzz/corpus/$name" "${seeds[@]}" >"build/fuzz/$name.log" 2>&1
}
# What it ended with, where, and the input itself: whoever reads this may not have the machine that found it.
told() {
    local log=build/fuzz/$1.log input
    grep -E 'ERROR|SUMMARY|assertion failed|runtime error|^ +#[0-9]+ ' "$log" | head -14
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
    [ ! -f "$input" ] || { echo "$input, base64:" && base64 -w 0 "$input" | head -c 6000 && echo; }
}
jobs=()
names=()
wait_first() {
    if wait "${jobs[0]}"; then
        echo "ok   ${names[0]} $(grep -o 'number_of_executed_units: *[0-9]*' "build/fuzz/${names[0]}.log" | grep -o '[0-9]*$') inputs in $seconds s"
        passed=$((passed + 1))
    else
        echo "FAIL ${names[0]}"
        told "${names[0]}" | sed 's/^/     /'
        failed=$((failed + 1))
    fi
    jobs=("${jobs[@]:1}")
    names=("${names[@]:1}")
}
for target in "$@"; do
    [ ${#jobs[@]} -lt 2 ] || wait_first
    run_one "$target" &
    jobs+=($!)
    names+=("$(basename "$target")")
done
while [ ${#jobs[@]} -gt 0 ]; do wait_first; done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]

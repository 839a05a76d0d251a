#!/usr/bin/env bash
# Breaks the code on purpose, one fault at a time, and sees whether the named test finds it.
#   tests/mutants.sh [WORD]     all lines of tests/sim/mutants.txt, or those that contain WORD
# The faults are made in a copy of the tree. Prints "found" or "NOT FOUND" per line and ends with "N passed, N failed".
set -u
cd "$(dirname "$0")/.."
word=${1:-}
copy=$(mktemp -d "${TMPDIR:-/tmp}/keel-mutants.XXXXXX")
trap 'rm -rf "$copy"' EXIT
tar cf - --exclude=./.git --exclude=./build --exclude=./data . | tar xf - -C "$copy"
if [ -d build/release ]; then # what is built already need not be built again
    mkdir -p "$copy/build"
    cp -a build/release "$copy/build/release"
fi
list=$copy/tests/sim/mutants.txt
cd "$copy"
passed=0
failed=0

# unit:SUITE/PATTERN, store:SUITE/PATTERN or sim:SCENARIO:RUNS[@SEED]
program() {
    case $1 in
    unit:*) echo build/release/unit ;;
    store:*) echo build/release/unit_store ;;
    sim:*) echo build/release/sim ;;
    esac
}
run_check() {
    local rest=${1#*:} seed=1
    case $rest in *@*) seed=${rest##*@} rest=${rest%@*} ;; esac
    case $1 in
    unit:* | store:*) timeout 300 "$(program "$1")" -j2 --filter "$rest" ;;
    sim:*) timeout 600 build/release/sim --scenario="${rest%:*}" --seed="$seed" --runs="${rest##*:}" --first ;;
    esac >check.log 2>&1
}
trim() { sed 's/^ *//; s/ *$//' <<<"$1"; }

# Every check must pass as long as nothing is broken, or it finds whatever it is shown.
declare -A sound
while IFS= read -r line; do
    case $line in '' | '#'*) continue ;; esac
    [[ $line == *"$word"* ]] || continue
    check=$(trim "${line##* | }")
    [ -z "${sound[$check]:-}" ] || continue
    if [ -z "$(program "$check")" ]; then
        echo "FAIL $check: no such kind of check"
        sound[$check]=no
        continue
    fi
    make -j2 MODE=release "$(program "$check")" >build.log 2>&1 || { echo "it does not build:"; tail -5 build.log; exit 1; }
    if run_check "$check" && ! grep -q 'Tested: 0 ' check.log; then
        sound[$check]=yes
    else
        echo "FAIL $check: fails, or tests nothing, while nothing is broken"
        sound[$check]=no
    fi
done <"$list"

while IFS= read -r line; do
    case $line in '' | '#'*) continue ;; esac
    [[ $line == *"$word"* ]] || continue
    name=${line%% | *}
    check=$(trim "${line##* | }")
    result="found"
    file=$(python3 - "$line" <<'PYTHON'
import sys
fields = sys.argv[1].split(" | ")
if len(fields) != 5:
    sys.exit("five fields are wanted, there are %d" % len(fields))
path, original, replacement = fields[1].strip(), *(f.replace("\\n", "\n") for f in fields[2:4])
text = open(path).read()
if text.count(original) != 1:
    sys.exit("the original is there %d times" % text.count(original))
open(path + ".whole", "w").write(text)
open(path, "w").write(text.replace(original, replacement))
print(path)
PYTHON
    ) 2>python.log || result="NOT FOUND: cannot be broken so: $(cat python.log)"
    if [ "$result" = found ]; then
        if [ "${sound[$check]}" = no ]; then
            result="NOT FOUND: the check is not sound"
        elif ! make -j2 MODE=release "$(program "$check")" >build.log 2>&1; then
            result="NOT FOUND: it does not build: $(grep -m1 error build.log)"
        elif run_check "$check"; then
            result="NOT FOUND"
        fi
    fi
    [ -z "$file" ] || { cp "$file.whole" "$file" && rm "$file.whole"; }
    if [ "$result" = found ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
    echo "$result: $name ($check)"
done <"$list"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

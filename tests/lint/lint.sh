#!/usr/bin/env bash
# What a compiler does not check: layers, lone headers, guards, exits, state in pure rooms, names defined twice, functions and settings that nobody uses, names of tests, form, clang-tidy.
#   tests/lint/lint.sh [check ..]     all of them, or those named
# Prints "ok" or "FAIL" per check and ends with "N passed, N failed". Needs the objects of `make` for `state`, `symbols` and `unused`.
set -u
cd "$(dirname "$0")/../.."
rooms=(shared broker segstore keel)
existing=()
for room in "${rooms[@]}"; do [ -d "$room" ] && existing+=("$room"); done
flags="-std=gnu17 -D_GNU_SOURCE -I."
sources() { find "${existing[@]}" -name '*.c' | sort; }
headers() { find "${existing[@]}" -name '*.h' | sort; }

# Includes follow tests/lint/layers.
layers() { /usr/bin/python3 tests/lint/layers.py; }

# Every header compiles alone.
lone_headers() {
    headers | xargs -P 2 -I{} sh -c "gcc $flags -Wall -Wextra -Werror -fsyntax-only -x c -include stddef.h {} 2>&1 || { echo '{} does not compile alone'; exit 255; }"
}

# An include guard is the path: two headers of one name do not hide each other.
guards() {
    local wrong=0 file guard
    for file in $(headers; find tests bench -name '*.h' 2>/dev/null); do
        guard=KEEL_$(tr 'a-z/.-' 'A-Z___' <<<"$file")
        grep -qx "#ifndef $guard" "$file" && grep -qx "#define $guard" "$file" || { echo "$file: its guard is not $guard"; wrong=1; }
    done
    return $wrong
}

# Only main.c and assert.c end the process. fatal (memory at start, a failed fsync) may in the rooms that own a thread, never in a pure one; _exit in a fork that cannot become its program.
exits() {
    ! sources | grep -vE '(^|/)main\.c$|^shared/base/assert\.c$' | xargs grep -nE '\b(exit|_exit|_Exit|quick_exit|abort|fatal)\(' |
        grep -vE "^(segstore/(disk|node)|broker/shard)/[a-z_]+\.c:[0-9]+:.*\bfatal\(" | grep -vE '^keel/dev\.c:[0-9]+: +_exit\(127\);'
}

# Pure rooms keep nothing between calls: no object in .data or .bss. (Constants with pointers live in .data.rel.ro.)
state() {
    local wrong=0 folder object found
    while read -r folder; do
        [ -d "build/release/$folder" ] || continue
        for object in "build/release/$folder"/*.o; do
            [ -e "$object" ] || continue
            found=$(objdump -t "$object" | awk '/ O (\.data|\.bss|\.tdata|\.tbss|\*COM\*)(\.[a-z]+)?\t/ && !/\.data\.rel\.ro/ {print $NF}')
            [ -z "$found" ] || { echo "$object keeps state: $found"; wrong=1; }
        done
    done < <(awk '$2 == "pure" {print $1}' tests/lint/layers)
    return $wrong
}

# One name, one function: of two with the same name in the library a program silently gets the first.
symbols() {
    local twice
    twice=$(nm --defined-only build/release/libcore.a 2>/dev/null | awk '$2 ~ /^[TDBR]$/ {print $3}' | sort | uniq -d)
    [ -z "$twice" ] || { echo "defined in more than one file: $twice"; return 1; }
}

# Functions that no program calls, or only their own file. Tests do not count, but for those that the list there has a reason for.
unused() { /usr/bin/python3 tests/lint/unused.py; }

# A suite is its folder and its file (tests/unit/../raft/test_append.c: raft_append), or the file alone where that says both (stripe/test_stripe.c: stripe).
suites() {
    local wrong=0 file name folder suite
    while read -r file; do
        name=${file##*/test_} name=${name%.c} folder=${file%/*} folder=${folder##*/}
        suite=${folder}_$name
        case $name in "$folder" | "${folder}_"*) suite=$name ;; esac
        ! grep -nE '^(Test|TestSuite|ParameterizedTest|ParameterizedTestParameters)\(' "$file" | grep -vE "[(,] ?$suite\b" || { echo "$file: its suite is $suite"; wrong=1; }
    done < <(find tests/unit -name 'test_*.c' | sort)
    return $wrong
}

# A setting that is accepted and ignored would be a lie.
settings() {
    local wrong=0 field
    [ -f broker/main.c ] && [ -f segstore/main.c ] || return 0
    for field in $(sed -nE 's/^    X\(([a-z_0-9]+),.*/\1/p' shared/config/settings.h); do
        [ "$field" = config ] && continue
        grep -rqE "(->|\.)$field\b" broker segstore keel --include='*.c' || { echo "shared/config/settings.h: no program reads $field"; wrong=1; }
    done
    # One that no document tells of is not found by those who need it.
    for field in $(sed -nE 's/^    X\([a-z_0-9]+, +"([a-z_0-9.]+)",.*/\1/p' shared/config/settings.h); do
        grep -qE "(^|[^a-z_.])${field//./\\.}([^a-z_0-9]|$)" docs/*.md || { echo "shared/config/settings.h: $field is in no docs/*.md"; wrong=1; }
    done
    return $wrong
}

# What is unfinished is not merged.
finished() { ! grep -rnwE 'TODO|FIXME|XXX|HACK' "${existing[@]}" tests bench deploy Makefile --include='*.[ch]' --include='*.py' --include='*.sh' --exclude=lint.sh; }

form() {
    local wrong=0 file
    for file in $(sources; headers; find tests bench -name '*.[ch]' 2>/dev/null); do
        clang-format "$file" | cmp -s - "$file" || { echo "$file: not as clang-format writes it (make format)"; wrong=1; }
    done
    return $wrong
}

tidy() {
    sources | xargs -P 2 -n 3 sh -c "clang-tidy --quiet \"\$@\" -- $flags 2>/dev/null" clang-tidy |
        grep -E 'warning:|error:' | sed "s|$PWD/||" | sort -u | awk '{print} END {exit NR > 0}'
}

passed=0
failed=0
checks=("$@")
[ $# -gt 0 ] || checks=(layers lone_headers guards exits state symbols unused suites settings finished form tidy)
for check in "${checks[@]}"; do
    if output=$("$check" 2>&1); then
        echo "ok   lint $check"
        passed=$((passed + 1))
    else
        echo "FAIL lint $check"
        echo "$output" | sed 's/^/     /'
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]

#!/usr/bin/env bash
# Runs every fuzz target. Without an argument: a fixed number of runs of each, with a fixed seed and without what libFuzzer
# takes from clocks and addresses, so that the next run of the same build does the same. (Another clone may read seeds of one
# size in another order.) With a number of seconds: for so long together, with another seed each time; what was learnt is
# kept in fuzz/corpus and built on. An input that fails is printed, and written to fuzz/artifacts: it becomes a unit test.
set -euo pipefail
cd "$(dirname "$0")/.."

# Runs of each target: about as long as one another.
declare -A runs=(
    [description]=150000
    [fragment_table]=200000
    [messages]=30000
    [pack]=100000
    [packets]=150000
    [parameter_sets]=300000
    [units]=150000
)

# No sanitizer: no code of ours is unsafe. Overflow and debug assertions are checked.
build=(--sanitizer none --debug-assertions)
cargo fuzz build "${build[@]}"

# Where a container does not allow that, runs differ a little.
alike=()
if setarch --addr-no-randomize true 2>/dev/null; then alike=(setarch --addr-no-randomize); fi

scratch="$(mktemp --directory)"
trap 'rm -rf "$scratch"' EXIT

# One target, quietly; all that it said where it fails.
fuzz() {
    local target=$1 seconds=$2 corpus options
    if ((seconds > 0)); then
        corpus="fuzz/corpus/$target"
        options=(-max_total_time="$seconds")
    else
        corpus="$scratch/$target"
        options=(-seed=1789 -runs="${runs[$target]}" -reload=0)
    fi
    mkdir -p "$corpus"
    # What is waited for and what is held have bounds: so have time and memory here.
    options+=(-max_len=8192 -timeout=20 -rss_limit_mb=1024)
    if ! "${alike[@]}" cargo fuzz run "${build[@]}" "$target" "$corpus" "fuzz/seeds/$target" -- "${options[@]}" >"$scratch/$target.log" 2>&1; then
        cat "$scratch/$target.log"
        return 1
    fi
    printf '%-15s %s\n' "$target" "$(grep --text '^Done' "$scratch/$target.log")"
}

targets=("${!runs[@]}")
# Two at a time.
turns=$(((${#targets[@]} + 1) / 2))
each=$((${1:-0} / turns))
if ((${1:-0} > 0 && each == 0)); then each=1; fi
failed=0
for ((i = 0; i < ${#targets[@]}; i += 2)); do
    pids=()
    for target in "${targets[@]:i:2}"; do
        fuzz "$target" "$each" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
done
exit "$failed"

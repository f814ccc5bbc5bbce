# Read by the suites and by scripts/crosscheck: builds programs of the CUDA simulator, or says that this machine cannot.
# Where PLUMB_REQUIRE_SIMULATOR is set, as in CI, "cannot" is a failure: nothing simulated would otherwise look like
# everything right.

simulator=build/cudasim # where it is built

# simulator_build [-DOPTION]... TARGET...: 0: they are there. 1: they do not compile, or must be there and cannot; it is said why.
# 2: no CUDA headers here, and that is allowed (tests/skips.txt).
simulator_build() {
    local log=build/test-logs/make-${simulator##*/}.log options=(-DCMAKE_BUILD_TYPE=Release)
    mkdir -p build/test-logs
    while [ "${1#-D}" != "$1" ]; do
        options+=("$1")
        shift
    done
    if ! cmake -S . -B "$simulator" "${options[@]}" >"$log" 2>&1; then
        tail -n 60 "$log"
        return 1
    fi
    if ! grep -q '^PLUMB_CUDA_INCLUDE:PATH=.*/' "$simulator/CMakeCache.txt"; then
        echo "not built: no CUDA headers, neither of a toolkit nor downloaded by scripts/setup"
        if [ -n "${PLUMB_REQUIRE_SIMULATOR:-}" ] || ! grep -q '^cudasim/build:' tests/skips.txt; then
            echo "here that is a failure: PLUMB_REQUIRE_SIMULATOR is set, or tests/skips.txt does not allow it"
            return 1
        fi
        return 2
    fi
    if ! cmake --build "$simulator" --parallel "$(nproc)" --target "$@" >>"$log" 2>&1; then
        grep -E 'error|Error' -A 5 "$log" | head -n 60
        return 1
    fi
}

export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1

passed=0 failed=0 skipped=0
# count PROGRAM [ARGUMENT]...: runs it, and adds what its last line says
count() {
    local output status line p f s
    output=$("$@" 2>&1)
    status=$?
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' <<<"$output" | tail -n 1)
    read -r p _ f _ s _ <<<"${line:-0 passed, 1 failed, 0 skipped}"
    if { [ "$status" -ne 0 ] || [ "$p" -eq 0 ]; } && [ "$f" -eq 0 ]; then
        f=1
    fi
    if [ "$f" -ne 0 ]; then
        tail -n 40 <<<"$output"
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    counted_output=$output
    counted="$p passed, $f failed, $s skipped"
}

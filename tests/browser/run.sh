#!/bin/sh
# The plain page in a real browser, against a gateway of its own.
#
#   VIGIE_BIN          the built binary, ../../target/debug/vigie unless said; it is run as `$VIGIE_BIN demo --listen 127.0.0.1:0 $VIGIE_DEMO_ARGS`
#   VIGIE_URL          instead: the address of a gateway that already runs
#   VIGIE_SCREENSHOTS  folder for pictures of the page
#
# Needs node 20, npm and chromium. Ends with the tests' status.
set -eu
cd "$(dirname "$0")"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

if [ -z "${VIGIE_URL:-}" ]; then
    : "${VIGIE_BIN:=../../target/debug/vigie}"
    work=$(mktemp -d)
    gateway=
    # shellcheck disable=SC2329 # called by the trap
    clean() {
        if [ -n "$gateway" ]; then
            kill "$gateway" 2>/dev/null || :
            wait "$gateway" 2>/dev/null || :
        fi
        rm -rf "$work"
    }
    trap clean EXIT
    trap 'exit 130' INT TERM
    # shellcheck disable=SC2086 # several arguments are meant
    "$VIGIE_BIN" demo --listen 127.0.0.1:0 ${VIGIE_DEMO_ARGS:-} >"$work/out" 2>&1 &
    gateway=$!
    tries=0
    # The first address with a port that it prints is the page's.
    until VIGIE_URL=$(grep -sEom1 'http://[^[:space:]]+:[1-9][0-9]*/?' "$work/out"); do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ] || ! kill -0 "$gateway" 2>/dev/null; then
            echo "the gateway printed no address:" >&2
            cat "$work/out" >&2
            exit 1
        fi
        sleep 0.1
    done
    export VIGIE_URL
fi

if node --test; then
    exit 0
else
    status=$?
    [ -z "${work:-}" ] || { echo "the gateway said:" >&2; tail -n 50 "$work/out" >&2; }
    exit "$status"
fi

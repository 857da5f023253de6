#!/bin/sh
# Everything that has to hold, each step with its minutes: a step that takes longer is ended and counts as failed.
# All steps run even when one fails, so that one run shows everything.
set -u
cd "$(dirname "$0")/.."
bin=.venv/bin
workers=${PYTEST_WORKERS:-2}
failed='' table=''

step() { # NAME MINUTES COMMAND...
    name=$1 minutes=$2
    shift 2
    printf '\n==> %s (at most %s min)\n' "$name" "$minutes"
    begun=$(date +%s)
    if command -v timeout >/dev/null 2>&1; then timeout -s INT -k 30 "${minutes}m" "$@"; else "$@"; fi
    status=$?
    took=$(($(date +%s) - begun))
    verdict=ok
    if [ $status -ne 0 ]; then
        verdict="FAILED ($status)"
        [ $status -eq 124 ] && verdict="FAILED (over its $minutes min)"
        failed="$failed $name"
    fi
    table="$table$(printf '  %-14s %4d s of %3d s   %s' "$name" "$took" $((minutes * 60)) "$verdict")
"
}

step format 1 $bin/ruff format --check .
step lint 1 $bin/ruff check .
step types 2 $bin/mypy
step imports 1 $bin/lint-imports --no-logo
step tests 7 $bin/python -m pytest --keep-budget -n "$workers" --dist loadfile -m 'not system and not faults' "$@"
step system 5 $bin/python -m pytest --keep-budget -m system
step faults 5 $bin/python -m pytest --keep-budget -m faults

printf '\nmake test, step by step:\n%s' "$table"
if [ -n "$failed" ]; then
    printf 'make test: FAILED:%s\n' "$failed"
    exit 1
fi
printf 'make test: all of it holds\n'

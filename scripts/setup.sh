#!/bin/sh
# Make .venv in this checkout and install meterline into it, editable, with the versions of constraints.txt.
#   scripts/setup.sh runtime   what `make demo` needs        scripts/setup.sh dev   what `make test` needs, too
# Runs again only when pyproject.toml, constraints.txt, the interpreter or the place of the checkout changed.
set -eu
cd "$(dirname "$0")/.."
kind=${1:-dev}
say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

case $kind in
    runtime) extras=demo ;;
    dev) extras=demo,dev ;;
    *) die "unknown kind '$kind': runtime or dev" ;;
esac

usable() { command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
with_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# A checkout that was moved or copied has scripts in .venv that point to the old place.
if [ -d .venv ] && [ -f .venv/.meterline-root ] && [ "$(cat .venv/.meterline-root)" != "$PWD" ]; then
    say "the checkout has moved: making .venv anew"
    rm -rf .venv
fi
if [ -d .venv ] && ! usable .venv/bin/python; then
    say ".venv does not run any more (was its Python removed?): making it anew"
    rm -rf .venv
fi

if [ ! -x .venv/bin/python ]; then
    found='' without_venv=''
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14 python; do
        usable "$candidate" || continue
        if with_venv "$candidate"; then found=$candidate; break; fi
        without_venv=${without_venv:-$candidate}
    done
    if [ -z "$found" ] && [ -n "$without_venv" ]; then
        version=$("$without_venv" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        die "$without_venv has no venv module. Install it and run make again:
    sudo apt-get install -y $version-venv"
    fi
    [ -n "$found" ] || die "Python 3.11 or newer is needed and none was found. Install it and run make again:
    sudo apt-get install -y python3 python3-venv        (Debian 12, Ubuntu 24.04 or newer)
or name one:  make setup PYTHON=/path/to/python3.11"
    say "making .venv with $("$found" -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3], sys.executable)')"
    "$found" -m venv .venv
fi

wanted="$(cat pyproject.toml constraints.txt | cksum) $(.venv/bin/python -V) $PWD"
for stamp in ".venv/.meterline-$kind" .venv/.meterline-dev; do  # dev includes runtime
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi
done

say "installing the pinned packages for '$kind' into .venv (one to three minutes the first time)"
pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input -q "$@"; }
export PIP_ROOT_USER_ACTION=ignore
if ! { pip install -c constraints.txt setuptools && pip install -c constraints.txt --no-build-isolation -e ".[$extras]"; }; then
    die "pip failed; its reason is above. If it could not reach the package index, this machine is offline."
fi
printf '%s\n' "$PWD" >.venv/.meterline-root
printf '%s\n' "$wanted" >".venv/.meterline-$kind"
say "done: .venv/bin/meterline"

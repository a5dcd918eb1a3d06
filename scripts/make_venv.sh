#!/bin/sh
# Make .venv with the exact versions of requirements.txt.  Arguments go to pip.
set -eu
cd "$(dirname "$0")/.."

python=
for name in python3.11 python3.12 python3; do
  if "$name" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
    python=$name
    break
  fi
done
if [ -z "$python" ]; then
  echo "make: Python 3.11 or 3.12 is needed and none was found on PATH: install one, then run the command again." >&2
  exit 1
fi

echo "Installing into .venv (2.4 GB on disk, more with a CUDA build of PyTorch; a few minutes, once) …"
rm -f .venv/.installed
if "$python" -c 'import ensurepip' 2>/dev/null; then
  [ -x .venv/bin/pip ] || "$python" -m venv --clear .venv
  pip=".venv/bin/python -m pip"
else # Debian and Ubuntu split ensurepip off
  [ -x .venv/bin/python ] || "$python" -m venv --clear --without-pip .venv
  pip="$python -m pip --python .venv/bin/python"
fi
$pip install --quiet --disable-pip-version-check "$@" -r requirements.txt
$pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
touch .venv/.installed

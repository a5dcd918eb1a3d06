#!/bin/sh
# Resolve every direct and transitive dependency of pyproject.toml for Linux, macOS and
# Windows at once and write requirements.txt.  torch's own CUDA packages are left out:
# torch brings them where its build has them, and listing them would make every machine
# download gigabytes.
set -eu
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools" && "$tools/bin/pip" --quiet install uv
{
  echo "# Exact versions of everything, made by 'make lock' from pyproject.toml. Do not edit."
  "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --extra test \
      --no-header --no-annotate pyproject.toml | grep -vE '^(nvidia-|cuda-|triton)'
} > requirements.txt.new
mv requirements.txt.new requirements.txt
echo "requirements.txt: $(grep -c == requirements.txt) packages"

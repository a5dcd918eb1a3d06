#!/bin/sh
# Write a repository's address into _config.yml, for the launch buttons: name_repository.sh https://github.com/owner/name
set -eu
cd "$(dirname "$0")/.."
case "$1" in
  https://*/*/*) ;;
  *) echo "name_repository: '$1' is no address of a repository" >&2; exit 1 ;;
esac
sed "s|^  url: \".*\"$|  url: \"$1\"|" _config.yml > _config.yml.new
mv _config.yml.new _config.yml
grep -q "^  url: \"$1\"$" _config.yml

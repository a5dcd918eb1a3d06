#!/bin/sh
# Put a folder onto the branch gh-pages and push it: publish.sh FOLDER [SUBFOLDER]
# Without SUBFOLDER it becomes the site, and sites that were put beside it stay; with it, only SUBFOLDER changes.
# The branch keeps one commit: built sites are large, and each can be built again.
set -eu
folder=$(cd "$1" && pwd) sub=${2:-}
cd "$(dirname "$0")/.."
test -f "$folder/index.html" || { echo "publish: $1 holds no site" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
url=$(git remote get-url origin)
git init -q -b gh-pages "$work"
# What the checkout uses to sign in, where it does.
git config --local --get-regexp '^http\..*\.extraheader$' | while read -r key value; do
  git -C "$work" config "$key" "$value"
done
if git -C "$work" fetch -q --depth 1 "$url" gh-pages; then
  git -C "$work" checkout -q FETCH_HEAD -- .
fi
if [ -n "$sub" ]; then
  rm -rf "${work:?}/$sub"
  mkdir -p "$work/$sub"
  touch "$work/$sub/.beside"
else
  for old in "$work"/* "$work"/.nojekyll; do
    test -e "$old/.beside" || rm -rf "$old"
  done
fi
cp -R "$folder/." "$work/$sub"
touch "$work/.nojekyll"
cd "$work"
git add -A --force
git -c user.name=site -c user.email=site@localhost commit -q -m "The site as it was built"
git push -q --force "$url" HEAD:gh-pages

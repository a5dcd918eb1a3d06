#!/bin/sh
# Gather what the branch gh-pages holds: the built site, and the sources that its notebooks import, so that
# Binder can open any page of it: gather_site.sh FOLDER
set -eu
cd "$(dirname "$0")/.."
folder=$1
test -f _build/html/index.html || { echo "gather_site: no site in _build/html: make book" >&2; exit 1; }
rm -rf "$folder"
mkdir -p "$folder"
git ls-files -z | grep -zv '^\.' | tar --null --files-from=- -c | tar -x -C "$folder"
cp -R _build/html/. "$folder"
cat > "$folder/postBuild" <<'END'
#!/bin/sh
# Binder: the simulated cells, encoders and scores that the notebooks read; minutes, while the image is made.
scarafm build --profile demo
END
chmod +x "$folder/postBuild"
touch "$folder/.nojekyll"

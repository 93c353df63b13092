#!/bin/sh
# Makes each file NAME of the secrets' folder, if NAME is in capitals, the variable NAME, and
# becomes the command. So secrets are neither in the image nor in what `docker inspect` shows.
set -eu
for file in "${SECRETS_FOLDER:-/run/secrets}"/[A-Z]*; do
    [ -f "$file" ] || continue
    export "$(basename "$file")=$(cat "$file")"
done
exec "$@"

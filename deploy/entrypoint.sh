#!/bin/sh
# Runs a command of the mesh. A database password comes as a file, the services take a URL: this puts one into the other.
set -eu
if [ -n "${DATABASE_ROLE:-}" ]; then
    url="postgresql+asyncpg://$DATABASE_ROLE:$(cat /run/cordboard/password/password)@${DATABASE_HOST:-postgres}:5432/cordboard"
    # The owner migrates; every other role serves.
    if [ "$DATABASE_ROLE" = cordboard_owner ]; then
        export CORDBOARD_MIGRATE_DATABASE_URL="$url"
    else
        export CORDBOARD_DATABASE_URL="$url"
    fi
fi
exec "$@"

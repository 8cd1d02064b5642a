#!/bin/sh
# Runs the kit on this machine's device: ./run.sh [--minutes N] [--only PART]... [--out DIR]
folder=$(cd "$(dirname "$0")" && pwd) || exit 2
exec "$folder/bin/kit" "$@"

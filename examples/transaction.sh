#!/usr/bin/env bash
# When a value is read, changed by the program and written back: WATCH makes the write happen only
# if nobody else wrote meanwhile, and then MULTI makes all of it happen at once.
set -euo pipefail
cli() { redis-cli -h "${SYNOD_HOST:-127.0.0.1}" -p "${SYNOD_PORT:-7379}" "$@"; }

cli MSET from 100 to 0 >/dev/null

printf '%s\n' 'WATCH from to' MULTI 'DECRBY from 30' 'INCRBY to 30' EXEC | cli >/dev/null
[ "$(cli MGET from to | paste -sd' ')" = "70 30" ]
echo "30 moved"

# One connection watches, another one writes, and the first one's EXEC does nothing.
coproc FIRST { cli; }
say() { echo "$1" >&"${FIRST[1]}"; read -r answer <&"${FIRST[0]}"; }
say 'WATCH from'
cli SET from 1000 >/dev/null
say MULTI
say 'DECRBY from 30'
say EXEC
[ -z "$answer" ]
[ "$(cli MGET from to | paste -sd' ')" = "1000 30" ]
echo "and not when somebody else was quicker"

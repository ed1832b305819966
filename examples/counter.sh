#!/usr/bin/env bash
# When many programs count together: every increment counts once, whichever node it was sent to, and
# a read anywhere sees all increments that were answered before it began.
set -euo pipefail
host=${SYNOD_HOST:-127.0.0.1} port=${SYNOD_PORT:-7379}
cli() { redis-cli -e -h "$host" -p "$port" "$@"; }

cli DEL visits >/dev/null
for _ in 1 2 3 4; do
    redis-cli -e -h "$host" -p "$port" -r 250 INCR visits >/dev/null &
done
wait
[ "$(cli GET visits)" = 1000 ]
echo "four programs, 250 increments each: $(cli GET visits)"

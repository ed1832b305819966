#!/usr/bin/env bash
# When several workers must take turns: a lock with a timeout, as Redis users write it, which the
# cluster keeps when a node dies. The token makes sure that only its holder releases it. A lock that
# can time out is not mutual exclusion by itself: what it guards must refuse the holder who is late.
set -euo pipefail
cli() { redis-cli -e -h "${SYNOD_HOST:-127.0.0.1}" -p "${SYNOD_PORT:-7379}" "$@"; }

release='if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0'
mine="worker-$$-$RANDOM"

[ "$(cli SET lock:report "$mine" NX PX 10000)" = OK ]
echo "taken by $mine for ten seconds"

[ -z "$(cli SET lock:report another NX PX 10000)" ]
echo "another worker does not get it"

[ "$(cli EVAL "$release" 1 lock:report another)" = 0 ]
echo "and cannot release it"

[ "$(cli EVAL "$release" 1 lock:report "$mine")" = 1 ]
echo "released by its holder"

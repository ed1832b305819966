#!/usr/bin/env bash
# When jobs must not be lost: a queue that workers wait on. A job moves to the worker's own list in
# one step, so a worker that dies leaves it there to be found.
set -euo pipefail
cli() { redis-cli -e -h "${SYNOD_HOST:-127.0.0.1}" -p "${SYNOD_PORT:-7379}" "$@"; }

cli DEL jobs jobs:worker-1 >/dev/null

# A worker waits at an empty queue, without polling, until a job comes.
cli BLMOVE jobs jobs:worker-1 LEFT RIGHT 20 >"${TMPDIR:-/tmp}/job-$$" &
worker=$!
until [ "$(cli INFO clients | tr -d '\r' | sed -n 's/^blocked_clients://p')" != 0 ]; do :; done

cli RPUSH jobs resize:cat.png >/dev/null
wait "$worker"
job=$(cat "${TMPDIR:-/tmp}/job-$$")
rm "${TMPDIR:-/tmp}/job-$$"
[ "$job" = resize:cat.png ]
echo "the waiting worker got $job"

[ "$(cli LRANGE jobs:worker-1 0 -1)" = "$job" ]
echo "and until it says so, the job is on its list"

[ "$(cli LREM jobs:worker-1 1 "$job")" = 1 ]
[ "$(cli EXISTS jobs jobs:worker-1)" = 0 ]
echo "done"

#!/bin/sh
# Exchanges the replicas of docker-compose.yml for ones of the image and settings of now, one after the other, without a
# failed request. `docker-compose up -d` by itself would end all of them at once.
#   docker-compose build service && sh docker/exchange_replicas.sh [FLAGS OF DOCKER-COMPOSE]
# COMPOSE="docker compose" for the plugin (default: docker-compose).
set -eu

compose="${COMPOSE:-docker-compose}"
ready='import http.client as h; c = h.HTTPConnection("127.0.0.1", 8000, timeout=3); c.request("GET", "/health/ready"); raise SystemExit(c.getresponse().status != 200)'
limit_seconds=${LIMIT_SECONDS:-120}
grace_seconds=30

fail() {
    printf 'exchange_replicas: %s\n' "$*" >&2
    exit 1
}

# shellcheck disable=SC2086  # it may be two words
compose() { $compose "$@"; }

wait_until_ready() {
    waited=0
    until docker exec "$1" python -IS -c "$ready" 2>/dev/null; do
        [ "$waited" -lt "$limit_seconds" ] ||
            fail "$1 is not ready after $limit_seconds s: see 'docker logs $1'. The replicas before it still serve."
        sleep 1
        waited=$((waited + 1))
    done
}

old=$(compose "$@" ps -q service)
[ -n "$old" ] || fail "no replica runs: start them with '$compose up -d'"
count=$(printf '%s\n' "$old" | wc -l)
for leaving in $old; do
    before=$(compose "$@" ps -q service)
    compose "$@" up -d --no-build --no-deps --no-recreate --scale service=$((count + 1)) service
    for replica in $(compose "$@" ps -q service); do
        case $before in
        *"$replica"*) ;;
        *) wait_until_ready "$replica" ;;
        esac
    done
    sleep 5 # until the proxy has found it
    docker stop -t "$grace_seconds" "$leaving" >/dev/null
    docker rm "$leaving" >/dev/null
    printf 'exchanged %.12s\n' "$leaving" >&2
done

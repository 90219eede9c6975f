#!/bin/sh
# Makes the secrets of docker-compose.yml, each a file; what is there already stays.
#   sh docker/make_secrets.sh [FOLDER]     default: docker/secrets
# NAMESPACE=mmgrec     MMGREC_NAMESPACE of the service: the Redis users reach its keys alone; once made, another is refused
# REDIS_ADDRESS=redis:6379/0    as the containers see it
# The folder is its owner's alone. The files in it can be read by anyone who gets that far, because Docker mounts them
# as they are and the processes in the containers are not root.
set -eu

folder=${1:-"$(dirname "$0")/secrets"}
namespace=${NAMESPACE:-mmgrec}
address=${REDIS_ADDRESS:-redis:6379/0}

fail() {
    printf 'make_secrets: %s\n' "$*" >&2
    exit 2
}

case $namespace in
'' | *[!A-Za-z0-9._-]*) fail "NAMESPACE=$namespace is not usable; take letters, digits, '.', '_' and '-'" ;;
esac
command -v openssl >/dev/null || fail "there is no openssl: install it ('sudo apt install openssl')"

random() { openssl rand -hex 32; }
sha256() { printf %s "$1" | openssl dgst -sha256 -r | cut -d ' ' -f 1; }

# write NAME TEXT: whole or not at all
write() {
    printf '%s\n' "$2" >"$folder/.$1.new"
    chmod 444 "$folder/.$1.new"
    mv "$folder/.$1.new" "$folder/$1"
    printf 'made %s\n' "$folder/$1" >&2
}

mkdir -p "$folder"
chmod 700 "$folder"

# The three belong together: two users and the passwords in their URLs. The health check may do nothing but PING. The
# default user lets nobody in, but it keeps its permissions: Redis 7.0 replays the transactions of its append-only file
# as that user, and leaves out what it may not do. With "user default off" alone a restart would lose them.
if [ ! -f "$folder/redis_acl" ]; then
    service=$(random)
    offline=$(random)
    write redis_url_service "redis://service:$service@$address"
    write redis_url_offline "redis://offline:$offline@$address"
    n=$namespace
    write redis_acl "user default off resetpass ~* &* +@all
user health on nopass resetkeys resetchannels -@all +ping
user service on #$(sha256 "$service") resetkeys resetchannels &$n:* %R~$n:release:* %R~$n:blob:* %R~$n:overlay ~$n:history:* ~$n:seen:* ~$n:event:* ~$n:events:* ~$n:active ~$n:lock:* +@all -@dangerous -@admin +info
user offline on #$(sha256 "$offline") resetkeys resetchannels &$n:* ~$n:* +@all -@dangerous -@admin +info"
fi
made_for=$(sed -n 's/^user offline .* ~\([^ ]*\):\* .*/\1/p' "$folder/redis_acl")
[ "${NAMESPACE:-$made_for}" = "$made_for" ] ||
    fail "NAMESPACE=$NAMESPACE, but the Redis users of $folder/redis_acl are bound to '$made_for': remove redis_acl, run this again, restart Redis and exchange the replicas; or name another folder"
[ -f "$folder/redis_url_service" ] && [ -f "$folder/redis_url_offline" ] ||
    fail "$folder has redis_acl without the URLs of its users: remove redis_acl, run this again, and start Redis anew"

# What is published is signed, and nothing else is served.
[ -f "$folder/signing_key" ] || write signing_key "$(random)"
[ -f "$folder/verification_keys" ] || write verification_keys "$(cat "$folder/signing_key")"
[ -f "$folder/log_hash_key" ] || write log_hash_key "$(random)"
[ -f "$folder/grafana_password" ] || write grafana_password "$(random)"

# make_keys FILE NAME: a key, which goes into no container, and FILEs, which has its hash, for the service
make_keys() {
    [ ! -f "$folder/$1s" ] || return 0
    key=mmgrec_$(random)
    write "$1" "$key"
    chmod 400 "$folder/$1"
    write "$1s" "$2:$(sha256 "$key")"
}

make_keys api_key web
make_keys admin_key operator

#!/bin/sh
# Makes the secrets of compose.yml that are not there yet: make-secrets.sh [FOLDER]
# The files are readable by the users of the containers; the folder only by who made it.
set -eu
folder=${1:-"$(dirname "$0")/secrets"}
mkdir -p "$folder"
chmod 700 "$folder"

word() { # 256 random bits, hex
    od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n'
}

secret() { # NAME VALUE: a file without a newline, unless it is there
    [ -e "$folder/$1" ] || { printf '%s' "$2" >"$folder/$1" && chmod 644 "$folder/$1"; }
}

secret POSTGRES_PASSWORD "$(word)"
secret REDIS_PASSWORD "$(word)"
secret AWS_ACCESS_KEY_ID "fedkrso"
secret AWS_SECRET_ACCESS_KEY "$(word)"
secret FEDKRSO_BOOTSTRAP_API_KEY "fk_user_$(word)"
secret FEDKRSO_BOOTSTRAP_WORKER_KEY "fk_worker_$(word)"
secret FEDKRSO_METRICS_KEY "fk_metrics_$(word)"
secret GRAFANA_PASSWORD "$(word)"
secret FEDKRSO_DATABASE_URL \
    "postgresql+psycopg://fedkrso:$(cat "$folder/POSTGRES_PASSWORD")@postgres:5432/fedkrso"
secret FEDKRSO_BROKER_URL "redis://:$(cat "$folder/REDIS_PASSWORD")@redis:6379/0"

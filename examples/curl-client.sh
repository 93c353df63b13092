#!/bin/sh
# A client in curl: enrols, joins a job, claims its assignment, downloads the states, hands the
# lease back, claims again, and uploads an update of zeros (it teaches nothing: a real client trains
# here). For jobs of FedKRSO, whose update needs no more than the classifier. Needs curl, jq,
# sha256sum. HIDDEN is the width of the job's model.
#
#     examples/curl-client.sh SERVER TOKEN NAME HIDDEN
set -eu
server=$1 token=$2 name=$3 hidden=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

# call METHOD PATH [curl's options]: the answer's body; an error is shown, and ends the script
call() {
    method=$1 path=$2
    shift 2
    curl --silent --show-error --fail-with-body --noproxy '*' -X "$method" "$server/v1/$path" \
        -H @"$work/key" -H "Content-Type: ${type:-application/json}" "$@"
}

# a header in a file: a secret on the command line could be seen by others
printf 'Authorization: Bearer %s\n' "$token" >"$work/key"
key=$(call POST enrolments -d "{\"name\": \"$name\"}" | jq -r .key)
printf 'Authorization: Bearer %s\n' "$key" >"$work/key"
call PUT client -d '{"version": "curl-client.sh"}' >/dev/null

until job=$(call GET client/jobs | jq -er '[.items[] | select(.spec.method.name == "fedkrso")][0].job'); do
    sleep 1
done
call POST "client/jobs/$job/join" -d '{"num_examples": 1}' | jq -c .

# claim: waits for work; the assignment is in assignment.json, its lease in the file lease
claim() {
    until [ -s "$work/assignment.json" ]; do
        call POST assignments/claim -d "{\"worker\": \"$name\", \"wait_s\": 20}" \
            >"$work/assignment.json"
    done
    at=assignments/$(jq -r .id "$work/assignment.json")
    printf 'X-Lease-Token: %s\n' "$(jq -r .lease_token "$work/assignment.json")" >"$work/lease"
    echo "round $(jq .round "$work/assignment.json") of job $job"
}

claim
jq -r '.states[].digest' "$work/assignment.json" | while read -r digest; do
    # of two headers with secrets only those meant for the service must follow a redirect: none
    call GET "$at/blobs/$digest" -H @"$work/lease" -o "$work/$digest" \
        -w '%{http_code} %{redirect_url}' >"$work/told"
    read -r status link <"$work/told" || true
    [ "$status" != 307 ] || curl --silent --fail "$link" -o "$work/$digest"
    echo "$digest  $work/$digest" | sha256sum --check --quiet
    echo "downloaded state $digest"
done
call POST "$at/heartbeat" -H @"$work/lease" -d '{"step": 1}' | jq -c .
call POST "$at/fail" -H @"$work/lease" -d '{"reason": "a demonstration"}'
echo "handed the lease back"

rm "$work/assignment.json"
claim
# the payload: length of the header, header, zeros (docs/http-protocol.md, "Payload encoding")
labels=$(jq '.labels | length' "$work/assignment.json")
weight=$((4 * labels * hidden)) all=$((4 * labels * hidden + 4 * labels))
scalars=$(jq -c '{decay: 1.0, metrics: {loss: 0.0}, num_examples: .num_examples}' \
    "$work/assignment.json")
jq -cn --arg scalars "$scalars" --argjson l "$labels" --argjson h "$hidden" \
    --argjson w "$weight" --argjson a "$all" '{
        __metadata__: {scalars: $scalars},
        "dense/classifier.bias": {dtype: "F32", shape: [$l], data_offsets: [$w, $a]},
        "dense/classifier.weight": {dtype: "F32", shape: [$l, $h], data_offsets: [0, $w]}
    }' | tr -d '\n' >"$work/header"
length=$(wc -c <"$work/header")
{
    for _ in 1 2 3 4 5 6 7 8; do
        # shellcheck disable=SC2059 # the format is the byte
        printf "\\$(printf %03o $((length & 255)))"
        length=$((length >> 8))
    done
    cat "$work/header"
    head -c "$all" /dev/zero
} >"$work/update"
type=application/octet-stream
call PUT "$at/update?peak_memory_bytes=0&train_s=0" -H @"$work/lease" \
    -H "X-Content-SHA256: $(sha256sum "$work/update" | cut -d ' ' -f 1)" \
    --data-binary @"$work/update" | jq -c .

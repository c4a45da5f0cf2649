#!/usr/bin/env bash
# `wrangler dev` of a project that nobody changed, without a network: unshare -mn tests/clients/more/unmodified-wrangler.sh
#
# wrangler knows where Cloudflare's API is from the environment, but asks https://NAME.cfai.workers.dev, port 443, for its
# preview. So that name must lead here, and a certificate for it must be trusted. It needs root, for both; inside
# unshare nothing outside is touched.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'kill $(jobs -p); rm -rf "$work"' EXIT

ip link set lo up
{ cat /etc/hosts; echo "127.0.0.1 tested.cfai.workers.dev"; } > "$work/hosts"
mount --bind "$work/hosts" /etc/hosts
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=cfai -keyout "$work/key.pem" -out "$work/cert.pem" \
  -addext "subjectAltName=DNS:localhost,DNS:tested.cfai.workers.dev" 2> "$work/openssl.log"

cfai serve --demo --port 443 --tls-cert "$work/cert.pem" --tls-key "$work/key.pem" \
  --token s3cret --allow-host tested.cfai.workers.dev &

export CLOUDFLARE_API_BASE_URL=https://localhost/client/v4 CLOUDFLARE_API_TOKEN=s3cret CLOUDFLARE_ACCOUNT_ID=any
export NODE_EXTRA_CA_CERTS=$work/cert.pem WRANGLER_SEND_METRICS=false CLOUDFLARE_CF_FETCH_ENABLED=false
until curl --silent --insecure --output /dev/null https://localhost/health; do sleep 0.2; done
node_modules/.bin/wrangler dev -c vitest/wrangler.jsonc --port 8795 &
until curl --silent --output "$work/answer" http://127.0.0.1:8795/; do sleep 0.5; done
grep "New York is located in" "$work/answer"

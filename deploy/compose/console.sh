#!/bin/sh
# A console of a management server: registers all channels of the fleet, then wakes a part of it every ten seconds.
set -eu

broker=http://broker:8470/v1/tenants/contoso
auth="Authorization: Bearer $(cat /etc/reveille/key)"
ndjson='Content-Type: application/x-ndjson'

curl -fsS --retry 10 --retry-connrefused --cacert /sandbox/sandbox-ca.pem -o /tmp/channels \
  https://sandbox:9443/sandbox/v1/channels
curl -fsS -H "$auth" -H "$ndjson" --data-binary @/tmp/channels "$broker/channels"
echo " is what became of the fleet's channels"

from=0
while true; do
  from=$(( (from + 997) % 9000 ))
  sed -n "$((from + 1)),$((from + 997))p" /tmp/channels | sed 's/,"uri".*/}/' > /tmp/pushes
  curl -fsS -o /dev/null -H "$auth" -H "$ndjson" --data-binary @/tmp/pushes \
    "$broker/pushes?goal=check_in&expires_in=1h&reason=renew%20certificate" || echo "the broker did not take the pushes"
  sleep 10
done

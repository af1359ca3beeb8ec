#!/bin/sh
# A WNS with 10,000 devices behind it, some of them in trouble, that check in at the broker when they are woken.
set -eu

REVEILLE_KEY=$(cat /etc/reveille/key)
export REVEILLE_KEY
exec reveille sandbox \
  --listen 0.0.0.0:9443 --name sandbox --channel-host sandbox:9443 --ca-file /var/lib/reveille/sandbox-ca.pem --ca-key-file /var/lib/reveille/sandbox-ca.key \
  --app id=contoso,pfn=52314publisher.testwns_t6e9vsyjkrw9w,sid=S-1-15-2-3928704574-477015729-2320265743-508859788-3584887706-656216416-1642263338,secret=sandbox-secret \
  --devices 10000 --latency 20ms..80ms --dead 1% --offline 5% --offline-for 1m..10m --dropped 2% --throttled 0.5% \
  --reply 503:retry-after=2=0.2% --app-ceiling 700 --penalty 1m \
  --check-in-url http://broker:8470 --check-in-key-env REVEILLE_KEY --never-check-in 1% --poll 10m

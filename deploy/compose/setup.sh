#!/bin/sh
# Makes the API key of the stack and the broker's configuration, once; a second start keeps both.
set -eu

config=/etc/reveille
if [ ! -s "$config/key" ]; then
  made=$(reveille key new --id console --tenant '*' --scope admin)
  printf '%s\n' "$made" | sed -n 2p > "$config/key"
  { cat /opt/compose/reveille.toml; echo; printf '%s\n' "$made" | sed -n '/^\[\[keys\]\]/,$p'; } > "$config/reveille.toml"
fi
# Prometheus sends the file as it stands, so it ends without a line break.
printf '%s' "$(cat "$config/key")" > "$config/bearer"
chmod 0440 "$config/key" "$config/bearer" "$config/reveille.toml"
chown -R 65532:65532 "$config"
echo "The console page at http://localhost:8470 asks for this key: $(cat "$config/key")"
